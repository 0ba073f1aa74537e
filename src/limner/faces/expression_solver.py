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
UPPER, LOWER, FOLD = 0.8, 0.4, 0.75
"""How much of an iris' way up or down the lids above and below it go, as they do in life, and of a lid's its fold."""
LEAST_OPEN, LEAST_FOLD = 0.4, 0.4
"""What lids leave of an eye's opening when it looks down, and of the room to their folds when it looks up."""
WIDE_OPEN = 0.2
"""Height of an eye's opening, in widths, from which on its lids go all of their way; those of closed eyes stay."""
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
    """A mesh (468, 3) whose lids have gone along with the irises between them, most in their middle; corners stay, and
    neither lids nor folds meet.

    ways: (2, 2), how far each iris goes, right eye first, in the mesh's unit; of it y, downwards, counts.
    """
    moved, along = mesh.copy(), np.sin(np.pi * np.arange(1, 8) / 8)
    for opening, folds, (_, down) in zip(EYE_OPENINGS, EYE_FOLDS, ways, strict=True):
        lids = opening[1:8], opening[9:]
        upper, lower = (mesh[list(lid), 1] for lid in lids)
        open_, room = float(lower[3] - upper[3]), float(upper[3] - mesh[folds[0][3], 1])
        width = float(np.linalg.norm(mesh[opening[0], :2] - mesh[opening[8], :2]))
        down *= float(np.clip(open_ / max(WIDE_OPEN * width, 1e-9), 0, 1))
        furthest = (1 - LEAST_OPEN) * open_ / (UPPER - LOWER), (1 - LEAST_FOLD) * room / (UPPER * (1 - FOLD))
        down = float(np.clip(down, -max(furthest[1], 0), max(furthest[0], 0)))
        for lid, fold, share in zip(lids, folds, (UPPER, LOWER), strict=True):
            moved[list(lid), 1] += share * along * down
            moved[list(fold), 1] += FOLD * share * along * down
    return moved
