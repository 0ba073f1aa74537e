"""Rare looks weigh more, common ones are all the same, and nothing is drawn without bound."""

from __future__ import annotations

import numpy as np

from limner.data.balance import MOST, MOST_PER_FACT, rarity_weights


def test_a_rare_value_weighs_by_the_root_of_its_rarity() -> None:
    weights = rarity_weights([{"beard": "none"}] * 8 + [{"beard": "full"}] * 2)
    assert np.isclose(weights.mean(), 1)
    assert np.allclose(weights[8:] / weights[0], 2)  # sqrt(8 / 2)


def test_weights_are_bounded_and_unknown_facts_change_nothing() -> None:
    facts = [{"a": 0, "b": 0, "c": 0}] * 500 + [{"a": 1}, {"a": 1, "b": 1, "c": 1}, {}]
    weights = rarity_weights(facts)
    ratios = weights / weights[0]
    assert np.isclose(ratios[500], MOST_PER_FACT) and np.isclose(ratios[501], MOST) and np.isclose(ratios[502], 1)
