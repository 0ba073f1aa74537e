"""What is the same on every mesh: the average face, which point mirrors which, what hardly moves, the triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from limner.weights.store import locate
from limner.weights.tensors import load_tensors


@dataclass(frozen=True, kw_only=True)
class Topology:
    """The 468-point mesh as such.

    canonical: (468, 3) float64, the average face, looking at the camera; x to the right of the picture, y down, z
    away from the camera, centimetres, origin between the eyes. mirror: (468,) int, the point on the other side.
    rigid: (R,) int, points that expression moves least. triangles: (852, 3) int, clockwise as the camera sees them.
    """

    canonical: np.ndarray
    mirror: np.ndarray
    rigid: np.ndarray
    triangles: np.ndarray

    @classmethod
    def load(cls, source: str = "face-mesh") -> Topology:
        """From the registry, or a folder with topology.safetensors."""
        tensors, _ = load_tensors(locate(source) / "topology.safetensors")
        return cls(
            canonical=tensors["canonical"].double().numpy(),
            mirror=tensors["mirror"].long().numpy(),
            rigid=np.flatnonzero(tensors["rigid"].numpy()),
            triangles=tensors["triangles"].long().numpy(),
        )

    def normals(self, points: np.ndarray) -> np.ndarray:
        """Unit normals (468, 3) at the points (468, 3) of a mesh, outward: towards the camera where they face it."""
        corners = points[self.triangles]  # (852, 3, 3)
        faces = -np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])  # length: twice the area
        sums = np.zeros_like(points, np.float64)
        for corner in range(3):
            np.add.at(sums, self.triangles[:, corner], faces)
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
