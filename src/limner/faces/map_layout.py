"""What a region map shows, told from where its regions lie: the label order of its numbers, and which side is which.

Two label orders of 19 numbers circulate (`regions.ORDERS`), and nothing in a file of numbers says which it is in. But a
nose lies between the eyes and hair does not lie below the chin.
"""

from __future__ import annotations

import numpy as np

from limner.errors import InputError
from limner.faces.regions import ORDERS, SIDES, Region, from_order

USUAL: dict[Region, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    Region.NOSE: ((0.06, 0.05, -2.54), (0.09, 0.10, 0.50)),
    Region.EYE_GLASSES: ((0.05, -0.18, -1.55), (0.11, 0.35, 1.26)),
    Region.LEFT_EYE: ((0.24, -0.14, -4.77), (0.09, 0.10, 0.50)),
    Region.RIGHT_EYE: ((0.25, -0.13, -4.74), (0.09, 0.10, 0.50)),
    Region.LEFT_BROW: ((0.26, -0.26, -4.13), (0.10, 0.11, 0.52)),
    Region.RIGHT_BROW: ((0.27, -0.25, -4.15), (0.10, 0.10, 0.50)),
    Region.LEFT_EAR: ((0.57, 0.03, -3.55), (0.08, 0.11, 0.86)),
    Region.RIGHT_EAR: ((0.56, 0.04, -3.63), (0.08, 0.11, 0.90)),
    Region.MOUTH: ((0.05, 0.38, -4.03), (0.08, 0.08, 0.93)),
    Region.UPPER_LIP: ((0.05, 0.34, -4.18), (0.08, 0.08, 0.50)),
    Region.LOWER_LIP: ((0.05, 0.43, -3.63), (0.08, 0.08, 0.50)),
    Region.HAIR: ((0.08, -0.43, 0.26), (0.09, 0.27, 0.72)),
    Region.HAT: ((0.10, -0.79, -1.43), (0.27, 0.46, 2.93)),
    Region.EAR_RING: ((0.36, 0.31, -3.88), (0.25, 0.16, 1.39)),
    Region.NECKLACE: ((0.33, 0.74, -6.16), (0.20, 0.12, 1.74)),
    Region.NECK: ((0.11, 0.74, -1.81), (0.12, 0.09, 0.51)),
    Region.CLOTH: ((0.36, 0.73, -1.93), (0.24, 0.10, 1.36)),
}
"""Medians and deviations over 376 hand-drawn maps of CelebAMask-HQ: distance to the side and distance below the middle
of the skin, both in sides of a square of the skin's area, and logarithm of the area in areas of the skin."""
WORST = 6.0
"""Penalty of a region that lies nowhere near its place."""
SURE = 1.0
"""Difference of two orders' mean penalties from which the better one is right: the least of 752 maps had .87."""
LEAST_SKIN = 0.003
"""Share of a map that skin covers where it shows a face."""
FEWEST = 4
"""Pixels of a region from which its place is worth something."""


def settled(ids: np.ndarray, ordered: bool) -> np.ndarray:
    """A map (H, W) uint8 as a user gave it, in Limner's label order and with left and right the subject's.

    ordered: whether it is in Limner's order already; else the order of its numbers is told by where they lie. Raises
    InputError, one line, for a map that shows no face and for one whose order cannot be told.
    """
    skin = int((ids == Region.SKIN).sum())
    if skin < max(LEAST_SKIN * ids.size, FEWEST) or not (ids > Region.SKIN).any():
        raise InputError("this region map shows no face: it needs skin (number 1) and eyes, a nose, a mouth or hair")
    if not ordered:
        ids = from_order(ids, order_of(ids))
    return sides_straightened(ids)


def order_of(ids: np.ndarray) -> str:
    """The label order that the numbers of a map (H, W) are in: ``celebamask`` or ``bisenet``. InputError if both fit
    alike and they would mean different regions."""
    found = {name: _penalty(from_order(ids, name)) for name in ORDERS}
    best = min(found, key=lambda name: found[name])
    if best == "celebamask":
        return best
    if found["celebamask"] - found[best] >= SURE:
        return best
    raise InputError(
        "the numbers of this region map may be CelebAMask-HQ's or BiSeNet's: say which with --palette celebamask or "
        "--palette bisenet"
    )


def sides_straightened(ids: np.ndarray) -> np.ndarray:
    """The map with left and right exchanged where it was mirrored without exchanging them.

    Seen along the way from the eyes to the mouth, the subject's left lies on the right of the picture, however the map
    is turned.
    """
    down = _down(ids)
    if down is None:
        return ids
    votes = 0.0
    for left, right in SIDES:
        one, other = _middle(ids, left), _middle(ids, right)
        if one is not None and other is not None:
            across = one - other
            votes += np.sign(across[0] * down[1] - across[1] * down[0])
    if votes >= 0:
        return ids
    swap = np.arange(len(Region), dtype=np.uint8)
    for left, right in SIDES:
        swap[[left, right]] = right, left
    return swap[ids]


def _down(ids: np.ndarray) -> np.ndarray | None:
    """The direction from the eyes or brows to the mouth or nose, (2,); None where the map lacks either."""
    upper = _middle(ids, Region.LEFT_EYE, Region.RIGHT_EYE)
    if upper is None:
        upper = _middle(ids, Region.LEFT_BROW, Region.RIGHT_BROW)
    lower = _middle(ids, Region.MOUTH, Region.UPPER_LIP, Region.LOWER_LIP)
    if lower is None:
        lower = _middle(ids, Region.NOSE)
    return None if upper is None or lower is None else lower - upper


def _middle(ids: np.ndarray, *regions: Region) -> np.ndarray | None:
    """Where regions are on average, x and y; None for fewer than FEWEST pixels."""
    rows, columns = np.nonzero(np.isin(ids, regions))
    return np.array([columns.mean(), rows.mean()]) if len(rows) >= FEWEST else None


def _penalty(ids: np.ndarray) -> float:
    """How unusually the regions of a map lie, a mean over those that it has (negative logarithm of a density)."""
    counts = np.bincount(ids.ravel(), minlength=len(Region)).astype(float)
    rows, columns = np.indices(ids.shape)
    there = np.maximum(counts, 1)
    y, x = (np.bincount(ids.ravel(), each.ravel(), len(Region)) / there for each in (rows, columns))
    side = np.sqrt(there[Region.SKIN])
    present = [region for region in USUAL if counts[region] >= FEWEST]
    if not present:
        return 0.0
    across, down = (x[present] - x[Region.SKIN]) / side, (y[present] - y[Region.SKIN]) / side
    size = np.log(counts[present] / there[Region.SKIN])
    usual, spread = (np.array([USUAL[region][k] for region in present]) for k in range(2))
    penalties = []
    for aside, below in ((across, down), (down, -across), (across, -down), (down, across)):  # whichever way is up
        far = (np.stack([np.abs(aside), below, size], 1) - usual) / spread
        each = 0.5 * (far**2).sum(1) + np.log(spread).sum(1)
        penalties.append(float(np.minimum(each, WORST).mean()))
    return min(penalties)
