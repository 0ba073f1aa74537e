"""Do two faces show the same person? The distance of their identity vectors, and the threshold below which they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.faces.identity import SAME_PERSON
from limner.faces.record import Face


@dataclass(frozen=True)
class Comparison:
    """Two faces compared. distance: Euclidean, of their identity vectors; 0 for the same picture.

    threshold: the distance below which two faces count as the same person (dlib's threshold). faces: the two records.
    """

    distance: float
    threshold: float
    faces: tuple[Face, Face]

    @property
    def same(self) -> bool:
        """Whether the two count as the same person."""
        return self.distance < self.threshold

    def to_dict(self) -> dict[str, Any]:
        """Distance, threshold, verdict and the two boxes, as JSON can hold them."""
        boxes = [np.round(face.box.astype(float), 1).tolist() for face in self.faces]
        return {
            "same": self.same,
            "distance": round(self.distance, 4),
            "threshold": self.threshold,
            "boxes": boxes,
        }


def distances(vector: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distances (N,) of one identity vector (D,) to others (N, D)."""
    return np.linalg.norm(others.astype(np.float64) - vector.astype(np.float64), axis=-1)


def compare_faces(one: Face, other: Face) -> Comparison:
    """Compare two faces that were read. ``InputError`` for a face that was read without recognition."""
    for face in (one, other):
        if np.isnan(face.identity).any():
            raise InputError("this face has no identity vector: read it with recognise=True")
    distance = float(distances(one.identity, other.identity[None])[0])
    return Comparison(distance, SAME_PERSON, (one, other))
