"""A foil says of a face what is not true of it, in one fact, and all else as its true prompt does."""

from __future__ import annotations

import numpy as np
import pytest

from limner.words.claims import read_claims
from limner.words.foils import WRONG, compose_foils
from limner.words.grammar import Value

MAN: dict[str, Value] = {
    "gender_presentation": "man", "age_group": "middle-aged", "hair_colour": "grey", "smile": "slight", "glasses": True,
    "beard": "full", "background_brightness": "dark", "hat": False,
}  # fmt: skip
WOMAN: dict[str, Value] = {**MAN, "gender_presentation": "woman", "beard": "none", "glasses": False}


@pytest.mark.parametrize("facts", [MAN, WOMAN])
def test_prompt_and_foil_differ_in_one_fact(facts: dict[str, Value]) -> None:
    pairs = compose_foils(facts, np.random.default_rng(0), 60)
    assert len(pairs) >= 55
    for pair in pairs:
        true, foil = read_claims(pair.text), read_claims(pair.foil)
        assert true.keys() == foil.keys()
        assert [name for name in true if not set(true[name]) & set(foil[name])] == [pair.attribute], pair
        assert facts[pair.attribute] in true[pair.attribute]
        assert facts[pair.attribute] not in foil[pair.attribute]
        assert set(foil[pair.attribute]) & set(WRONG[pair.attribute][facts[pair.attribute]])


def test_every_fact_is_got_wrong_and_no_beard_where_nobody_would_ask_for_one() -> None:
    wrong = {pair.attribute for pair in compose_foils(MAN, np.random.default_rng(1), 60)}
    assert wrong == set(MAN)
    pairs = compose_foils(WOMAN, np.random.default_rng(1), 60)
    assert {pair.attribute for pair in pairs} == set(MAN) - {"beard"}
    assert not any("beard" in pair.text + pair.foil for pair in pairs)


def test_the_same_for_the_same_draws_and_nothing_of_nothing() -> None:
    one, two = (compose_foils(MAN, np.random.default_rng(7), 8) for _ in range(2))
    assert one == two
    assert compose_foils({}, np.random.default_rng(7), 8) == []
    assert compose_foils({"nose_width": "wide"}, np.random.default_rng(7), 8) == []
