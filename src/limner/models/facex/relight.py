"""Pictures in the light of others.

Legend: S side of an aligned picture.
"""

from __future__ import annotations

import numpy as np

from .occlusion_fill import carried_on

DARKEST = 8.0
"""Of 255: what is added before ratios of brightness are taken, which are noise where it is dark."""
LARGEST = 1.5
"""Of the logarithms of such ratios."""
OUTSHONE = 1.3
"""How many times as bright as what is around a hole something in it may become."""


def recoloured(
    picture: np.ndarray,
    inside: np.ndarray,
    like: np.ndarray,
    where: np.ndarray,
    brighter: tuple[float, float] | None = None,
) -> np.ndarray:
    """A picture with its channels scaled to the means of another's (von Kries), each inside its mask: a face in the
    light of the photo. brighter: the same for all channels, within these bounds."""
    if not (inside.any() and where.any()):
        return picture
    mine, theirs = picture[inside].astype(np.float32).mean(0), like[where].astype(np.float32).mean(0)
    if brighter is not None:
        gain = np.clip(theirs.sum() / max(mine.sum(), 1.0), *brighter)
    else:
        gain = np.clip(theirs / np.maximum(mine, 1.0), 0.5, 2.0)
    return np.clip(picture * gain, 0, 255).round().astype(np.uint8)


def lit_as(picture: np.ndarray, like: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """A picture (S, S, 3) uint8 in the light of another in a hole (S, S) bool; around it, the other.

    How many times as bright the other is around the hole is carried on inside, as Poisson editing carries differences
    (Perez et al. 2003; our choice: because light multiplies). Nothing becomes brighter than it was beyond ``OUTSHONE``
    times what the other is like around the hole (a grey beard from dark skin does not glow on fair skin).
    """
    mine, theirs = (np.log(each.astype(np.float32) + DARKEST) for each in (picture, like))
    ratio = carried_on((theirs - mine).clip(-LARGEST, LARGEST), hole)
    most = np.maximum(picture, OUTSHONE * carried_on(like, hole))
    lit = np.minimum(np.exp(mine + ratio) - DARKEST, most)
    return np.where(hole[..., None], lit.round().clip(0, 255).astype(np.uint8), like)
