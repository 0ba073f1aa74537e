"""What of a face record changes between two pictures of one person, and what should not, as plain numbers.

Motion and light: yaw, pitch (degrees), smile, mouth (opening), eyes_closed (0 neutral, 1 the strongest usually seen,
and beyond), gaze_x and gaze_y (degrees, of the line of sight relative to the camera), light_x and light_y (where the
light comes from: to the right in the picture, upward; shares of the mean light). Looks: age (years), glasses, beard
(0 none, 1 full), hair_length (0 bald to 3 long), woman (gender presentation), hat; yes or no as probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from limner.data.shards import unpack_attributes
from limner.faces.expression import CENTRAL_RANGES, SIDED_RANGES, raw_measures, stretched
from limner.faces.light import light_direction
from limner.faces.motion import head_pose
from limner.faces.record import Attribute
from limner.faces.topology import Topology

MOTION = ("yaw", "pitch", "smile", "mouth", "eyes_closed", "gaze_x", "gaze_y", "light_x", "light_y")
LOOKS = ("age", "glasses", "beard", "hair_length", "woman", "hat")
FACTORS = MOTION + LOOKS
# What one step of each motion factor means when two pictures are compared: standard deviations among 4,351 synthetic
# faces, as `limner data directions` measured them.
SPREADS: Mapping[str, float] = {
    "yaw": 13.3,
    "pitch": 7.8,
    "smile": 0.30,
    "mouth": 0.23,
    "eyes_closed": 0.33,
    "gaze_x": 8.6,
    "gaze_y": 4.5,
    "light_x": 0.28,
    "light_y": 0.19,
}
COLUMNS = ("landmarks", "gaze", "light", "attributes")  # of a record, that factors are measured from

_BEARDS = {"none": 0.0, "stubble": 0.5, "full": 1.0}
_HAIR = {"bald": 0.0, "short": 1.0, "medium": 2.0, "long": 3.0}


def measure_factors(row: Mapping[str, Any], topology: Topology) -> np.ndarray:
    """Factors (15,) float32 of a record (`shards.as_arrays`), in the order of FACTORS; NaN where not measured.

    Unlike the record's `expression` they are not cut off at 0 and 1 (our choice: because what is cut off cannot be
    regressed, and a face moved too far could not be told from one moved well).
    """
    mesh = np.asarray(row["landmarks"], np.float64).reshape(-1, 3)
    gaze = np.asarray(row["gaze"], np.float64)
    pose = head_pose(mesh, topology)
    left, right, middle = raw_measures(mesh, pose, gaze, topology)
    light = light_direction(row["light"])
    both = lambda name: stretched((left[name] + right[name]) / 2, SIDED_RANGES[name])  # noqa: E731
    motion = {
        "yaw": pose.yaw,
        "pitch": pose.pitch,
        "smile": both("mouth_smile"),
        "mouth": stretched(middle["jaw_open"], CENTRAL_RANGES["jaw_open"]),
        "eyes_closed": both("eye_blink"),
        "gaze_x": gaze[0],
        "gaze_y": gaze[1],
        "light_x": light[0],
        "light_y": light[1],
    }
    values = motion | _looks(unpack_attributes(row["attributes"]))
    return np.array([values[name] for name in FACTORS], np.float32)


def measure_all(rows: Iterable[Mapping[str, Any]], topology: Topology) -> np.ndarray:
    """Factors (N, 15) of many records."""
    found = [measure_factors(row, topology) for row in rows]
    return np.stack(found) if found else np.empty((0, len(FACTORS)), np.float32)


def motion_change(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How much motion or light differs between faces with factors (..., 15): the largest change of one factor, in
    standard deviations (SPREADS). Returns (...)."""
    count = len(MOTION)
    spreads = np.array([SPREADS[name] for name in MOTION])
    return np.max(np.abs(np.asarray(one) - other)[..., :count] / spreads, axis=-1)


def _looks(attributes: Mapping[str, Attribute]) -> dict[str, float]:
    def chance(name: str, value: object) -> float:
        """Probability that the attribute has this value, one of two."""
        found = attributes.get(name)
        if found is None:
            return float("nan")
        return found.confidence if found.value == value else 1 - found.confidence

    def rank(name: str, order: Mapping[str, float]) -> float:
        found = attributes.get(name)
        return float("nan") if found is None else order[str(found.value)]

    age = attributes.get("age")
    return {
        "age": float("nan") if age is None else float(age.value),
        "glasses": chance("glasses", True),
        "beard": rank("beard", _BEARDS),
        "hair_length": rank("hair_length", _HAIR),
        "woman": chance("gender_presentation", "woman"),
        "hat": chance("hat", True),
    }
