"""Where a head is turned and where its eyes look.

The camera's axes are x to the right of the picture, y down, z away from it. Angles are degrees. Yaw is positive when
the subject turns to their own left (to the right of the picture), pitch when they look up, roll when the head leans
clockwise in the picture. A mirrored photo has the opposite yaw and roll and the same pitch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from limner.faces import geometry
from limner.faces.landmarks import LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS
from limner.faces.topology import Topology

EYEBALL_RADIUS = 1.2  # centimetres, adults' average
WIDEST_GAZE = 60.0  # degrees from the camera
# How far the corners' middle lies in front of the eyeball's centre, and how far below the height of an iris that looks
# ahead. Our choice: the values with which formal portraits (whose subjects look into the camera) give a mean gaze of
# zero, whichever way the head is turned.
CORNER_DEPTH = 0.5  # centimetres
IRIS_RISE = 0.16  # centimetres


@dataclass(frozen=True, kw_only=True)
class HeadPose:
    """A head in front of the camera under weak perspective.

    rotation: (3, 3), head axes to camera axes. scale: pixels per centimetre. centre: (3,) pixels, the point between
    the eyes.
    """

    rotation: np.ndarray
    scale: float
    centre: np.ndarray

    @property
    def yaw(self) -> float:
        return float(np.degrees(np.arcsin(np.clip(self.rotation[2, 0], -1, 1))))

    @property
    def pitch(self) -> float:
        return float(-np.degrees(np.arctan2(self.rotation[2, 1], self.rotation[2, 2])))

    @property
    def roll(self) -> float:
        return float(np.degrees(np.arctan2(self.rotation[1, 0], self.rotation[0, 0])))


def rotation_of(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The rotation (3, 3) with these angles in degrees: first pitch, then yaw, then roll, about the camera's axes."""
    b, c, a = np.radians([-yaw, -pitch, roll])
    about_x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def turn(one: HeadPose, other: HeadPose) -> float:
    """Degrees of the rotation that takes one pose to another."""
    cosine = (np.trace(one.rotation.T @ other.rotation) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def head_pose(mesh: np.ndarray, topology: Topology) -> HeadPose:
    """Pose of a mesh (468, 3): the similarity that takes the average face's rigid points onto it (Procrustes)."""
    matrix = geometry.similarity(topology.canonical[topology.rigid], mesh[topology.rigid])
    scale = float(np.cbrt(np.linalg.det(matrix[:, :3])))
    return HeadPose(rotation=matrix[:, :3] / scale, scale=scale, centre=matrix[:, 3])


def in_head_axes(mesh: np.ndarray, pose: HeadPose) -> np.ndarray:
    """A mesh (468, 3) as it would be seen from the front: centimetres from the point between the eyes."""
    return (mesh - pose.centre) @ pose.rotation / pose.scale


def iris_centres(mesh: np.ndarray, gaze: np.ndarray, pose: HeadPose) -> np.ndarray:
    """Where the irises are that look in a direction, (2, 2) pixels, right eye first: the inverse of ``gaze_direction``
    for both eyes alike. gaze: (2,) yaw and pitch in degrees."""
    yaw, pitch = np.radians(gaze)
    look = np.array([np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
    return _eyeballs(eye_corners(mesh), pose) + look * pose.scale * EYEBALL_RADIUS


def eye_corners(mesh: np.ndarray) -> np.ndarray:
    """(2, 2, 2): right eye first, outer and inner corner, x y of a mesh (468, 3)."""
    return np.stack([mesh[list(each), :2] for each in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS)])


def _eyeballs(corners: np.ndarray, pose: HeadPose) -> np.ndarray:
    """Middles of the eyeballs (2, 2), behind the middles of their corners (2, 2, 2)."""
    behind = pose.rotation @ np.array([0.0, IRIS_RISE, -CORNER_DEPTH])
    return corners.mean(1).astype(np.float64) - pose.scale * behind[:2]


def gaze_direction(
    mesh: np.ndarray, irises: np.ndarray, pose: HeadPose, corners: np.ndarray | None = None
) -> np.ndarray:
    """Yaw and pitch (2,) in degrees of the line of sight relative to the camera, in the picture's own axes.

    mesh: (468, 3); irises: (2, 5, 2), right eye first; corners: (2, 2, 2) of the eyes, the mesh's own unless given.
    Each eyeball is a sphere behind the middle of its corners; the iris lies on it where it is seen. The eyes are
    averaged, the one turned towards the camera counting more.
    """
    balls = _eyeballs(eye_corners(mesh) if corners is None else corners, pose)
    offsets, weights = [], []
    for ball, iris, side in zip(balls, irises, (-1.0, 1.0), strict=True):
        offsets.append((iris[0] - ball) / (pose.scale * EYEBALL_RADIUS))
        weights.append(np.exp(side * pose.yaw / -15.0))  # turning to the own left hides the left eye
    x, y = np.average(offsets, axis=0, weights=weights)
    reach = max(np.hypot(x, y) / np.sin(np.radians(WIDEST_GAZE)), 1.0)  # an iris beyond it was misplaced
    x, y = x / reach, y / reach
    return np.array([np.degrees(np.arctan2(x, np.sqrt(1 - x * x - y * y))), -np.degrees(np.arcsin(y))])
