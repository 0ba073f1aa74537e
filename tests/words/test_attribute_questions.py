"""Questions that ask for everything."""

from __future__ import annotations

from limner.faces.vocabulary import VOCABULARY
from limner.words.attribute_questions import first_probe, probes


def test_every_answer_is_a_value_of_its_attribute() -> None:
    for probe in [first_probe(), *probes({"gender_presentation": "man"})]:
        assert all(VOCABULARY[probe.attribute].allows(value) for value in probe.answers), probe
        assert len(set(probe.answers.values())) == len(probe.answers) > 1, probe
        assert probe.question.endswith("?")


def test_questions_agree_with_whom_they_are_about() -> None:
    by = {who: {probe.attribute: probe for probe in probes({"gender_presentation": who})} for who in ("man", "woman")}
    assert by["man"].keys() - by["woman"].keys() == {"bald", "beard", "moustache", "goatee", "sideburns"}
    assert by["woman"]["hair_colour"].question == "What colour is her hair?"
    assert by["man"]["hair_colour"].answers["grey"] == "His hair is grey"
    assert by["man"]["glasses"].answers == {True: "Yes", False: "No"}
    assert by["woman"]["eyes"].question == "Are her eyes open or closed?", "as people ask, though they may be narrowed"
    assert "narrowed" in by["woman"]["eyes"].answers
    assert probes({"gender_presentation": "man"}) == probes({"gender_presentation": "man"})


def test_the_first_question_does_not_give_its_answer_away() -> None:
    probe = first_probe()
    assert not {"he", "she", "his", "her", "man", "woman"} & set(probe.question.lower().rstrip("?").split())
    assert set(probe.answers) == {"woman", "man"}
