"""Precision and recall of a set of pictures (Kynkäänniemi et al., arXiv 1904.06991), and what they are measured on.

Legend: N and M pictures, D numbers of a feature vector.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NEIGHBOUR = 3
"""k: a picture's neighbourhood reaches to its k-th nearest neighbour in its own set."""
REDUCED = 64


class PrecisionRecall(NamedTuple):
    """Both in 0..1. precision: share of made pictures that look like some real one. recall: share of real pictures
    that look like some made one.
    """

    precision: float
    recall: float


def precision_recall(made: np.ndarray, real: np.ndarray, k: int = NEIGHBOUR) -> PrecisionRecall:
    """Of features (N, D) of made pictures and (M, D) of real ones. ``ValueError`` for k or fewer pictures."""
    if min(len(made), len(real)) <= k:
        raise ValueError(f"precision and recall need more than {k} pictures on each side")
    between = distances(made, real)  # (N, M)
    reach_made, reach_real = (np.sort(distances(x, x), 1)[:, k] for x in (made, real))
    return PrecisionRecall(
        float((between <= reach_real[None]).any(1).mean()), float((between <= reach_made[:, None]).any(0).mean())
    )


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Euclidean distances (N, M)."""
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T
    return np.sqrt(squares.clip(0))


def reduced(pictures: np.ndarray) -> np.ndarray:
    """Pictures (N, H, W, 3) uint8 as they look at 64 px, at their own size again.

    Our choice: because features at full size hear how sharp and how compressed pictures are before they hear what is
    on them: the generator's own faces, stored as WebP, are further from portraits than a painter's blurred ones.
    ``ValueError`` for sides that 64 does not divide.
    """
    count, height, width, channels = pictures.shape
    if height % REDUCED or width % REDUCED:
        raise ValueError(f"pictures of {width} × {height}: sides must be multiples of {REDUCED}")
    rows, columns = height // REDUCED, width // REDUCED
    boxes = pictures.reshape(count, REDUCED, rows, REDUCED, columns, channels)
    means = boxes.mean((2, 4)).round().astype(np.uint8)
    return means.repeat(rows, 1).repeat(columns, 2)
