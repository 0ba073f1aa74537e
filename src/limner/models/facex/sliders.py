"""Sliders: what "a bit more of a smile" is in the numbers that `limner read` measures. The only place that says so.

Expressions are the named measures of `limner.faces.expression`, 0..1; angles are degrees, signs as everywhere (yaw
positive to the subject's own left, pitch positive up). A slider moves away from what the photo shows; 0 leaves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from limner.faces.expression import EXPRESSION_NAMES

from .motion import Motion


@dataclass(frozen=True)
class Slider:
    """One number that a user moves. low, high: its range. moves: change of each measure at 1, sides alike."""

    low: float
    high: float
    moves: Mapping[str, float] = field(default_factory=dict)


# Our choice of what moves together: what the measures of faces with a wide smile, an open mouth … have in common.
SLIDERS: dict[str, Slider] = {
    "yaw": Slider(-45, 45),
    "pitch": Slider(-30, 30),
    "gaze_x": Slider(-30, 30),
    "gaze_y": Slider(-30, 30),
    "smile": Slider(
        -1, 1, {"mouth_smile": 0.8, "mouth_stretch": 0.2, "cheek_squint": 0.4, "mouth_frown": -0.5, "eye_squint": 0.2}
    ),
    "mouth": Slider(-1, 1, {"jaw_open": 0.8, "mouth_lower_down": 0.4, "mouth_press": -0.6, "mouth_funnel": 0.2}),
    "brows": Slider(-1, 1, {"brow_inner_up": 0.7, "brow_outer_up": 0.7, "brow_down": -0.7}),
    "eyes": Slider(-1, 1, {"eye_wide": 0.8, "eye_blink": -0.8, "eye_squint": -0.4}),
    "pucker": Slider(-1, 1, {"mouth_pucker": 0.8, "mouth_funnel": 0.4, "mouth_stretch": -0.4}),
}
EXPRESSIONS: dict[str, dict[str, float]] = {
    "happy": {"smile": 0.8, "mouth": 0.1},
    "laughing": {"smile": 1.0, "mouth": 0.5, "eyes": -0.2},
    "sad": {"smile": -0.7, "brows": 0.3, "eyes": -0.2},
    "angry": {"smile": -0.4, "brows": -0.8, "eyes": 0.2},
    "surprised": {"mouth": 0.6, "brows": 0.9, "eyes": 0.6},
    "kiss": {"pucker": 1.0, "smile": -0.2},
    "sleepy": {"eyes": -0.8, "mouth": 0.1},
}
"""Named expressions are several sliders at once."""

_SIDES = ("", "_left", "_right")
_LOOK_RANGE = 30.0  # degrees at which the eye_look measures are 1


def direction(name: str) -> np.ndarray:
    """What a slider at 1 adds to the measures of an expression, (44,); nothing for one of angles."""
    added = np.zeros(len(EXPRESSION_NAMES))
    for measure, change in SLIDERS[name].moves.items():
        for side in _SIDES:
            if measure + side in EXPRESSION_NAMES:
                added[EXPRESSION_NAMES.index(measure + side)] = change
    return added


def move(motion: Motion, sliders: Mapping[str, float]) -> Motion:
    """The motion after the sliders. Gaze goes along when the head turns, so that the eyes stay where they are in it."""
    expression = motion.expression.astype(np.float64).copy()
    for name, value in sliders.items():
        expression += value * direction(name)
    turn = np.array([sliders.get("yaw", 0.0), sliders.get("pitch", 0.0)])
    pose, gaze = motion.pose.astype(np.float64).copy(), motion.gaze.astype(np.float64)
    pose[:2] += turn
    gaze = gaze + turn + [sliders.get("gaze_x", 0.0), sliders.get("gaze_y", 0.0)]
    if "gaze_x" in sliders or "gaze_y" in sliders:
        _look(expression, gaze - pose[:2])
    moved = np.clip(expression, 0, 1)
    return replace(
        motion,
        expression=moved.astype(np.float32),
        pose=pose.astype(np.float32),
        gaze=gaze.astype(np.float32),
    )


def _look(expression: np.ndarray, look: np.ndarray) -> None:
    """Set the measures of where the eyes look in the head, (2,) degrees, as `expression_of` would read them."""
    across, up = look / _LOOK_RANGE
    for side, outward in (("left", across), ("right", -across)):
        for name, value in (("out", outward), ("in", -outward), ("up", up), ("down", -up)):
            expression[EXPRESSION_NAMES.index(f"eye_look_{name}_{side}")] = np.clip(value, 0, 1)
