"""Fitting the linear face-shape model on measured meshes, one picture a person being enough.

Our choice, because pictures that show one person twice are rare: the identity vector stands for the person. What of a
shape it predicts (ridge regression, S_b) is between people; what is left when it is known (S_w = S_t - S_b) happens
within a person. Expression is the subspace V that has the most of the second and the least of the first, the leading
eigenvectors of S_w - S_b (the maximum-margin criterion, Li, Jiang and Zhang 2006, which keeps V orthonormal); identity
is the principal components of what lies outside V. The mesh network bends a shape a little with the pose, as no face
does: directions that yaw and pitch predict belong to neither part.

Legend: N faces, P = 468 · 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from limner.faces.expression import EXPRESSION_NAMES
from limner.faces.motion import head_pose, in_head_axes
from limner.faces.shape import ShapeModel
from limner.faces.topology import Topology

EXPRESSIONS = 64
IDENTITIES = 64
SUBSPACE = 200  # principal components the fit works in; the rest is noise of the mesh network
PENALTY = 0.1  # of the regression on identity vectors, as a share of their variance
FRONTAL = 25.0  # degrees of yaw or pitch beyond which a mesh is left out: half of it is guessed
SMILE, OPEN = 0.1, 0.05  # expression values under which a face is neutral


@dataclass(frozen=True)
class Fit:
    """A fitted model and how well it fits: figures for JSON."""

    model: ShapeModel
    facts: dict[str, Any]


def fit_shape(meshes: np.ndarray, identity: np.ndarray, expression: np.ndarray, topology: Topology) -> Fit:
    """meshes: (N, 468, 3). identity: (N, 128) vectors. expression: (N, 44), the record's.

    Raises ValueError for too few faces.
    """
    poses = [head_pose(mesh, topology) for mesh in meshes]
    angles = np.array([[pose.yaw, pose.pitch] for pose in poses])
    kept = np.abs(angles).max(1) < FRONTAL
    if kept.sum() < 4 * SUBSPACE:
        raise ValueError(f"{kept.sum()} frontal faces are too few for a shape model: give {4 * SUBSPACE} or more")
    shapes = np.stack([in_head_axes(mesh, pose).reshape(-1) for mesh, pose, keep in zip(meshes, poses, kept) if keep])
    angles, identity, expression = angles[kept] / FRONTAL, identity[kept].astype(np.float64), expression[kept]

    mean = shapes.mean(0)
    centred = shapes - mean
    turned = np.column_stack([angles, angles**2 - (angles**2).mean(0)])
    bend = np.linalg.qr(np.linalg.lstsq(turned, centred, rcond=None)[0].T)[0]  # (P, 4)
    centred = centred - centred @ bend @ bend.T
    axes = np.linalg.svd(centred, full_matrices=False)[2][:SUBSPACE].T  # (P, 200)
    points = centred @ axes
    predicted, held_out = _predict(identity, points)
    total, between = np.cov(points.T), np.cov(predicted.T)
    expressive = np.linalg.eigh(total - 2 * between)[1][:, ::-1][:, :EXPRESSIONS]  # S_w - S_b = S_t - 2 S_b
    rest = points - points @ expressive @ expressive.T
    personal = np.linalg.svd(rest, full_matrices=False)[2][:IDENTITIES].T
    expressive = _rotate(points, expressive)

    smile = expression[:, [EXPRESSION_NAMES.index(f"mouth_smile_{side}") for side in ("left", "right")]].mean(1)
    neutral = (smile < SMILE) & (expression[:, EXPRESSION_NAMES.index("jaw_open")] < OPEN)
    if not neutral.any():
        raise ValueError("no neutral face among them: give faces with closed mouths that do not smile, too")
    v, u = (axes @ expressive).T, (axes @ personal).T
    zero = (points[neutral] @ expressive).mean(0)
    model = ShapeModel(
        mean=mean + zero @ v,
        identity_basis=u,
        identity_scale=(points @ personal).std(0),
        expression_basis=v,
        expression_scale=(points @ expressive).std(0),
        topology=topology,
    )
    left_out = centred - points @ expressive @ v - points @ personal @ u
    facts = {
        "faces": int(kept.sum()),
        "neutral": int(neutral.sum()),
        "shape_predicted_by_identity_r2": round(held_out, 3),
        "expression_share_of_variance": round(float((points @ expressive).var(0).sum() / centred.var(0).sum()), 3),
        "expression_predicted_by_identity": round(_share(predicted, points, expressive), 3),
        "identity_predicted_by_identity": round(_share(predicted, points, personal), 3),
        "residual_mm": round(float(10 * np.sqrt((left_out**2).reshape(len(points), -1, 3).sum(2).mean())), 3),
        "variance_mm": round(float(10 * np.sqrt((centred**2).reshape(len(points), -1, 3).sum(2).mean())), 3),
    }
    return Fit(model, facts)


def _predict(identity: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, float]:
    """What identity vectors (N, 128) say of shapes (N, 200), each face by a regression on the others' half; and R²."""
    predicted = np.empty_like(points)
    half = np.arange(len(points)) % 2 == 0
    for train, test in ((half, ~half), (~half, half)):
        centre, mean = identity[train].mean(0), points[train].mean(0)
        x = identity[train] - centre
        square = x.T @ x / len(x)
        penalty = PENALTY * float(np.trace(square)) / len(square) * np.eye(len(square))
        weights = np.linalg.solve(square + penalty, x.T @ (points[train] - mean) / len(x))
        predicted[test] = mean + (identity[test] - centre) @ weights
    return predicted, 1 - float(((points - predicted) ** 2).sum() / (points**2).sum())


def _rotate(points: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """The same subspace (200, E), turned to its own principal components: the largest movement first."""
    return basis @ np.linalg.svd(points @ basis - (points @ basis).mean(0), full_matrices=False)[2].T


def _share(predicted: np.ndarray, points: np.ndarray, basis: np.ndarray) -> float:
    """The share of the variance inside a subspace that identity vectors predict."""
    return float((predicted @ basis).var(0).sum() / (points @ basis).var(0).sum())
