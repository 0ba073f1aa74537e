"""What Limner knows about one face: the record that everything else is built on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from limner.errors import InputError

if TYPE_CHECKING:
    from limner.faces.picture import Source

NOSE_TIP, MOUTH_RIGHT, MOUTH_LEFT = 1, 61, 291
"""Vertices of MediaPipe's face mesh; right and left are the subject's."""


@dataclass(frozen=True)
class Attribute:
    """One thing measured about a face.

    value: one of the attribute's values in `vocabulary`. confidence: 0..1, how sure the analyser is of the value.
    by: the analyser that measured it.
    """

    value: str | bool | float | int
    confidence: float
    by: str


@dataclass(frozen=True)
class Pose:
    """Degrees. yaw: positive to the subject's own left (right in the picture). pitch: positive up. roll: clockwise."""

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a photo. Points and boxes are in pixels of the photo; left and right are the subject's.

    box: (4,) XYXY around the face. score: 0..1. landmarks: (468, 3), z growing away from the camera. irises: (2, 5, 2),
    right eye first, centre then outline. gaze: (2,) degrees, yaw and pitch of the line of sight relative to the camera,
    signs as in Pose. expression: (K,) in 0..1, named by `expression.EXPRESSION_NAMES`. light: (27,), nine spherical
    harmonics for red, then green, then blue (see `light`). regions: (H, W) uint8 at the photo's size, `regions.Region`.
    crop: (2, 3), photo to the aligned 256 x 256 picture. identity: (128,), not a number where nobody was to be
    recognised. attributes: name to Attribute; what could not be measured on this face is absent.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray
    irises: np.ndarray
    pose: Pose
    gaze: np.ndarray
    expression: np.ndarray
    light: np.ndarray
    regions: np.ndarray
    crop: np.ndarray
    identity: np.ndarray
    attributes: Mapping[str, Attribute]

    @property
    def area(self) -> float:
        """Area of the box, square pixels."""
        x1, y1, x2, y2 = (float(edge) for edge in self.box)
        return (x2 - x1) * (y2 - y1)

    # The same values under the names that insightface's and deepface's users know.

    @property
    def bbox(self) -> np.ndarray:
        """``box``: (4,) XYXY, pixels of the photo."""
        return self.box

    @property
    def det_score(self) -> float:
        """``score``: confidence of the detection, 0..1."""
        return float(self.score)

    @property
    def kps(self) -> np.ndarray:
        """Five key points (5, 2) in pixels of the photo, in insightface's order: the eye on the picture's left (the
        subject's right eye), the other eye, the tip of the nose, the mouth's corner on the picture's left, the other.

        Eyes are the centres of the irises.
        """
        points = self.landmarks[[NOSE_TIP, MOUTH_RIGHT, MOUTH_LEFT], :2]
        return np.concatenate([self.irises[:, 0], points]).astype(np.float32)

    @property
    def embedding(self) -> np.ndarray:
        """``identity``: compare two with ``limner.Toolkit.compare``. Not a number where nobody was to be recognised."""
        return self.identity

    @property
    def age(self) -> int | None:
        """Apparent age in years; None where it could not be measured. ``attributes["age"]`` has its confidence."""
        found = self.attributes.get("age")
        return None if found is None else round(float(found.value))

    @property
    def sex(self) -> Literal["M", "F"] | None:
        """Gender presentation as insightface writes it: ``M`` or ``F``; None where it could not be measured.

        It says what the face looks like to a network, not who the person is; ``attributes["gender_presentation"]`` has
        its confidence.
        """
        found = self.attributes.get("gender_presentation")
        return None if found is None else ("F" if found.value == "woman" else "M")

    def to_dict(self) -> dict[str, Any]:
        """Everything but the region map, as JSON can hold it: lists and plain numbers, sensibly rounded."""
        from limner.faces.expression import EXPRESSION_NAMES

        return {
            "box": _rounded(self.box, 1),
            "score": round(float(self.score), 4),
            "landmarks": _rounded(self.landmarks, 2),
            "irises": _rounded(self.irises, 2),
            "pose": {name: round(float(getattr(self.pose, name)), 2) for name in ("yaw", "pitch", "roll")},
            "gaze": {"yaw": round(float(self.gaze[0]), 2), "pitch": round(float(self.gaze[1]), 2)},
            "expression": dict(zip(EXPRESSION_NAMES, _rounded(self.expression, 4), strict=True)),
            "light": _rounded(self.light, 4),
            "crop": _rounded(self.crop, 6),
            "identity": None if np.isnan(self.identity).any() else _rounded(self.identity, 5),
            "attributes": attributes_to_dict(self.attributes),
        }


@dataclass(frozen=True)
class ReadResult:
    """What was read in one of several photos.

    photo: as it was given, or the path of a file in a folder that was given. faces: as ``read`` returns them. error:
    why this photo could not be used (then there are no faces); None for a photo that was read.
    """

    photo: Source
    faces: list[Face]
    error: InputError | None = None


def choose_face(faces: Sequence[Face], number: int | None, name: str) -> Face:
    """One of a photo's faces, by its number: counted from 1, largest first; None: the largest. ``InputError``, which
    calls the photo by its name, where there is none of that number."""
    if not faces:
        raise InputError(f"no face was found in {name}: give another photo")
    if number is None:
        return faces[0]
    if not isinstance(number, int) or not 1 <= number <= len(faces):
        shown = f"{name} shows {len(faces)} face(s)"
        raise InputError(f"{shown}: there is no face {number}; they count from 1, the largest first")
    return faces[number - 1]


def attributes_to_dict(attributes: Mapping[str, Attribute]) -> dict[str, Any]:
    """Attributes as JSON can hold them, by name."""
    return {
        name: {"value": each.value, "confidence": round(float(each.confidence), 3), "by": each.by}
        for name, each in attributes.items()
    }


def _rounded(array: np.ndarray, digits: int) -> list[Any]:
    return np.round(np.asarray(array, np.float64), digits).tolist()
