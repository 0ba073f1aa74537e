"""A linear model of face shapes: who somebody is and what the face does, apart.

A mesh of 468 points is a head pose (Procrustes, see `motion`) applied to a shape seen from the front, and the shape is

    x = mean + U (s_i ⊙ i) + V (s_e ⊙ e)

with identity i (64) and expression e (64) in standard deviations of the faces it was fitted on; e = 0 is a neutral
face. The columns of U and V are orthonormal together, so both are read off by projection, and a face that takes over
another's expression keeps its identity coefficients exactly. How they were found: see `shape_fit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from limner.faces.motion import HeadPose, head_pose, in_head_axes
from limner.faces.topology import Topology
from limner.weights.store import locate
from limner.weights.tensors import load_tensors

POINTS = 468


@dataclass(frozen=True, kw_only=True)
class FaceShape:
    """A mesh taken apart. identity: (I,), expression: (E,) float64, in standard deviations."""

    pose: HeadPose
    identity: np.ndarray
    expression: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ShapeModel:
    """The linear model. mean: (1404,) centimetres, the neutral average face in head axes (see `Topology.canonical`).
    identity_basis: (I, 1404) and expression_basis: (E, 1404), orthonormal rows. identity_scale: (I,) and
    expression_scale: (E,) centimetres a standard deviation.
    """

    mean: np.ndarray
    identity_basis: np.ndarray
    identity_scale: np.ndarray
    expression_basis: np.ndarray
    expression_scale: np.ndarray
    topology: Topology

    @classmethod
    def load(cls, source: str = "face-shape") -> ShapeModel:
        """From the registry, or a file that `limner data shape` wrote."""
        path = locate(source)
        tensors, _ = load_tensors(path / "shape.safetensors" if path.is_dir() else path)
        arrays = {name: tensor.double().numpy() for name, tensor in tensors.items()}
        # Stored in 16 bits: made orthonormal again, so that taking apart and putting together are inverse to 1e-12.
        both = np.concatenate([arrays["expression_basis"], arrays["identity_basis"]])
        q, r = np.linalg.qr(both.T)
        both = (q * np.sign(np.diag(r))).T
        count = len(arrays["expression_basis"])
        arrays["expression_basis"], arrays["identity_basis"] = both[:count], both[count:]
        return cls(topology=Topology.load(), **arrays)

    def decompose(self, mesh: np.ndarray) -> FaceShape:
        """Pose, identity and expression of a mesh (468, 3) in pixels. Raises ValueError for another shape."""
        mesh = np.asarray(mesh, np.float64)
        if mesh.shape != (POINTS, 3):
            raise ValueError(f"a mesh is ({POINTS}, 3), not {mesh.shape}")
        pose = head_pose(mesh, self.topology)
        identity, expression = self.project(in_head_axes(mesh, pose))
        return FaceShape(pose=pose, identity=identity, expression=expression)

    def compose(self, face: FaceShape) -> np.ndarray:
        """The mesh (468, 3) in pixels of a face taken apart. The inverse of `decompose` inside the model's span."""
        shape = self.shape_of(face.identity, face.expression)
        return shape @ (face.pose.rotation.T * face.pose.scale) + face.pose.centre

    def project(self, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Identity (I,) and expression (E,) of a shape (468, 3) in head axes, centimetres."""
        offset = shape.reshape(-1) - self.mean
        return (
            self.identity_basis @ offset / self.identity_scale,
            self.expression_basis @ offset / self.expression_scale,
        )

    def shape_of(self, identity: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """The shape (468, 3) in head axes, centimetres, of identity (I,) and expression (E,) coefficients."""
        offset = (identity * self.identity_scale) @ self.identity_basis
        offset = offset + (expression * self.expression_scale) @ self.expression_basis
        return (self.mean + offset).reshape(POINTS, 3)

    def expressions(self, meshes: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Expression coefficients (N, E) float32 of meshes (N, 468, 3)."""
        found = [self.decompose(mesh).expression for mesh in meshes]
        return np.stack(found).astype(np.float32) if found else np.empty((0, len(self.expression_scale)), np.float32)
