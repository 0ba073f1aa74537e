"""Directions in the generator's w along which one thing about a face changes and the rest stays.

Every factor f_k of a face (see `factors`) and its identity vector are ridge-regressed on w: f ~ a + Bᵀw, i ~ c + Aᵀw.
The direction of factor k is the smallest step that changes f_k by one standard deviation and no other factor at all:

    d_k = argmin dᵀ M d   subject to   Bᵀd = s_k e_k,     so   D = M⁻¹B (BᵀM⁻¹B)⁻¹ diag(s)

with M = Σ_w⁻¹ + λ AAᵀ. Our choice: because this orthogonalises all factors against each other at once (smile does not
drag gender presentation, age or a hat along), and "smallest" is meant in what costs: how unlikely w becomes (Σ_w, its
covariance) and how far identity moves.

A direction acts on some of the generator's layers only: pose on the coarse and middle ones, expression on the middle
ones, light on the middle and fine ones (LAYERS_OF). K factors, D = 512.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from limner.data.pair_factors import COLUMNS, FACTORS, measure_all
from limner.data.shards import iterate
from limner.data.synthetic import LAYERS, RESOLUTIONS, WIDTH
from limner.errors import InputError
from limner.faces.topology import Topology
from limner.weights.store import locate
from limner.weights.tensors import load_tensors, save_tensors

NAME = "synth-directions"
FILE = "directions.safetensors"
IDENTITY_WEIGHT = 10.0  # λ, in units in which identity vectors have unit variance
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # of the ridge, in units of the mean variance of w
FOLDS = 5
FEWEST = 1500  # faces; a regression on 512 numbers from fewer says little

# First layer and end, of 23, that a factor's direction acts on. Our choice, from moving faces with and without the
# limits: pose with the layers of 4² and 8² alone drags the gaze along, with all of them colours change; a smile keeps
# hair and background better without the coarsest and the finest.
_POSE, _FEATURES = (0, RESOLUTIONS[5]), (RESOLUTIONS[1], RESOLUTIONS[5])
LAYERS_OF: Mapping[str, tuple[int, int]] = {
    "yaw": _POSE,
    "pitch": _POSE,
    "smile": _FEATURES,
    "mouth": _FEATURES,
    "eyes_closed": _FEATURES,
    "gaze_x": _FEATURES,
    "gaze_y": _FEATURES,
    "light_x": (RESOLUTIONS[2], LAYERS),
    "light_y": (RESOLUTIONS[2], LAYERS),
}


@dataclass(frozen=True, kw_only=True)
class Directions:
    """Steps in w, one standard deviation of a factor long.

    names: K factors. steps: (K, 512) float32. layers: first layer and end of each. weights: (K, 512) and intercepts
    (K,): what the regression expects of a w, in the factor's own unit. spreads: (K,) standard deviations. facts: how
    they were fitted, for JSON.
    """

    names: tuple[str, ...]
    steps: np.ndarray
    layers: tuple[tuple[int, int], ...]
    weights: np.ndarray
    intercepts: np.ndarray
    spreads: np.ndarray
    facts: Mapping[str, Any]

    def index(self, name: str) -> int:
        """The row of a factor; InputError for one there is no direction of."""
        if name not in self.names:
            raise InputError(f"there is no direction '{name}': choose among {', '.join(self.names)}")
        return self.names.index(name)

    def expect(self, w: np.ndarray) -> np.ndarray:
        """The factors (K,) that a face of w (512,) should have, in their own units."""
        return self.weights @ np.asarray(w, np.float64) + self.intercepts

    def move(self, w: np.ndarray, steps: Mapping[str, float]) -> np.ndarray:
        """w (512,) moved by so many standard deviations of each factor named: (23, 512) float32, a w for each layer."""
        moved = np.repeat(np.asarray(w, np.float32)[None], LAYERS, 0)
        for name, length in steps.items():
            k = self.index(name)
            first, end = self.layers[k]
            moved[first:end] += np.float32(length) * self.steps[k]
        return moved

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, all or nothing."""
        tensors = {
            name: torch.from_numpy(np.asarray(getattr(self, name), np.float32))
            for name in ("steps", "weights", "intercepts", "spreads")
        }
        header = {"names": list(self.names), "layers": [list(each) for each in self.layers], "facts": self.facts}
        save_tensors(path, tensors, json.loads(json.dumps(header)))

    @classmethod
    def load(cls, source: str | os.PathLike[str] = NAME) -> Directions:
        """From the registry, or a file that `limner data directions` wrote. InputError for another file."""
        path = locate(source)
        tensors, header = load_tensors(path / FILE if path.is_dir() else path)
        if not {"names", "layers"} <= header.keys() or tensors.get("steps", torch.empty(0)).ndim != 2:
            raise InputError(f"{path} holds no directions: make them with `limner data directions SET --out {FILE}`")
        return cls(
            names=tuple(header["names"]),
            layers=tuple((int(first), int(end)) for first, end in header["layers"]),
            facts=header["facts"],
            **{name: tensors[name].double().numpy() for name in ("steps", "weights", "intercepts", "spreads")},
        )


def read_measured(folder: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the synthetic faces of a built set: w (N, 512), factors (N, 15) and identity vectors (N, 128).

    InputError when there are too few of them.
    """
    rows = [row for row in iterate(folder, None, [*COLUMNS, "identity", "w"]) if row["w"] is not None]
    if len(rows) < FEWEST:
        raise InputError(
            f"{folder} holds {len(rows)} faces with their w, fewer than {FEWEST}: "
            "build it from a synthetic set (`limner data synth 3000 --out FOLDER`)"
        )
    factors = measure_all(rows, Topology.load())
    return np.stack([row["w"] for row in rows]).astype(np.float64), factors, np.stack([r["identity"] for r in rows])


def fit_directions(w: np.ndarray, factors: np.ndarray, identity: np.ndarray) -> Directions:
    """Directions of all factors from w (N, 512), factors (N, K) with NaN where unknown, and identity (N, 128)."""
    assert w.shape[1] == WIDTH and factors.shape == (len(w), len(FACTORS))
    mean = w.mean(0)
    centred = w - mean
    unit = float((centred**2).mean())
    known = np.isfinite(factors)
    means, spreads = np.nanmean(factors, 0, dtype=np.float64), np.nanstd(factors, 0, dtype=np.float64)
    standard = (factors - means) / spreads  # (N, K)
    penalties, scores = _choose_penalties(centred, standard, unit)
    columns = zip(known.T, standard.T, penalties, strict=True)
    b = np.stack([_ridge(centred[rows], y[rows], penalty * unit) for rows, y, penalty in columns], 1)  # (D, K)
    a = _ridge(centred, (identity - identity.mean(0)) / identity.std(), 0.3 * unit)  # (D, 128)
    covariance = centred.T @ centred / len(w) + 0.01 * unit * np.eye(WIDTH)
    metric = np.linalg.inv(covariance) + IDENTITY_WEIGHT * a @ a.T
    steps = _smallest_steps(metric, b)
    return Directions(
        names=FACTORS,
        steps=steps.T.astype(np.float32),
        layers=tuple(LAYERS_OF.get(name, (0, LAYERS)) for name in FACTORS),
        weights=b.T * spreads[:, None],
        intercepts=means - spreads * (mean @ b),
        spreads=spreads,
        facts={
            "faces": len(w),
            "held_out": {
                name: {"r2": round(float(score), 3), "penalty": penalty, "faces": int(known[:, k].sum())}
                for k, (name, score, penalty) in enumerate(zip(FACTORS, scores, penalties, strict=True))
            },
        },
    )


def _smallest_steps(metric: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Columns (D, K): the smallest d with Bᵀd = e_k, measured by the metric."""
    turned = np.linalg.solve(metric, b)
    return turned @ np.linalg.inv(b.T @ turned)


def _ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Weights (D,) or (D, targets) of y on x; the penalty counts as so much variance of each input."""
    return np.linalg.solve(x.T @ x + penalty * len(x) * np.eye(x.shape[1]), x.T @ y)


def _choose_penalties(x: np.ndarray, y: np.ndarray, unit: float) -> tuple[list[float], np.ndarray]:
    """For each column of y (N, K) the penalty with the best R² on faces that were held out, and that R² (K,).

    What is not known (NaN) stands at the mean, so that all columns share a factorisation, and is not scored.
    """
    known = np.isfinite(y)
    y = np.where(known, y, 0.0)
    fold = np.arange(len(x)) % FOLDS
    missed = np.zeros((len(PENALTIES), y.shape[1]))
    for k in range(FOLDS):
        train, test = fold != k, fold == k
        square, product = x[train].T @ x[train], x[train].T @ y[train]
        for row, penalty in enumerate(PENALTIES):
            ridge = penalty * unit * train.sum() * np.eye(x.shape[1])
            wrong = y[test] - x[test] @ np.linalg.solve(square + ridge, product)
            missed[row] += (wrong**2 * known[test]).sum(0)
    scores = 1 - missed / (y**2).sum(0)
    return [PENALTIES[row] for row in scores.argmax(0)], scores.max(0)


def with_layers(directions: Directions, layers: Mapping[str, tuple[int, int]]) -> Directions:
    """The same directions, those named acting on other layers."""
    return replace(
        directions, layers=tuple(layers.get(name, old) for name, old in zip(directions.names, directions.layers))
    )
