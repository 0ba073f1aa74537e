"""How often each face is drawn, so that what is rare among the faces is learnt too.

Legend: N faces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from limner.words.grammar import Value

MOST_PER_FACT, MOST = 3.0, 6.0


def rarity_weights(facts: Sequence[Mapping[str, Value]]) -> np.ndarray:
    """Weights to draw N faces by, with mean 1: float32 (N,). A face shows rare values or it does not: `facts[i]`.

    Our choice: each fact multiplies the weight by the root of (how often the commonest value of that attribute occurs /
    how often this one does), at most 3; all together at most 6. The root is half way between the faces as they are,
    where one in twenty has a beard, and all values equally often, where those few would be learnt by heart.
    """
    counts: dict[str, Counter[Value]] = {}
    for face in facts:
        for name, value in face.items():
            counts.setdefault(name, Counter())[value] += 1
    weights = np.ones(len(facts), np.float64)
    for row, face in enumerate(facts):
        for name, value in face.items():
            found = counts[name]
            weights[row] *= min(MOST_PER_FACT, (max(found.values()) / found[value]) ** 0.5)
    weights = weights.clip(max=MOST)
    return (weights / weights.mean()).astype(np.float32)
