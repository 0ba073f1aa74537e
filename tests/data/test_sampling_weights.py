"""Rare looks weigh more, common ones are all the same, and nothing is drawn without bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from limner.data.sampling_weights import MOST, MOST_PER_FACT, WeightedDraw, looks_of, rarity_weights


def parts(facts: list[dict]) -> Callable[[], Iterator[np.ndarray]]:
    """Their looks, three faces at a time."""
    names = sorted({name for face in facts for name in face})
    return lambda: (looks_of(facts[k : k + 3], names) for k in range(0, len(facts), 3))


def test_a_rare_value_weighs_by_the_root_of_its_rarity() -> None:
    weights = rarity_weights(parts([{"beard": "none"}] * 8 + [{"beard": "full"}] * 2))
    assert np.isclose(weights.mean(), 1)
    assert np.allclose(weights[8:] / weights[0], 2)  # sqrt(8 / 2)


def test_weights_are_bounded_and_unknown_facts_change_nothing() -> None:
    facts = [{"a": 0, "b": 0, "c": 0}] * 500 + [{"a": 1}, {"a": 1, "b": 1, "c": 1}, {}]
    weights = rarity_weights(parts(facts))
    ratios = weights / weights[0]
    assert np.isclose(ratios[500], MOST_PER_FACT) and np.isclose(ratios[501], MOST) and np.isclose(ratios[502], 1)


def test_rows_are_drawn_by_their_weights_as_numpy_draws_them() -> None:
    rows, weights = np.array([3, 5, 9]), np.array([1.0, 0.0, 3.0], np.float32)
    draw = WeightedDraw(rows, weights)
    expected = np.random.default_rng(0).choice(rows, 400, p=weights.astype(float) / weights.sum())
    assert np.array_equal(draw.draw(np.random.default_rng(0), 400), expected)
    assert set(expected.tolist()) == {3, 9} and 0.7 < np.mean(expected == 9) < 0.8
