"""Fréchet and kernel distances against their definitions, and the search for copies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from limner.errors import InputError
from limner.evaluation.fidelity import neighbours
from limner.evaluation.frechet import features, frechet_distance, kernel_distance
from limner.evaluation.nearness import cut_out


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


def test_a_part_is_cut_out_at_its_own_place_and_size() -> None:
    random = np.random.default_rng(0)
    part = np.repeat(np.repeat(random.integers(0, 256, (6, 10, 3), dtype=np.uint8), 4, 0), 4, 1)
    one, other = np.zeros((128, 128, 3), np.uint8), np.full((128, 128, 3), 200, np.uint8)
    masks = np.zeros((2, 128, 128), bool)
    one[20:44, 30:70], masks[0, 20:44, 30:70] = part, True
    other[70:118, 40:120], masks[1, 70:118, 40:120] = np.repeat(np.repeat(part, 2, 0), 2, 1), True
    (first, inside), (second, _) = cut_out(one, masks[0]), cut_out(other, masks[1])
    assert first.shape == (96, 96, 3) and np.abs(first.astype(int) - second)[inside].mean() < 10
    assert np.abs(first.astype(int) - cut_out(other, masks[0])[0])[inside].mean() > 20
    across, down = (np.ptp(np.flatnonzero(inside.any(axis))) + 1 for axis in (0, 1))
    assert (across, down) == (74, 44), "it fills the frame but for its margin"
