"""Fréchet and kernel distances against their definitions, and the search for copies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from limner.errors import InputError
from limner.evaluation.fidelity import neighbours
from limner.evaluation.frechet import features, frechet_distance, kernel_distance
from limner.evaluation.image_similarity import in_mean_colour


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_frechet_distance_is_its_definition(random: np.random.Generator) -> None:
    one, other = random.standard_normal((60, 5)) * [1, 2, 3, 1, 1], random.standard_normal((80, 5)) + 0.5
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    gap = one.mean(0) - other.mean(0)
    expected = gap @ gap + np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one))


def test_frechet_distance_of_moved_points_is_the_move_squared(random: np.random.Generator) -> None:
    points = random.standard_normal((50, 4))
    assert frechet_distance(points, points + np.array([3, 0, 4, 0])) == pytest.approx(25)


def test_kernel_distance_is_its_double_sum(random: np.random.Generator) -> None:
    one, other = random.standard_normal((7, 3)), random.standard_normal((9, 3)) + 1

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within_one = np.mean([kernel(a, b) for i, a in enumerate(one) for j, b in enumerate(one) if i != j])
    within_other = np.mean([kernel(a, b) for i, a in enumerate(other) for j, b in enumerate(other) if i != j])
    across = np.mean([kernel(a, b) for a in one for b in other])
    assert kernel_distance(one, other) == pytest.approx(within_one + within_other - 2 * across)


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(InputError, match="at least two"):
        frechet_distance(np.zeros((1, 4)), np.zeros((5, 4)))


def test_features_do_not_depend_on_the_batch(random: np.random.Generator) -> None:
    pictures = random.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    assert np.allclose(features(pictures, batch=3), features(pictures, batch=1), atol=1e-4)


def test_a_copy_is_found(random: np.random.Generator) -> None:
    known = random.standard_normal((40, 16))
    nearest, cosines = neighbours(known[[7, 31]] + 0.01 * random.standard_normal((2, 16)), known, 3)
    assert nearest[:, 0].tolist() == [7, 31] and cosines[:, 0].min() > 0.99
    assert (np.diff(cosines, axis=1) <= 0).all() and cosines[:, 1].max() < 0.95


def test_mean_colours_are_brought_together_inside_a_mask() -> None:
    random = np.random.default_rng(0)
    picture = random.integers(40, 120, (32, 32, 3), dtype=np.uint8)
    mask = np.zeros((32, 32), bool)
    mask[4:20, 6:30] = True
    darker = (picture * [0.5, 0.8, 1.0]).astype(np.uint8)
    darker[~mask] = 0  # what is outside does not count
    again = in_mean_colour(darker, picture, mask)
    assert np.abs(again.astype(int) - picture)[mask].max() <= 2 and not again[~mask].any()
