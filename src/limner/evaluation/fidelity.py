"""How near paintings lie to faces the painter never saw, and whether any of them copies one that it did.

Distances are taken in EfficientNet-lite0's feature space (see `frechet`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.shards import iterate
from limner.data.texts import COLUMNS, missing, texts_of
from limner.evaluation.frechet import PROTOCOL, features, frechet_distance, kernel_distance
from limner.faces.efficientnet import EfficientNetLite0
from limner.faces.picture import read_picture, read_region_map
from limner.models.mditface.engine import MDiTFace
from limner.progress import ProgressCallback

MODES = ("words", "mask", "both")
UNSEEN = ("test", "validation")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A face of a built set: its picture (256, 256, 3), its regions (256, 256), and one text about it."""

    picture: np.ndarray
    regions: np.ndarray
    words: str


def read_set(folder: str | Path, splits: Iterable[str], count: int = 0, texts: str = "grammar") -> list[Seen]:
    """Faces of a built set in its order, split after split; the first `count`, or all for 0.

    The text of face k is its prompt k modulo their number, so that every style of prompt occurs. texts: which texts
    count as prompts (`limner.data.texts`); a face without such a text is an InputError.
    """
    rows = (row for split in splits for row in iterate(folder, split, ["image", "regions", *COLUMNS]))
    found = []
    for index, row in enumerate(islice(rows, count or None)):
        said = texts_of(row, texts).prompts
        if not said:
            raise missing(texts, folder, ("captions",) if texts == "carried" else ("prompts",))
        picture, regions = read_picture(row["image"]["bytes"]), read_region_map(row["regions"]["bytes"])
        found.append(Seen(picture=picture, regions=regions, words=said[index % len(said)]))
    return found


def read_pictures(folder: str | Path, split: str) -> np.ndarray:
    """The pictures of one split of a built set, nothing else of it decoded: uint8 (N, 256, 256, 3)."""
    return np.stack([read_picture(row["image"]["bytes"]) for row in iterate(folder, split, ["image"])])


def paint_set(
    painter: MDiTFace, faces: list[Seen], mode: str, steps: int, seed: int, progress: ProgressCallback
) -> np.ndarray:
    """One painting for every face, from its words, its regions, or both: uint8 (N, H, W, 3). Picture k has seed + k."""
    painted = []
    for index, face in enumerate(faces):
        words = face.words if mode in ("words", "both") else None
        regions = face.regions if mode in ("mask", "both") else None
        painted.append(np.asarray(painter.paint(words, regions, steps=steps, seed=seed + index)[0].image))
        progress(index + 1, len(faces))
    return np.stack(painted)


def measure_fidelity(painted: np.ndarray, unseen: np.ndarray, seen: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """Fréchet and kernel distance to unseen faces, and a test for copies of seen ones. All uint8 (N, H, W, 3).

    `between_unseen_and_seen` is what the two sets of photographs keep from each other at these counts: no painter can
    be expected to come nearer. `nearest_training_face` is the mean cosine similarity of a painting to the training face
    most like it; `…_of_unseen` the same of faces that cannot be copies. A painter that copies lies well above them.
    Also returned: for every painting its three nearest training faces, most like first (N, 3).
    """
    net = EfficientNetLite0.load()
    ours, real, known = (features(pictures, net) for pictures in (painted, unseen, seen))
    nearest, similarity = neighbours(ours, known, 3)
    honest = neighbours(real, known, 1)[1][:, 0]
    figures = {
        "protocol": PROTOCOL,
        "painted": len(painted),
        "unseen": len(unseen),
        "frechet": frechet_distance(ours, real),
        "kernel_times_1000": 1000 * kernel_distance(ours, real),
        "frechet_between_unseen_and_seen": frechet_distance(real, known[: len(real)]),
        "kernel_times_1000_between_unseen_and_seen": 1000 * kernel_distance(real, known[: len(real)]),
        "nearest_training_face": float(similarity[:, 0].mean()),
        "nearest_training_face_highest": float(similarity[:, 0].max()),
        "nearest_training_face_of_unseen": float(honest.mean()),
        "nearest_training_face_of_unseen_highest": float(honest.max()),
    }
    return figures, nearest


def neighbours(one: np.ndarray, other: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row of `one` (N, D) its `count` most similar rows of `other` (M, D): indices and cosines (N, count).

    Both are centred on the mean of `other` first: raw features all point nearly the same way.
    """
    middle = other.mean(0)
    a, b = one - middle, other - middle
    a, b = a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True)
    cosines = a @ b.T
    best = np.argsort(-cosines, axis=1)[:, :count]
    return best, np.take_along_axis(cosines, best, 1)


def neighbour_sheet(painted: np.ndarray, seen: np.ndarray, nearest: np.ndarray, columns: int = 12) -> np.ndarray:
    """First row paintings, below each the training faces most like it: uint8 RGB."""
    shown = [np.concatenate([painted[k], *seen[nearest[k]]], 0) for k in range(min(columns, len(painted)))]
    return np.concatenate(shown, 1)
