"""Questions in other words: the same is asked, agreement holds, what is held out stays held out."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from limner.models.unif2ace.caption_instructions import LONG, SHORT
from limner.words import rephrase as room
from limner.words.questions import Question, write_questions
from limner.words.rephrase import AMERICAN, held_out_phrasing, phrasings, rephrase, rephrased_as

sys.path.insert(0, str(Path(__file__).parent))
from made_up import make_attributes


@pytest.fixture(scope="module")
def asked() -> list[Question]:
    rng = np.random.default_rng(5)
    return [question for _ in range(400) for question in write_questions(make_attributes(rng), rng)]


def many(question: str, draws: int = 400) -> set[str]:
    rng = np.random.default_rng(1)
    return {rephrase(question, rng) for _ in range(draws)}


def test_one_thing_is_asked_in_many_ways() -> None:
    ways = many("What colour is her hair?")
    assert {"What colour is her hair?", "What color is her hair?", "What is the hair colour?", "hair colour"} <= ways
    assert "What colour hair does she have?" in ways and "What color is the hair?" in ways and len(ways) > 12
    assert all("hair" in way.lower() and re.search("colou?r", way.lower()) for way in ways)
    assert {"How old are they?", "What is their age?", "how old is this person"} <= many("How old might they be?")
    assert {"Does he have short hair?", "Is the hair short?"} <= many("Is his hair short?")
    assert {"Does he have short or long hair?", "Short or long hair?"} <= many("Is his hair short or long?")
    assert {"Any glasses?", "Do they have glasses on?"} <= many("Does the woman wear glasses?")
    assert many("What is her favourite food?") == {"What is her favourite food?", "what is her favourite food"}
    assert {"Is this person bald?", "Is she bald?"} <= many("Is she bald?")


def test_what_is_asked_for_stays(asked: list[Question]) -> None:
    """Values, sides and who is asked about stay; no slot is left; every block of ways is used."""
    rng, used = np.random.default_rng(0), set()
    for question in asked:
        other = rephrase(question.question, rng)
        assert not re.search(r"[{}|~]", other) and other == other.strip()
        for word in ("left", "right", "background", "picture"):
            if question.about:
                assert not (word in other.lower() and word not in question.question.lower()), (question, other)
        if question.kind in ("yes/no", "choice"):
            values = re.findall(r"\b(?:blond|brown|black|red|grey|white|short|long|glasses|hat|beard|happy|sad|oval)\b",
                                question.question)  # fmt: skip
            for value in values:
                assert value in other.lower() or AMERICAN.get(value, "?") in other.lower(), (question, other)
        men, women = (any(w in other.lower().split() for w in some) for some in (("he", "his"), ("she", "her")))
        assert not (men and women), other
        wrong = r"\b(they is|they has|she are|he are|does they|is they|do she|do he|are she|are he)\b"
        assert not re.search(wrong, other.lower()), other
        for number, known in enumerate(phrasings()):
            if any(pattern.fullmatch(question.question) for pattern in known.asked):
                used.add(number)
    assert used == set(range(len(phrasings())))


def test_every_pattern_fits_something_that_the_grammar_asks(asked: list[Question]) -> None:
    texts = {question.question for question in asked}
    idle = [
        pattern.pattern
        for known in phrasings()
        for pattern in known.asked
        if not any(pattern.fullmatch(text) for text in texts)
    ]
    assert not idle


@pytest.mark.parametrize(
    "question",
    ["What is her name?", "Who is this?", "Is she Jewish?", "How tall is he?", "Does he pray?", "What does he earn?"],
)
def test_questions_that_no_picture_answers_are_not_turned_into_others(question: str) -> None:
    assert held_out_phrasing(question, np.random.default_rng(0)) is None
    general = re.sub(r"\b(?:she|he)\b", "this person", question)
    assert many(question) <= {text for each in (question, general) for text in (each, each[0].lower() + each[1:-1])}


def test_what_is_held_out_is_never_said_in_training(asked: list[Question]) -> None:
    rng, heard, unheard = np.random.default_rng(0), set(), set()
    for question in asked:
        for _ in range(3):
            heard.add(rephrase(question.question, rng).lower().rstrip("?."))
            other = held_out_phrasing(question.question, rng)
            unheard |= {other.lower().rstrip("?.")} if other else set()
    assert len(unheard) > 40 and not heard & unheard
    assert held_out_phrasing("Is her mouth open?", rng) is None


def test_no_way_asks_for_a_description_of_another_length() -> None:
    """Those are how `describe` asks."""
    ways = {way.lower() for known in phrasings() for way in (*known.ways, *known.held_out)}
    assert not ways & {text.lower() for text in (*LONG, *SHORT)}


def test_a_changed_list_makes_other_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    before, text = rephrased_as(), room._text()
    monkeypatch.setattr(room, "_text", lambda: text + "\n")
    assert rephrased_as() != before


def test_a_seed_decides() -> None:
    one, other = (rephrase("Does he have a beard?", np.random.default_rng(seed)) for seed in (3, 3))
    assert one == other
