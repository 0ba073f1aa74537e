"""A face cut out and aligned, with everything that was measured on it: what is taken apart and painted into."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from limner.errors import InputError
from limner.faces.geometry import transform_points, warp
from limner.faces.record import Face
from limner.faces.regions import Region
from limner.faces.topology import Topology

from .motion import SIZE, Motion, motion_of

SMALLEST = 32
"""Pixels of the photo across a face's box below which nothing of it can be told."""
TURNED = 70.0
"""Degrees of yaw beyond which a mesh is guesswork."""
SEEN = 0.6
"""Share of the face's box that has to lie in the photo."""


@dataclass(frozen=True, eq=False)
class Portrait:
    """picture: (S, S, 3) uint8, FFHQ-aligned. regions: (S, S) uint8. light: (27,). crop: (2, 3), photo → picture."""

    picture: np.ndarray
    regions: np.ndarray
    motion: Motion
    light: np.ndarray
    crop: np.ndarray
    name: str = "photo"
    mesh: np.ndarray | None = None
    """(468, 3) in pixels of the picture; None where it is not kept: such a portrait gives no draft (``draft``)."""
    irises: np.ndarray | None = None
    """(2, 2): their middles in pixels of the picture, right eye first; None where they were not measured."""

    @property
    def size(self) -> int:
        """S."""
        return self.picture.shape[0]

    def without(self, others: np.ndarray | None) -> Portrait:
        """The portrait whose regions leave out other people's faces, (H, W) bool in the photo."""
        if others is None:
            return self
        there = warp(others.astype(np.uint8), self.crop, self.size, nearest=True, border=0) > 0
        return replace(self, regions=np.where(there, np.uint8(Region.BACKGROUND), self.regions))


def portrait_of(photo: np.ndarray, face: Face, size: int, topology: Topology, name: str = "photo") -> Portrait:
    """A face of a photo (H, W, 3) as a portrait of side ``size``. ``InputError`` for one that cannot serve."""
    check_face(photo, face, name)
    crop = np.asarray(face.crop, np.float64) * (size / SIZE)
    regions = warp(face.regions, crop, size, nearest=True, border=0)
    mesh = transform_points(face.landmarks, face.crop)
    return Portrait(
        warp(photo, crop, size, border="edge"),
        regions,
        motion_of(mesh, face.expression, face.gaze, topology),
        np.asarray(face.light, np.float32),
        crop,
        name,
        mesh * (size / SIZE),
        transform_points(face.irises[:, 0], crop),
    )


def check_face(photo: np.ndarray, face: Face, name: str) -> None:
    """Raise ``InputError``, one line, for a face that nothing good would come of."""
    width = float(face.box[2] - face.box[0])
    if width < SMALLEST:
        raise InputError(f"the face in {name} is {width:.0f} pixels wide: give a photo with at least {SMALLEST}")
    if abs(face.pose.yaw) > TURNED:
        raise InputError(f"the face in {name} is turned {abs(face.pose.yaw):.0f}° away: at most {TURNED:.0f}° works")
    points = np.asarray(face.landmarks)[:, :2]
    height, across = photo.shape[:2]
    seen = ((points >= 0) & (points < [across, height])).all(1).mean()
    if seen < SEEN:
        raise InputError(
            f"the face in {name} is cut off: {100 * seen:.0f} % of it can be seen, {100 * SEEN:.0f} % is needed"
        )


def hash_of(photo: np.ndarray) -> str:
    """16 hex digits that another photo does not have."""
    return hashlib.sha256(np.ascontiguousarray(photo).tobytes() + repr(photo.shape).encode()).hexdigest()[:16]
