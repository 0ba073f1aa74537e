"""What nano's identity expert mixes in: who a face is, how it is shaped and held, and its colours, a token each.

Our choice: because an identity network is trained to see past open mouths, turned heads and light, a network for
objects hardly sees an eye's shape, and a small model cannot learn them from image codes. At full size CLIP's 576
patches hold them, and the identity network's vector stands alone [P].

Legend: B batch, C feature width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from limner.faces.image_tensors import to_pictures
from limner.faces.landmarks import MeshNetwork
from limner.faces.shape import ShapeModel

from .features import IdentityFeatures

FACE_BOX = (0.24, 0.26, 0.79, 0.93)
"""Where a face's box is in an FFHQ-aligned picture: left, top, right, bottom in shares of its side."""

CELLS = 6
"""Cells of the grid of colours along a side."""

POSE = 6
"""Numbers of a head pose: three angles, where the point between the eyes is (two), how large the head is."""

ANGLE, SHIFT, SCALE = 20.0, 0.25, (0.05, 0.025)
"""What makes them numbers near 1. Angles: degrees. Place: shares of the picture's side from its middle. Size: shares of
the side that a centimetre takes, a common one and a unit."""

FARTHEST = 6.0
"""Standard deviations a coefficient is cut to: farther out a mesh has slipped."""


class FaceFeatures:
    """Three tokens of an aligned face: the identity vector; its mesh's coefficients in the linear face-shape model,
    64 of identity and 64 of expression, in standard deviations; head pose, and the mean colours of a grid."""

    def __init__(self, identity: IdentityFeatures, mesh: MeshNetwork, shape: ShapeModel) -> None:
        self.identity, self.mesh, self.shape = identity, mesh, shape
        self.width = identity.width

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to (B, 3, C)."""
        measured = np.stack([self._measure(picture) for picture in to_pictures(pictures)])  # (B, 134)
        split = measured.shape[1] - POSE
        shape, pose = torch.from_numpy(measured).to(pictures).split([split, POSE], dim=1)
        colours = F.adaptive_avg_pool2d(pictures, CELLS).flatten(1)
        parts = shape, torch.cat([pose, colours], 1)
        assert all(part.shape[1] <= self.width for part in parts)
        tokens = [F.pad(part, (0, self.width - part.shape[1])) for part in parts]
        return torch.cat([self.identity.encode(pictures), torch.stack(tokens, 1)], 1)

    def _measure(self, picture: np.ndarray) -> np.ndarray:
        """Coefficients and pose of (H, H, 3) uint8: (128 + POSE,) float32."""
        side = len(picture)
        mesh = self.mesh.find(picture, np.array(FACE_BOX) * side, 0.0)
        face = self.shape.decompose(mesh.points)
        coefficients = np.concatenate([face.identity, face.expression]).clip(-FARTHEST, FARTHEST)
        pose = face.pose
        angles = np.array([pose.yaw, pose.pitch, pose.roll]) / ANGLE
        place = (pose.centre[:2] / side - 0.5) / SHIFT
        size = (pose.scale / side - SCALE[0]) / SCALE[1]
        return np.concatenate([coefficients, angles, place, [size]]).astype(np.float32)
