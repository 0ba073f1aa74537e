"""Fitting the linear face-shape model on measured meshes, one picture a person being enough.

The record's action measures (smile, jaw, blink, brows …, see `expression`) are 0 on neutral faces by design, so what of
a shape they explain (ridge regression, S_a) is what faces do, and the rest of what differs between faces (S_t - S_a) is
mostly who they are. Expression is the orthonormal subspace V with the most of the first and the least of the second,
the leading eigenvectors of S_a - γ (S_t - S_a) (the maximum-margin criterion, Li, Jiang and Zhang 2006); identity is
the principal components of what lies outside V. Our choice, because calling identity what the identity vector predicts
of a shape fails: that vector knows smiles and open mouths (identity coefficients then told the mouth's opening with an
R² of .84; here it is .12, on held-out faces). The mesh network bends a shape a little with the pose, as no face does:
directions that yaw and pitch predict belong to neither part.

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
# γ. Our choice: with less, expression takes over who people are (gender presentation and age); with more, identity
# takes over smiles. At 2.5 expression tells a smile with a held-out R² of .85, identity with .2.
MARGIN = 2.5
PENALTY = 0.002  # of the regression on action measures, which lie in 0..1
FRONTAL = 25.0  # degrees of yaw or pitch beyond which a mesh is left out: half of it is guessed
SMILE, OPEN = 0.1, 0.05  # expression values under which a face is neutral


@dataclass(frozen=True)
class Fit:
    """A fitted model and how well it fits: figures for JSON."""

    model: ShapeModel
    facts: dict[str, Any]


def fit_shape(meshes: np.ndarray, expression: np.ndarray, topology: Topology) -> Fit:
    """meshes: (N, 468, 3). expression: (N, 44), the record's. Raises ValueError for too few faces."""
    poses = [head_pose(mesh, topology) for mesh in meshes]
    angles = np.array([[pose.yaw, pose.pitch] for pose in poses])
    kept = np.abs(angles).max(1) < FRONTAL
    if kept.sum() < 4 * SUBSPACE:
        raise ValueError(f"{kept.sum()} frontal faces are too few for a shape model: give {4 * SUBSPACE} or more")
    shapes = np.stack([in_head_axes(mesh, pose).reshape(-1) for mesh, pose, keep in zip(meshes, poses, kept) if keep])
    angles, expression = angles[kept] / FRONTAL, expression[kept].astype(np.float64)

    mean = shapes.mean(0)
    centred = shapes - mean
    turned = np.column_stack([angles, angles**2 - (angles**2).mean(0)])
    bend = np.linalg.qr(np.linalg.lstsq(turned, centred, rcond=None)[0].T)[0]  # (P, 4)
    bent = centred @ bend @ bend.T
    centred = centred - bent
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :SUBSPACE]  # (P, 200)
    points = centred @ axes
    total, acted = np.cov(points.T), np.cov(explained_by(expression, points).T)
    ordered = np.linalg.eigh(acted - MARGIN * (total - acted))[1][:, ::-1]  # (200, 200)
    expressive, outside = ordered[:, :EXPRESSIONS], ordered[:, EXPRESSIONS:]
    personal = _rotate(points, outside)[:, :IDENTITIES]
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
        "explained_by_actions": round(float(np.trace(acted) / np.trace(total)), 3),
        "expression_share_of_variance": round(_share(total, expressive), 3),
        "expression_share_of_actions": round(_share(acted, expressive), 3),
        "expression_share_of_the_rest": round(_share(total - acted, expressive), 3),
        "residual_mm": _length(left_out),
        "bent_by_pose_mm": _length(bent),
        "variance_mm": _length(centred),
    }
    return Fit(model, facts)


def explained_by(expression: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The part (N, D) of centred shapes (N, D) that action measures (N, 44) explain. Where the eyes look is left out:
    a mesh does not show it."""
    shown = [not name.startswith("eye_look") for name in EXPRESSION_NAMES]
    x = expression[:, shown] - expression[:, shown].mean(0)
    return x @ np.linalg.solve(x.T @ x + PENALTY * len(x) * np.eye(x.shape[1]), x.T @ points)


def _rotate(points: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """The same subspace (200, E), turned to its own principal components: the largest movement first."""
    return basis @ np.linalg.svd(points @ basis - (points @ basis).mean(0), full_matrices=False)[2].T


def _length(offsets: np.ndarray) -> float:
    """Root mean square length of point offsets (N, P) in centimetres, as millimetres."""
    return round(float(10 * np.sqrt((offsets**2).reshape(len(offsets), -1, 3).sum(2).mean())), 3)


def _share(covariance: np.ndarray, basis: np.ndarray) -> float:
    """The share of a covariance that lies inside a subspace."""
    return float(np.trace(basis.T @ covariance @ basis) / np.trace(covariance))
