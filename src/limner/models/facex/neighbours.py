"""Other people in the photo: their faces are left exactly as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from limner.faces.record import Face

LONGEST_GAP = 12
"""Frames over which a face that is not detected is taken to go on as straight as it can."""
NEAR = 1.0
"""Distance of two meshes' middles, in widths of a mesh and for three frames or more between them, up to which they may
be of one face; for fewer frames it is as much less."""
GROWN = 1.08
"""Factor by which the area of a mesh is scaled about its middle: a mesh ends a little within the face."""


def other_faces(
    faces: Sequence[Face], chosen: Face, shape: tuple[int, ...], triangles: np.ndarray
) -> np.ndarray | None:
    """Where the faces other than the chosen one are in a photo (H, W, …): (H, W) bool; None where there is no other."""
    meshes = [face.landmarks for face in faces if face is not chosen]
    return face_area(meshes, shape, triangles) if meshes else None


def face_area(meshes: Sequence[np.ndarray], shape: tuple[int, ...], triangles: np.ndarray) -> np.ndarray:
    """What meshes (468, 2 or more) in pixels cover, (H, W) bool. triangles: (N, 3), `Topology.triangles`."""
    image = Image.new("1", (shape[1], shape[0]))
    draw = ImageDraw.Draw(image)
    for mesh in meshes:
        points = np.asarray(mesh, np.float64)[:, :2]
        middle = points.mean(0)
        points = middle + GROWN * (points - middle)
        for triangle in points[triangles]:
            draw.polygon([tuple(point) for point in triangle.tolist()], fill=1)
    return np.array(image)


def through_gaps(frames: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
    """The meshes (468, 2) of other faces in each frame, with those that the detector missed for a few frames put in
    between the frames that show them."""
    filled = [list(meshes) for meshes in frames]
    for number, meshes in enumerate(frames):
        for mesh in meshes:
            if number + 1 == len(frames) or _nearest(mesh, frames[number + 1], 1) is not None:
                continue
            for gap in range(2, min(LONGEST_GAP + 1, len(frames) - number)):
                later = _nearest(mesh, frames[number + gap], gap)
                if later is not None:
                    for step in range(1, gap):
                        filled[number + step].append(mesh + (later - mesh) * (step / gap))
                    break
    return filled


def _nearest(mesh: np.ndarray, others: Sequence[np.ndarray], frames: int) -> np.ndarray | None:
    """The mesh nearest to another one some frames away; None if none is near enough to be of the same face."""
    if not others:
        return None
    width = float(np.ptp(mesh[:, 0]))
    far = [float(np.linalg.norm(each.mean(0) - mesh.mean(0))) for each in others]
    best = int(np.argmin(far))
    alike = 0.6 < float(np.ptp(others[best][:, 0])) / max(width, 1e-6) < 1.6
    return others[best] if alike and far[best] <= NEAR * width * min(frames, 3) / 3 else None
