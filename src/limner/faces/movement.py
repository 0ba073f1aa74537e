"""From action measures back to shapes: the likeliest movement of a face that shows a bit more of a smile.

`expression_of` reads measures off a shape; here a wish for some of them is turned into a change of the shape model's
expression coefficients e. Faces are normally distributed in e with unit variance (that is how it is scaled), so the
likeliest change that takes the measures where they should be, each read with a deviation of τ_k, minimises

    Σ_k (J_k δ - Δ_k)² / τ_k² + |δ|²,      J = ∂ measures / ∂ e at the face itself,

which is δ = Jᵀ (J Jᵀ + diag τ²)⁻¹ Δ, shortened to the longest that faces make. τ_k is a share of |J_k|, of how much
faces differ in the measure. Measures of which nothing is wished follow as they usually do: cheeks rise in a smile.
Our choice over fitted directions: because it is exact for measures that are linear in the shape, which most are, and
needs no data.
"""

from __future__ import annotations

import numpy as np

from limner.faces.expression import EXPRESSION_NAMES, unbounded_expression
from limner.faces.landmarks import EYE_FOLDS, EYE_OPENINGS
from limner.faces.motion import HeadPose
from limner.faces.shape import ShapeModel

PRECISION = 0.2
"""τ_k / |J_k|: how exactly a wish is met. Wishes can contradict each other."""
FURTHEST = 5.0
"""Standard deviations of a whole movement; wishes that are further away are met in part (a pucker out of a wide smile
would be eleven, and no face)."""
WHOLE = 0.3
"""The wish from which on a measure comes all the way from where it lies beyond 0 or 1; a smaller one takes it a part of
that way, so that the smallest wish is the smallest movement."""
STEP = 0.05
"""Standard deviations of the difference quotient. (Some measures are shares of an eye's width, so not quite linear.)"""
UPPER, LOWER = 1.5, 0.75
"""How much of an iris' way up or down the lids above and below it go, as they do in life; their folds half of that."""
FRONT = HeadPose(rotation=np.eye(3), scale=1.0, centre=np.zeros(3))
SHOWN = np.array([not name.startswith("eye_look") for name in EXPRESSION_NAMES])
"""Measures that a mesh shows; where the eyes look it does not."""


def likeliest(shapes: ShapeModel, shape: np.ndarray, change: np.ndarray) -> np.ndarray:
    """What to add to a face's expression coefficients, (E,), so that its measures, which lie in 0..1, change.

    shape: (468, 3), the face in head axes, centimetres. change: (44,), in the order of EXPRESSION_NAMES; where it is 0
    nothing is wished.
    """
    wished = (change != 0) & SHOWN
    count = len(shapes.expression_scale)
    if not wished.any():
        return np.zeros(count)

    def measured(of: np.ndarray) -> np.ndarray:
        return unbounded_expression(of, FRONT, np.zeros(2), shapes.topology)[wished]

    steps = STEP * (shapes.expression_scale[:, None] * shapes.expression_basis).reshape(count, *shape.shape)
    now = measured(shape)
    jacobian = (np.stack([measured(shape + step) for step in steps], 1) - now[:, None]) / STEP  # (wished, E)
    inside = np.clip(now, 0, 1)
    beyond = (inside - now) * np.minimum(np.abs(change[wished]) / WHOLE, 1)
    delta = np.clip(inside + change[wished], 0, 1) - inside + beyond
    inner = jacobian @ jacobian.T
    step = jacobian.T @ np.linalg.solve(inner + PRECISION**2 * np.diag(np.diag(inner)), delta)
    return step * min(1.0, FURTHEST / max(float(np.linalg.norm(step)), 1e-9))


def lids_along(mesh: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """A mesh (468, 3) whose lids have gone along with the irises between them, most in their middle; corners stay.

    ways: (2, 2), how far each iris goes, right eye first, in the mesh's unit.
    """
    moved, along = mesh.copy(), np.sin(np.pi * np.arange(1, 8) / 8)[:, None]
    for opening, folds, way in zip(EYE_OPENINGS, EYE_FOLDS, ways, strict=True):
        for lid, fold, share in zip((opening[1:8], opening[9:]), folds, (UPPER, LOWER), strict=True):
            moved[list(lid), :2] += share * along * way
            moved[list(fold), :2] += share / 2 * along * way
    return moved
