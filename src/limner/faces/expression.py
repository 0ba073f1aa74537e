"""What a face does, as 44 numbers in 0..1 named after ARKit's blend shapes where they mean the same.

They are geometry, nothing else: distances between mesh points of the head seen from the front, in centimetres at an eye
distance of 6.3, each stretched so that neutral faces give about 0 and the strongest seen about 1. Left and right are
the subject's. ARKit's shapes that a mesh cannot show (tongue, cheek puff, lip rolls seen from within) are absent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from limner.faces.motion import HeadPose, in_head_axes
from limner.faces.topology import Topology

# Measures of one side, by name without the side. The range: what neutral faces stay below, and what is strongest.
# `tools/convert/faces_expression.py` printed these from 3,079 synthetic, generated and photographed frontal faces.
SIDED_RANGES: dict[str, tuple[float, float]] = {
    "eye_blink": (-0.279, -0.145),
    "eye_wide": (0.329, 0.392),
    "eye_squint": (-0.095, -0.036),
    "eye_look_out": (0.000, 30.000),
    "eye_look_in": (0.000, 30.000),
    "eye_look_up": (0.000, 30.000),
    "eye_look_down": (0.000, 30.000),
    "brow_down": (-2.091, -1.536),
    "brow_outer_up": (1.633, 2.011),
    "mouth_smile": (1.406, 2.921),
    "mouth_frown": (0.045, 0.275),
    "mouth_stretch": (2.530, 3.129),
    "mouth_upper_up": (-1.702, -1.315),
    "mouth_lower_down": (3.755, 5.642),
    "cheek_squint": (-2.434, -2.043),
    "nose_sneer": (-3.619, -3.194),
    "jaw": (0.078, 0.434),
    "mouth": (0.047, 0.302),
}
CENTRAL_RANGES: dict[str, tuple[float, float]] = {
    "jaw_open": (0.239, 2.459),
    "mouth_pucker": (-1.438, -1.084),
    "mouth_funnel": (-1.263, -0.163),
    "mouth_roll_upper": (-0.565, -0.308),
    "mouth_roll_lower": (-0.888, -0.674),
    "mouth_press": (-1.576, -1.116),
    "brow_inner_up": (1.935, 2.473),
    "mouth_shrug_lower": (-2.619, -1.655),
}


class Side:
    """Points of one half of a face, so that x grows outward on either side."""

    def __init__(self, points: np.ndarray, sign: float, numbers: Callable[[int], int]) -> None:
        self._points, self._sign, self._numbers = points, sign, numbers

    def __call__(self, *right: int) -> np.ndarray:
        """Mean (3,) of points given by their numbers on the right side: outward, down, away."""
        mean = np.mean([self._points[self._numbers(number)] for number in right], 0)
        return mean * [self._sign, 1, 1]


def sided_measures(side: Side, look: np.ndarray) -> dict[str, float]:
    """Raw measures of one side, growing with the movement. look: (2,) gaze in the head, outward and up, in degrees."""
    outer, inner = side(33), side(133)
    width = max(float(np.linalg.norm(outer - inner)), 1e-3)
    upper, lower = side(158, 159, 160), side(144, 145, 153)
    opening = float(lower[1] - upper[1]) / width
    corner_line = (outer[1] + inner[1]) / 2
    corner, lips = side(61), side(13, 14)
    brow_inner, brow_outer = side(55, 107), side(46, 70, 63)
    rise = float(lips[1] - corner[1])
    return {
        "eye_blink": -opening,
        "eye_wide": opening,
        "eye_squint": float(corner_line - lower[1]) / width,
        "eye_look_out": float(look[0]),
        "eye_look_in": float(-look[0]),
        "eye_look_up": float(look[1]),
        "eye_look_down": float(-look[1]),
        "brow_down": float(brow_inner[1] - inner[1]) - 0.35 * float(brow_inner[0]),
        "brow_outer_up": float(outer[1] - brow_outer[1]),
        "mouth_smile": rise + 0.5 * float(corner[0]),
        "mouth_frown": -rise,
        "mouth_stretch": float(corner[0]) - 0.8 * rise,
        "mouth_upper_up": float(side(64, 98)[1] - side(39, 37)[1]),
        "mouth_lower_down": float(side(84, 181)[1] - side(14)[1]) + float(side(14)[1] - side(64)[1]),
        "cheek_squint": float(lower[1] - side(50, 101)[1]),
        "nose_sneer": float(inner[1] - side(64, 48)[1]),
        "jaw": float(side(152)[0] - side(1)[0]),  # slid to this side
        "mouth": float(side(13, 14)[0] - side(1)[0]),
    }


def central_measures(right: Side, left: Side) -> dict[str, float]:
    """Raw measures of the face's middle, growing with the movement."""
    both = lambda *numbers: (right(*numbers) + left(*numbers)) / 2  # noqa: E731
    gap = float(both(14)[1] - both(13)[1])
    width = float(both(61)[0])
    protrusion = float(both(50)[2] - both(0, 17)[2])
    upper_lip, lower_lip = float(both(13)[1] - both(0)[1]), float(both(17)[1] - both(14)[1])
    return {
        "jaw_open": gap,
        "mouth_pucker": 0.5 * protrusion - width,
        "mouth_funnel": 0.5 * protrusion - width + 0.8 * gap,
        "mouth_roll_upper": -upper_lip,
        "mouth_roll_lower": -lower_lip,
        "mouth_press": -(upper_lip + lower_lip + gap),
        "brow_inner_up": float(both(133)[1] - both(55, 107)[1]),
        "mouth_shrug_lower": -float(both(152)[1] - both(17)[1]),
    }


def raw_measures(
    mesh: np.ndarray, pose: HeadPose, gaze: np.ndarray, topology: Topology
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Measures before they are stretched: of the left side, of the right side, of the middle."""
    points = in_head_axes(np.asarray(mesh, np.float64), pose)
    right = Side(points, -1, lambda number: number)
    left = Side(points, 1, lambda number: int(topology.mirror[number]))
    look = np.array([gaze[0] - pose.yaw, gaze[1] - pose.pitch])  # in the head; positive to the left, and up
    return sided_measures(left, look), sided_measures(right, look * [-1, 1]), central_measures(right, left)


EXPRESSION_NAMES: tuple[str, ...] = tuple(
    [f"{name}_{side}" for name in SIDED_RANGES for side in ("left", "right")] + list(CENTRAL_RANGES)
)


def expression_of(mesh: np.ndarray, pose: HeadPose, gaze: np.ndarray, topology: Topology) -> np.ndarray:
    """Coefficients (K,) float32 in 0..1, in the order of EXPRESSION_NAMES.

    mesh: (468, 3) pixels; gaze: (2,) degrees relative to the camera, as `motion.gaze_direction` gives it.
    """
    return np.clip(unbounded_expression(mesh, pose, gaze, topology), 0, 1).astype(np.float32)


def unbounded_expression(mesh: np.ndarray, pose: HeadPose, gaze: np.ndarray, topology: Topology) -> np.ndarray:
    """As ``expression_of``, (K,) float64, before coefficients are kept in 0..1: these change wherever the mesh does."""
    left, right, middle = raw_measures(mesh, pose, gaze, topology)
    return np.array(
        [stretched(side[name], bounds) for name, bounds in SIDED_RANGES.items() for side in (left, right)]
        + [stretched(middle[name], bounds) for name, bounds in CENTRAL_RANGES.items()]
    )


def stretched(value: float, bounds: tuple[float, float]) -> float:
    """A raw measure as a coefficient: 0 at the low bound, 1 at the high one, and on beyond them."""
    low, high = bounds
    return (value - low) / (high - low)
