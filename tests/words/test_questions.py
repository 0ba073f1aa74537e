"""Questions: every kind, answers that agree with the attributes, as many yes as no, honest refusals."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from limner.evaluation.answer_accuracy import refuses
from limner.faces.vocabulary import VOCABULARY
from limner.words.facts import choose_facts
from limner.words.grammar import load, spoken
from limner.words.questions import GRAMMAR, KINDS, Question, held_out_questions, write_questions
from limner.words.topics import DERIVED, TOPICS

sys.path.insert(0, str(Path(__file__).parent))
from made_up import Found, make_attributes


@pytest.fixture(scope="module")
def asked() -> list[tuple[dict, Question]]:
    """1,500 questions on 150 faces, each with its face's attributes."""
    rng = np.random.default_rng(3)
    pairs = []
    for _ in range(150):
        face = make_attributes(rng)
        pairs += [(face, question) for question in write_questions(face, rng, counts={"ears": int(rng.integers(3))})]
    return pairs


def test_every_slot_of_the_grammar_leads_somewhere() -> None:
    known = set(make_attributes(np.random.default_rng(0))) | {"decade", "years"}
    assert load(*GRAMMAR).unknown_slots(known) == set()


def test_all_kinds_and_at_least_eight_a_face(asked: list[tuple[dict, Question]]) -> None:
    kinds = Counter(question.kind for _, question in asked)
    assert set(kinds) == set(KINDS) and min(kinds.values()) >= 100
    face = make_attributes(np.random.default_rng(1))
    questions = write_questions(face, np.random.default_rng(1), n=8)
    assert len(questions) == 8 == len({q.question for q in questions})


def test_yes_and_no_are_balanced(asked: list[tuple[dict, Question]]) -> None:
    answers = Counter(q.value for _, q in asked if q.kind == "yes/no")
    assert 0.45 < answers["yes"] / (answers["yes"] + answers["no"]) < 0.55


def test_yes_no_answers_are_true(asked: list[tuple[dict, Question]]) -> None:
    for face, q in asked:
        if q.kind != "yes/no":
            continue
        assert q.answer.lower().startswith(q.value) and face[q.about].confidence >= 0.6
        value = face[q.about].value
        if isinstance(value, bool):
            assert q.value == ("yes" if value else "no"), q
        elif not any(q.about == attribute for attribute, _ in DERIVED.values()):
            words = next(t for t in TOPICS if t.attribute == q.about).words
            true = words[spoken(value)].split()[-1]
            others = {word.split()[-1] for name, word in words.items() if name != spoken(value)} - {true}
            if q.value == "yes":
                assert re.search(rf"\b{true}\b", q.question), q
            else:
                assert any(re.search(rf"\b{word}\b", q.question) for word in others), q


def test_smile_and_beard_questions_follow_the_attribute(asked: list[tuple[dict, Question]]) -> None:
    met = 0
    for face, q in asked:
        if re.search(r"^(is|are) (she|he|they|the \w+) smiling\?", q.question, re.IGNORECASE):
            met += 1
            assert q.value == ("no" if face["smile"].value == "none" else "yes")
        if re.search(r"have a beard\?|bearded\?", q.question):
            met += 1
            assert q.value == ("no" if face["beard"].value == "none" else "yes")
    assert met > 10


def test_choices_offer_the_true_answer_and_no_neighbour(asked: list[tuple[dict, Question]]) -> None:
    for face, q in asked:
        if q.kind == "choice":
            assert q.value == spoken(face[q.about].value)
            assert " or " in q.question
            assert q.answer.rstrip(".").split()[-1].lower() in q.question.lower(), q
        if q.about == "skin_tone" and q.kind == "choice" and q.value == "light":
            assert "medium" not in q.question and "very light" not in q.question


def test_counts_count(asked: list[tuple[dict, Question]]) -> None:
    names = {"glasses": "glasses", "hat": "a hat", "earrings": "earrings", "necklace": "a necklace"}
    met = 0
    for face, q in asked:
        if q.kind == "count" and "are worn" in q.question:
            met += 1
            things = q.question.split(": ")[1]
            listed = [name for name, words in names.items() if re.search(rf"\b{words}\b", things)]
            assert q.value == str(sum(face[name].value for name in listed)), q
    assert met > 20


def test_what_cannot_be_seen_is_refused_in_many_ways(asked: list[tuple[dict, Question]]) -> None:
    refusals = [q for _, q in asked if q.kind == "cannot be seen"]
    assert len({q.answer for q in refusals}) > 40
    for q in refusals:
        assert refuses(q.answer) or re.search("hide|covers", q.answer), q
        assert not re.match(r"(yes|no)\b", q.answer.lower())


def test_held_out_questions_are_others_and_read_as_sentences(asked: list[tuple[dict, Question]]) -> None:
    """Each has a word that no question of training has: nothing but refusing in general can carry over."""
    trained = {word for _, q in asked for word in re.findall(r"[a-z]+", q.question.lower())}
    rules = load("questions").rules
    for name in ("unknowable", "outside", "hidden"):
        trained |= {word for _, line in rules[name] for word in re.findall(r"[a-z]+", line.lower())}
    held = [q for k, (face, _) in enumerate(asked[::40]) for q in held_out_questions(face, np.random.default_rng(k), 9)]
    assert len({q.question for q in held}) > 40
    for q in held:
        assert re.match(r"[A-Z].*\?$", q.question) and not re.search(r"[{}<>|\[\]]|  ", q.question), q.question
        assert q.kind == "cannot be seen" and not q.answer
        assert set(re.findall(r"[a-z]+", q.question.lower())) - trained, q.question


def test_questions_read_as_sentences(asked: list[tuple[dict, Question]]) -> None:
    for _, q in asked:
        for text in (q.question, q.answer):
            assert re.match(r"[A-Z0-9]", text), text
            assert not re.search(r"[{}<>|\[\]]|  | [,.;?]|\.\.|=>", text), text
        assert q.question[-1] in "?.", q.question
        assert q.answer.endswith("."), q.answer
        assert not re.search(
            r"\b(do|are) (she|he)\b|\b(does|is) they\b|\bthey (is|has|does)\b", q.question + q.answer, re.IGNORECASE
        )


def test_questions_vary() -> None:
    rng = np.random.default_rng(0)
    texts = Counter(q.question for _ in range(100) for q in write_questions(make_attributes(rng), rng))
    assert len(texts) > 500 and max(texts.values()) < 20


def test_who_is_asked_about_is_not_given_away(asked: list[tuple[dict, Question]]) -> None:
    for _, q in asked:
        if q.about == "gender_presentation":
            assert not re.search(r"\b(she|he|her|his)\b", q.question, re.IGNORECASE), q


def test_a_face_with_nothing_sure_is_asked_only_what_cannot_be_seen() -> None:
    face = make_attributes(np.random.default_rng(0), unsure=1.0)
    questions = write_questions(face, np.random.default_rng(0), n=8)
    assert len(questions) == 8 and {q.kind for q in questions} <= {"cannot be seen", "open"}


def test_every_topic_is_about_a_value_the_faces_have() -> None:
    rng = np.random.default_rng(0)
    faces = [make_attributes(rng, unsure=0.0) for _ in range(300)]
    for topic in TOPICS:
        values = {spoken(face[topic.about].value) for face in faces}
        if topic.attribute not in DERIVED:
            assert set(topic.words) & values, topic.attribute


def test_words_and_faces_agree_on_the_vocabulary() -> None:
    """Every attribute and value that can be measured can be said and asked, but for values not worth a word."""
    grammar = load(*GRAMMAR)
    made_up = make_attributes(np.random.default_rng(0))
    assert set(made_up) == set(VOCABULARY)
    assert all(VOCABULARY[name].allows(found.value) for name, found in made_up.items())
    assert {topic.about for topic in TOPICS} == set(VOCABULARY) - {"age", "five_o_clock_shadow"}
    slots = " ".join(text for alternatives in grammar.rules.values() for _, text in alternatives)
    for name, term in VOCABULARY.items():
        assert name in ("age", "gender_presentation") or re.search(rf"\{{{name}[=}}]", slots), f"{name} is never said"
        if isinstance(term.values, tuple):
            for topic in (t for t in TOPICS if t.attribute == name):
                assert set(topic.words) <= set(term.values), name
            stated = {value for rule in grammar.rules if rule.startswith(f"{name}=") for value in [rule.split("=")[1]]}
            assert stated <= {*term.values, "*"}, name


def test_facts_below_the_bar_are_not_used() -> None:
    face = {"hat": Found(True, 0.59), "glasses": Found(True, 0.61)}
    assert set(choose_facts(face)) == {"glasses"}  # type: ignore[arg-type]
