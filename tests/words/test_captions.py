"""Captions are true, fluent in their grammar, varied, and of the length they promise."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from limner.words.captions import (
    LONG_TOKENS,
    PROMPT_TOKENS,
    SHORT_WORDS,
    Caption,
    compose,
    compose_captions,
    compose_prompts,
    write_captions,
    write_prompts,
)
from limner.words.claims import read_claims
from limner.words.facts import choose_facts, decade, who
from limner.words.grammar import Grammar, Referent, TextBuilder, conjugate, count_tokens, load, polish, spoken
from limner.words.topics import TOPICS

sys.path.insert(0, str(Path(__file__).parent))
from made_up import Found, make_attributes


@pytest.fixture(scope="module")
def written() -> list[tuple[dict, Caption]]:
    """800 captions and prompts of 80 faces, each with its face's attributes."""
    rng = np.random.default_rng(7)
    pairs = []
    for _ in range(80):
        face = make_attributes(rng)
        pairs += [(face, caption) for caption in compose_captions(face, rng, 5) + compose_prompts(face, rng, 5)]
    return pairs


def test_every_slot_of_the_grammar_leads_somewhere() -> None:
    known = set(make_attributes(np.random.default_rng(0))) | {"decade", "years"}
    assert load("lexicon", "phrases", "captions").unknown_slots(known) == set()


def test_a_thousand_captions_differ() -> None:
    rng = np.random.default_rng(0)
    texts = [text for _ in range(200) for text in write_captions(make_attributes(rng), rng)]
    assert len(texts) == 1000
    assert len(set(texts)) > 990
    prompts = [text for _ in range(200) for text in write_prompts(make_attributes(rng), rng)]
    assert len(set(prompts)) > 970


def test_a_full_caption_states_whatever_there_are_words_for() -> None:
    rng = np.random.default_rng(5)
    words = {(topic.attribute, value) for topic in TOPICS for value in topic.words}
    for _ in range(40):
        facts = choose_facts(make_attributes(rng))
        caption = compose(facts, rng, "full")
        claims = read_claims(caption.text)
        for name, value in facts.items():
            if (name, spoken(value)) not in words:
                continue
            assert name in caption.stated or name in ("bald", "hair_length"), (name, caption)
            if name not in ("bald", "hair_length"):
                assert value in claims[name], (name, value, caption)


def test_what_is_missing_is_listed() -> None:
    facts = {"gender_presentation": "man", "goatee": False, "sideburns": False, "wink": False, "pout": False}
    texts = {compose(facts, np.random.default_rng(seed), "full").text for seed in range(8)}
    assert all(
        "He has no goatee or sideburns" in text and "he is not winking or pouting" in text.lower() for text in texts
    ), texts


def test_lengths(written: list[tuple[dict, Caption]]) -> None:
    for _, caption in written:
        tokens, words = count_tokens(caption.text), len(caption.text.split())
        if caption.style == "long":
            assert LONG_TOKENS[0] <= tokens <= LONG_TOKENS[1], caption.text
        else:
            assert tokens <= PROMPT_TOKENS, caption.text
        if caption.style == "short":
            assert SHORT_WORDS[0] <= words <= SHORT_WORDS[1], caption.text


def test_states_only_sure_facts_and_their_true_values(written: list[tuple[dict, Caption]]) -> None:
    for face, caption in written:
        for name, value in caption.stated.items():
            assert face[name].value == value
            assert face[name].confidence >= 0.6


def test_one_pronoun_a_caption_and_verbs_agree(written: list[tuple[dict, Caption]]) -> None:
    for _, caption in written:
        pronouns = {p for p in ("she", "he", "they") if re.search(rf"\b{p}\b", caption.text, re.IGNORECASE)}
        assert len(pronouns) <= 1, caption.text
        text = caption.text.lower()
        assert not re.search(r"\b(she|he|person|woman|man|child) (look|have|are|smile|wear|turn|face|hold)\b", text), (
            text
        )
        assert not re.search(r"\bthey (looks|has|is|smiles|wears|turns|faces|holds)\b", text), text


def test_articles_punctuation_and_no_leftovers(written: list[tuple[dict, Caption]]) -> None:
    for _, caption in written:
        text = caption.text
        assert not re.search(r"[{}<>|\[\]]|  | [,.;]|,,|\.\.", text), text
        assert not re.search(r"\b[Aa] [aeioAEIO]", text), text
        assert not re.search(r"\b[Aa]n [^aeiouAEIOU18]", text), text
        if caption.style in ("long", "medium"):
            assert re.match(r"[A-Z]", text) and text.endswith("."), text
            assert not re.search(r"\. [a-z]", text), text


def test_the_same_seed_writes_the_same() -> None:
    face = make_attributes(np.random.default_rng(3))
    assert write_captions(face, np.random.default_rng(1)) == write_captions(face, np.random.default_rng(1))
    assert write_captions(face, np.random.default_rng(1)) != write_captions(face, np.random.default_rng(2))


def test_a_face_with_nothing_sure_still_has_a_caption() -> None:
    face = make_attributes(np.random.default_rng(0), unsure=1.0)
    rng = np.random.default_rng(0)
    for caption in compose_captions(face, rng, 3) + compose_prompts(face, rng, 3):
        assert "person" in caption.text.lower() and caption.stated == {}


def test_of_two_facts_at_odds_the_surer_is_kept() -> None:
    sad = {"smile": Found("broad", 0.9), "emotion": Found("sad", 0.7)}
    assert choose_facts(sad) == {"smile": "broad"}  # type: ignore[arg-type]
    sad["emotion"].confidence = 0.95
    assert choose_facts(sad) == {"emotion": "sad"}  # type: ignore[arg-type]


def test_what_is_hidden_is_not_described() -> None:
    values = {"sunglasses": True, "eye_colour": "blue", "earrings": False, "age": float("nan")}
    face = {name: Found(value, 0.9) for name, value in values.items()}
    assert choose_facts(face) == {"sunglasses": True}  # type: ignore[arg-type]


def test_who() -> None:
    assert who({"gender_presentation": "woman", "age_group": "child"})[0] == Referent("girl", "she")
    assert who({"gender_presentation": "man"})[0] == Referent("man", "he")
    assert who({"age_group": "child"}) == (Referent("child", "they"), {"age_group": "child"})
    assert who({})[0] == Referent("person", "they")


@pytest.mark.parametrize(
    ("age", "words"), [(34.9, "mid-thirties"), (41.0, "early forties"), (53.2, "fifties"), (68.0, "late sixties")]
)
def test_decade(age: float, words: str) -> None:
    assert decade(age) == words


def test_polish_puts_articles_right() -> None:
    assert polish("a older man , with a hat . a oval face") == "An older man, with a hat. An oval face"
    assert polish("a uniform background and a 18-year-old, a 80-year-old, a 8-year-old, a 40-year-old") == (
        "A uniform background and an 18-year-old, an 80-year-old, an 8-year-old, a 40-year-old"
    )


def test_verbs() -> None:
    forms = {"look": "looks", "have": "has", "be": "is", "do": "does", "wear": "wears", "pass": "passes"}
    assert {verb: conjugate(verb, plural=False) for verb in forms} == forms
    assert conjugate("be", True) == "are"


def test_a_failed_alternative_leaves_no_trace() -> None:
    grammar = Grammar("a:\n  {hat=yes}{noun} {missing}\nb:\n  {a}\n  {hat=yes}hat\nmissing:\n  {glasses=yes}x\n")
    states = {"gender_presentation": "man"}
    builder = TextBuilder(grammar, {"hat": True}, Referent("man", "he"), np.random.default_rng(0), person_states=states)
    assert builder.write("a") is None and builder.stated == {}
    assert builder.write("b") == "hat" and builder.stated == {"hat": True}
    assert builder.write("b") is None  # said once


def test_bad_grammars_and_styles_are_refused() -> None:
    with pytest.raises(ValueError, match="colon"):
        Grammar("rule\n  x\n")
    with pytest.raises(ValueError, match="twice"):
        Grammar("a:\n  x\na:\n  y\n")
    with pytest.raises(ValueError, match="without a rule"):
        Grammar("  x\n")
    with pytest.raises(ValueError, match="style"):
        compose({}, np.random.default_rng(0), "haiku")
