"""Directions in w: on faces whose factors are known functions of w, the fit finds what it must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from limner.data.directions import Directions, fit_directions
from limner.data.pair_factors import FACTORS
from limner.data.synthetic import LAYERS
from limner.errors import InputError
from limner.weights.tensors import save_tensors

N, K = 3000, len(FACTORS)


@pytest.fixture(scope="module")
def world() -> dict[str, np.ndarray]:
    """w of unequal variances, factors linear in it and correlated, identity that depends on part of it."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((N, 512)) * np.linspace(1.5, 0.5, 512) + 0.3
    true = rng.standard_normal((K, 512)) + 0.7 * rng.standard_normal(512)  # a shared part: factors go together
    factors = w @ true.T + 4 + rng.standard_normal((N, K))
    factors[::7, FACTORS.index("age")] = np.nan
    who = rng.standard_normal((512, 128)) * (np.arange(512) < 100)[:, None]
    return {"w": w, "factors": factors, "identity": w @ who, "true": true, "who": who}


@pytest.fixture(scope="module")
def directions(world: dict[str, np.ndarray]) -> Directions:
    return fit_directions(world["w"], world["factors"], world["identity"])


def test_a_step_moves_its_factor_by_one_deviation_and_no_other(world, directions: Directions) -> None:
    assert abs(np.corrcoef(world["factors"][:, 0], world["factors"][:, 1])[0, 1]) > 0.15  # they do go together
    effect = (directions.steps @ world["true"].T) / directions.spreads  # (K, K)
    assert np.allclose(np.diag(effect), 1, atol=0.1)
    assert np.abs(effect - np.diag(np.diag(effect))).max() < 0.1


def test_directions_shun_what_identity_depends_on(world, directions: Directions) -> None:
    rng = np.random.default_rng(1)
    blind = fit_directions(world["w"], world["factors"], rng.standard_normal((N, 128)))
    moved = np.linalg.norm(directions.steps @ world["who"], axis=1)
    assert (moved < 0.7 * np.linalg.norm(blind.steps @ world["who"], axis=1)).all()


def test_expectation_and_held_out_scores(world, directions: Directions) -> None:
    guess = np.stack([directions.expect(w) for w in world["w"][:50]])
    known = np.isfinite(world["factors"][:50])
    error = (
        np.abs(guess - np.nan_to_num(world["factors"][:50]))[known]
        / np.broadcast_to(directions.spreads, known.shape)[known]
    )
    assert error.mean() < 0.1
    scores = {name: facts["r2"] for name, facts in directions.facts["held_out"].items()}
    assert min(scores.values()) > 0.9 and max(scores.values()) <= 1


def test_only_a_factors_layers_move(directions: Directions) -> None:
    w = np.arange(512, dtype=np.float32) / 512
    moved = directions.move(w, {"light_x": 2.0, "smile": 0.0})
    first, end = directions.layers[FACTORS.index("light_x")]
    assert moved.shape == (LAYERS, 512)
    assert np.array_equal(moved[:first], np.tile(w, (first, 1)))
    assert np.allclose(moved[first:end] - w, 2 * directions.steps[FACTORS.index("light_x")], atol=1e-5)
    with pytest.raises(InputError, match="no direction 'wink'"):
        directions.move(w, {"wink": 1.0})


def test_a_file_brings_them_back(directions: Directions, tmp_path: Path) -> None:
    directions.save(tmp_path / "d.safetensors")
    again = Directions.load(tmp_path / "d.safetensors")
    assert again.names == directions.names and again.layers == directions.layers and again.facts == directions.facts
    assert np.allclose(again.steps, directions.steps) and np.allclose(again.weights, directions.weights, atol=1e-4)
    save_tensors(tmp_path / "other.safetensors", {"a": torch.zeros(1)}, {})
    with pytest.raises(InputError, match="limner data directions"):
        Directions.load(tmp_path / "other.safetensors")


def test_the_shipped_directions_load() -> None:
    shipped = Directions.load()
    assert shipped.names == FACTORS and shipped.steps.shape == (K, 512)
    assert shipped.facts["held_out"]["yaw"]["r2"] > 0.9
