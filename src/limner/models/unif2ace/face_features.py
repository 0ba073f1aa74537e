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

from limner.faces.batches import to_pictures
from limner.faces.landmarks import MeshNetwork
from limner.faces.shape import ShapeModel

from .features import IdentityFeatures

FACE_BOX = (0.24, 0.26, 0.79, 0.93)
"""Where a face's box is in an FFHQ-aligned picture: left, top, right, bottom in shares of its side (medians of 311)."""

CELLS = 6
"""Cells of the grid of colours along a side."""

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
        tokens = [F.pad(part, (0, self.width - part.shape[1])) for part in (shape, torch.cat([pose, colours], 1))]
        return torch.cat([self.identity.encode(pictures), torch.stack(tokens, 1)], 1)

    def _measure(self, picture: np.ndarray) -> np.ndarray:
        """Coefficients and pose of (H, H, 3) uint8: (128 + POSE,) float32."""
        side = len(picture)
        mesh = self.mesh.find(picture, np.array(FACE_BOX) * side, 0.0)
        face = self.shape.decompose(mesh.points)
        coefficients = np.concatenate([face.identity, face.expression]).clip(-FARTHEST, FARTHEST)
        pose = face.pose
        angles = np.array([pose.yaw, pose.pitch, pose.roll]) / 20
        place = np.append(pose.centre[:2] / side - 0.5, pose.scale / side * 10 - 0.5) * 4
        return np.concatenate([coefficients, angles, place]).astype(np.float32)


POSE = 6
"""Numbers of a head pose: three angles in 20 degrees, then where the head is and how large."""
