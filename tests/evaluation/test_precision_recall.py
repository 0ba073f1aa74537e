"""Precision and recall against sets whose answer is known, and the reduction they are measured on."""

from __future__ import annotations

import numpy as np
import pytest

from limner.evaluation.precision_recall import distances, precision_recall, reduced


def test_the_same_distribution_scores_high_and_a_far_one_zero() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(size=(2, 300, 4))
    near = precision_recall(one, other)
    assert near.precision > 0.85 and near.recall > 0.85
    assert precision_recall(one + 50, other) == (0.0, 0.0)


def test_a_set_that_shows_one_half_is_precise_and_forgets_the_other() -> None:
    random = np.random.default_rng(0)
    real = np.concatenate([random.normal(0, 1, (200, 3)), random.normal(100, 1, (200, 3))])
    made = random.normal(0, 1, (400, 3))
    found = precision_recall(made, real)
    assert found.precision > 0.8 and 0.35 < found.recall < 0.52
    turned = precision_recall(real, made)
    assert (turned.precision, turned.recall) == (found.recall, found.precision)


def test_neighbourhoods_reach_to_the_kth_neighbour() -> None:
    real = np.arange(6.0)[:, None]  # on a line, one apart: the second neighbour of an inner point is 1 away
    assert precision_recall(np.array([[6.9], [7.1], [50.0], [80.0]]), real, k=2).precision == 0.25
    assert distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]]))[0, 0] == 5.0
    with pytest.raises(ValueError, match="more than 3 pictures"):
        precision_recall(real[:3], real)


def test_reduction_keeps_means_and_forgets_detail() -> None:
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (2, 128, 256, 3), np.uint8)
    small = reduced(pictures)
    assert small.shape == pictures.shape and abs(float(small.mean()) - float(pictures.mean())) < 0.1
    assert np.array_equal(reduced(small), small)
    assert small[0, 0, 0, 0] == round(float(pictures[0, :2, :4, 0].mean()))
    with pytest.raises(ValueError, match="multiples of 64"):
        reduced(pictures[:, :100])
