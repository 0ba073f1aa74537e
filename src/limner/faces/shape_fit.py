"""Fitting the linear face-shape model on measured meshes, some of people with several pictures.

What differs between pictures of one person is expression (S_w, the pooled covariance within people), what differs
between people's mean shapes is identity (S_b). Expression is the orthonormal subspace V with the most of the first and
the least of the second, the leading eigenvectors of S_w - γ S_b (the maximum-margin criterion, Li, Jiang and Zhang
2006); identity is the principal components, over all faces, of what lies outside V. Our choice, because the other way,
calling identity what the identity vector predicts of a shape, fails: that vector knows open mouths (measured: such
identity coefficients predict the mouth's opening with an R² of .84). The mesh network bends a shape a little with
the pose, as no face does: directions that yaw and pitch predict belong to neither part.

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
MARGIN = 0.25  # γ: people's mean shapes hold much of their habitual expression, which must not count as identity
FRONTAL = 25.0  # degrees of yaw or pitch beyond which a mesh is left out: half of it is guessed
SMILE, OPEN = 0.1, 0.05  # expression values under which a face is neutral


@dataclass(frozen=True)
class Fit:
    """A fitted model and how well it fits: figures for JSON."""

    model: ShapeModel
    facts: dict[str, Any]


def fit_shape(meshes: np.ndarray, people: np.ndarray, expression: np.ndarray, topology: Topology) -> Fit:
    """meshes: (N, 468, 3). people: (N,) int, whose face. expression: (N, 44), the record's.

    Raises ValueError for too few faces, or too few people with several pictures.
    """
    poses = [head_pose(mesh, topology) for mesh in meshes]
    angles = np.array([[pose.yaw, pose.pitch] for pose in poses])
    kept = np.abs(angles).max(1) < FRONTAL
    if kept.sum() < 4 * SUBSPACE:
        raise ValueError(f"{kept.sum()} frontal faces are too few for a shape model: give {4 * SUBSPACE} or more")
    shapes = np.stack([in_head_axes(mesh, pose).reshape(-1) for mesh, pose, keep in zip(meshes, poses, kept) if keep])
    angles, people, expression = angles[kept] / FRONTAL, people[kept], expression[kept]

    mean = shapes.mean(0)
    centred = shapes - mean
    turned = np.column_stack([angles, angles**2 - (angles**2).mean(0)])
    bend = np.linalg.qr(np.linalg.lstsq(turned, centred, rcond=None)[0].T)[0]  # (P, 4)
    centred = centred - centred @ bend @ bend.T
    axes = np.linalg.svd(centred, full_matrices=False)[2][:SUBSPACE].T  # (P, 200)
    points = centred @ axes
    within, between = scatter(points, people)
    expressive = np.linalg.eigh(within - MARGIN * between)[1][:, ::-1][:, :EXPRESSIONS]
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
        "people_with_several": len(_several(people)),
        "expression_share_of_variance": round(_share(np.cov(points.T), expressive), 3),
        "expression_share_within_people": round(_share(within, expressive), 3),
        "expression_share_between_people": round(_share(between, expressive), 3),
        "residual_mm": round(float(10 * np.sqrt((left_out**2).reshape(len(points), -1, 3).sum(2).mean())), 3),
        "variance_mm": round(float(10 * np.sqrt((centred**2).reshape(len(points), -1, 3).sum(2).mean())), 3),
    }
    return Fit(model, facts)


def scatter(points: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariance within people and between people's means, (D, D) each, from those with several of the points (N, D).

    The mean of n pictures still holds 1/n of what differs within a person; that is taken off the second.
    Raises ValueError when there are fewer than EXPRESSIONS differences to learn from.
    """
    groups = [points[people == name] for name in _several(people)]
    free = sum(len(group) - 1 for group in groups)
    if free < EXPRESSIONS:
        raise ValueError(
            f"{free} pictures beside another of the same person are too few: give a pair set with {EXPRESSIONS} or more"
        )
    within = np.sum([(group - group.mean(0)).T @ (group - group.mean(0)) for group in groups], 0) / free
    means = np.stack([group.mean(0) for group in groups])
    return within, np.cov(means.T) - within * np.mean([1 / len(group) for group in groups])


def _several(people: np.ndarray) -> list[int]:
    """Who has more than one picture."""
    names, counts = np.unique(people, return_counts=True)
    return names[counts > 1].tolist()


def _rotate(points: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """The same subspace (200, E), turned to its own principal components: the largest movement first."""
    return basis @ np.linalg.svd(points @ basis - (points @ basis).mean(0), full_matrices=False)[2].T


def _share(covariance: np.ndarray, basis: np.ndarray) -> float:
    """The share of a covariance that lies inside a subspace."""
    return float(np.trace(basis.T @ covariance @ basis) / np.trace(covariance))
