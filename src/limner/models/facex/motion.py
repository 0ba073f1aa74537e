"""What a face does in an aligned picture, as numbers a network can read: expression, pose and place, gaze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from limner.faces.expression import EXPRESSION_NAMES
from limner.faces.motion import head_pose
from limner.faces.topology import Topology

EXPRESSION = len(EXPRESSION_NAMES)
POSE = 6
GAZE = 2
SIZE = 256
# Middle and spread of pose and place over aligned faces: degrees, pixels of 256, logarithm of pixels per centimetre.
_POSE_MIDDLE = np.array([0, 0, 0, 128, 112, np.log(14.0)], np.float32)
_POSE_SPREAD = np.array([20, 12, 6, 12, 12, 0.15], np.float32)
_GAZE_SPREAD = 15.0
ANGLE_SPREAD = tuple(_POSE_SPREAD[:3].tolist())
"""Degrees of yaw, pitch and roll that count as one."""


@dataclass(frozen=True, eq=False)
class Motion:
    """expression: (44,) in 0..1, `EXPRESSION_NAMES`. pose: (6,) yaw, pitch, roll, degrees; x and y of the point between
    the eyes, pixels of the aligned 256 x 256 picture; pixels per centimetre. gaze: (2,) yaw and pitch, degrees."""

    expression: np.ndarray
    pose: np.ndarray
    gaze: np.ndarray

    def normalised(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Expression around 0 in -1..1, pose and gaze of about unit spread, float32."""
        pose = self.pose.astype(np.float32).copy()
        pose[5] = np.log(max(float(pose[5]), 1e-3))
        return (
            (2 * self.expression - 1).astype(np.float32),
            (pose - _POSE_MIDDLE) / _POSE_SPREAD,
            (self.gaze / _GAZE_SPREAD).astype(np.float32),
        )


def motion_of(landmarks: np.ndarray, expression: np.ndarray, gaze: np.ndarray, topology: Topology) -> Motion:
    """Motion of a face by its mesh (468, 3) in pixels of the aligned 256 x 256 picture, and what else was measured."""
    pose = head_pose(np.asarray(landmarks, np.float64), topology)
    x, y = pose.centre[:2]
    return Motion(
        np.asarray(expression, np.float32),
        np.array([pose.yaw, pose.pitch, pose.roll, x, y, pose.scale], np.float32),
        np.asarray(gaze, np.float32),
    )
