"""How often each face is drawn, so that what is rare among the faces is learnt too.

Legend: N faces, S kinds of facts.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from limner.words.grammar import Value

MOST_PER_FACT, MOST = 3.0, 6.0


def looks_of(facts: Sequence[Mapping[str, Value]], names: Sequence[str]) -> np.ndarray:
    """Facts as numbers, (N, S) int64: 0 where a face has no such fact, else a number that stands for its value."""
    rows = [[_told(face.get(name)) for name in names] for face in facts]
    return np.array(rows, np.int64).reshape(len(facts), len(names))


def _told(value: Value | None) -> int:
    return 0 if value is None else zlib.crc32(str(value).encode()) or 1


def rarity_weights(looks: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
    """Weights to draw N faces by, with mean 1: float32 (N,). looks: gives the faces' looks part after part, twice.

    Our choice: each fact multiplies the weight by the root of (how often the commonest value of that kind occurs / how
    often this one does), at most 3; all together at most 6. The root is half way between the faces as they are, where
    one in twenty has a beard, and all values equally often, where those few would be learnt by heart.
    """
    counts: list[Counter[int]] = []
    for part in looks():
        counts = counts or [Counter() for _ in range(part.shape[1])]
        for column, found in zip(part.T, counts):
            found.update(column[column != 0].tolist())
    gains = [{value: min(MOST_PER_FACT, (max(c.values()) / n) ** 0.5) for value, n in c.items()} for c in counts]
    weights = []
    for part in looks():
        factors = [[gain.get(value, 1.0) for value in column] for column, gain in zip(part.T.tolist(), gains)]
        weights.append(np.prod(np.array(factors).reshape(len(gains), len(part)), axis=0).clip(max=MOST))
    drawn = np.concatenate(weights)
    return (drawn / drawn.mean()).astype(np.float32)


class WeightedDraw:
    """Rows drawn with replacement, by their weights."""

    def __init__(self, rows: np.ndarray, weights: np.ndarray) -> None:
        """rows, weights: (N,). A row's chance is its weight's share of the sum."""
        self.rows = rows
        self.chances = weights.astype(np.float64) / weights.astype(np.float64).sum()
        self._cumulated = np.cumsum(self.chances)
        self._cumulated /= self._cumulated[-1]

    def draw(self, random: np.random.Generator, count: int) -> np.ndarray:
        """``count`` rows."""
        return self.rows[np.searchsorted(self._cumulated, random.random(count), side="right")]
