"""Whose face a result shows: by the reader's identity network and, where one is given, by a judge's.

The reader's figures stand in a record itself, a judge's in the same words below ``judge``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from limner.evaluation.edit_benchmark import EditBenchmark, Record
from limner.evaluation.edit_measurement import AnalysedPhoto, Edited
from limner.faces.record import Face

CLOSE = 0.5
"""Distance by the reader's network under which an edited face is still its owner."""

Vector = Callable[[np.ndarray, Face], np.ndarray]
"""(photo (H, W, 3), face in it) → (C,)."""


def swapped(
    bench: EditBenchmark, made: Edited, source: AnalysedPhoto, target: AnalysedPhoto, number: int | None = None
) -> Record:
    """Distances and cosines to source and target. number: of the source, who is then looked for in the gallery."""

    def record(vector: Vector, judged: bool) -> Record:
        found: Record = {"nearer_to_source": False}
        if made.face is not None:
            face = vector(made.photo, made.face)
            one, other = (vector(look.photo, look.face) for look in (source, target))
            to_source, to_target = distance(face, one), distance(face, other)
            found |= {"to_source": to_source, "to_target": to_target, "nearer_to_source": to_source < to_target}
            found |= {"cosine_to_source": cosine(face, one), "cosine_to_target": cosine(face, other)}
        return found | _retrieved(bench, made, vector, judged, number)

    return _by_both(bench, record)


def still(bench: EditBenchmark, made: Edited, look: AnalysedPhoto, number: int | None = None) -> Record:
    """Distance and cosine to the edited photo's own face. number: as in ``swapped``."""

    def record(vector: Vector, judged: bool) -> Record:
        found: Record = {} if judged else {"still_themselves": False}  # CLOSE is a distance of the reader's
        if made.face is not None:
            face, before = vector(made.photo, made.face), vector(look.photo, look.face)
            found |= {"to_photo_identity": distance(face, before), "cosine_to_photo": cosine(face, before)}
            if not judged:
                found["still_themselves"] = found["to_photo_identity"] < CLOSE
        return found | _retrieved(bench, made, vector, judged, number)

    return _by_both(bench, record)


def gallery_of(bench: EditBenchmark) -> str:
    """What people are looked for among: "other photo" of everybody, or "same photo" where somebody has only one."""
    return "other photo" if all(len(person.pictures) > 1 for person in bench.gallery.people) else "same photo"


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Euclidean; the reader's vectors of one person are mostly less than 0.6 apart."""
    return float(np.linalg.norm(one - other))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of the angle between two vectors, -1..1."""
    return float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-9))


def _by_both(bench: EditBenchmark, record: Callable[[Vector, bool], Record]) -> Record:
    found = record(lambda _, face: face.identity, False)
    return found if bench.judge is None else found | {"judge": record(bench.judge.vector, True)}


def _retrieved(bench: EditBenchmark, made: Edited, vector: Vector, judged: bool, number: int | None) -> Record:
    """Whether person ``number`` is the nearest, or among the five nearest, of all people: of their other pictures, and
    (``of_sources``) of their first pictures, where it is the very photo that the face came from."""
    if number is None:
        return {}
    face, found = None if made.face is None else vector(made.photo, made.face), {}
    for which, looks in (("", bench.seconds), ("_of_sources", bench.firsts)):
        if looks[number] is None:
            continue
        rank = math.inf  # of a lost face
        if face is not None:
            gallery = bench.vectors.setdefault((judged, which), {})
            if not gallery:
                gallery |= {k: vector(look.photo, look.face) for k, look in enumerate(looks) if look is not None}
            truth = distance(face, gallery[number])
            rank = 1 + sum(distance(face, other) < truth for other in gallery.values())
        found |= {f"top_1{which}": rank == 1, f"top_5{which}": rank <= 5}
    return found
