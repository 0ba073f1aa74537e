"""Edits of a region map in words: ``hair: longer``, ``glasses: removed``, ``mouth: wider 4``.

An edit is ``REGION: CHANGE [AMOUNT]``, the amount in percent of the map's side (6 unless told). Several edits are
separated by semicolons and done in order. A region grows only over what it can lie in front of: hair over neck and
clothes but not over the face, lips over skin but not over hair. What a shrinking region leaves, its neighbours fill.
Our choice, all of it: nobody has published such a grammar, and these are the changes a map can say exactly.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from limner.errors import InputError
from limner.faces.regions import REGION_NAMES, Region

AMOUNT = 6.0  # percent of the side
GROUPS: dict[str, tuple[Region, ...]] = {
    "eyes": (Region.LEFT_EYE, Region.RIGHT_EYE),
    "brows": (Region.LEFT_BROW, Region.RIGHT_BROW),
    "ears": (Region.LEFT_EAR, Region.RIGHT_EAR),
    "lips": (Region.UPPER_LIP, Region.LOWER_LIP),
    "glasses": (Region.EYE_GLASSES,),
    "earrings": (Region.EAR_RING,),
    "face": (Region.SKIN,),
    "clothes": (Region.CLOTH,),
}
BEHIND: dict[Region, set[Region]] = {
    Region.HAIR: {Region.BACKGROUND, Region.NECK, Region.CLOTH, Region.LEFT_EAR, Region.RIGHT_EAR, Region.NECKLACE},
    Region.HAT: {Region.BACKGROUND, Region.HAIR, Region.SKIN},
    Region.SKIN: {Region.BACKGROUND, Region.HAIR, Region.NECK},
    Region.NECK: {Region.BACKGROUND, Region.CLOTH, Region.HAIR},
    Region.CLOTH: {Region.BACKGROUND, Region.NECK},
    Region.BACKGROUND: {Region.HAIR, Region.CLOTH},
    Region.EAR_RING: {Region.BACKGROUND, Region.HAIR, Region.NECK, Region.CLOTH},
    Region.NECKLACE: {Region.NECK, Region.CLOTH},
    Region.LEFT_EAR: {Region.BACKGROUND, Region.HAIR},
    Region.RIGHT_EAR: {Region.BACKGROUND, Region.HAIR},
}
"""What each region may grow over; any other region may grow over skin alone."""


def edit_mask(regions: np.ndarray, edits: str) -> np.ndarray:
    """Apply edits to a region map. regions: (H, W) uint8 ids. Returns a new map.

    Raises ``InputError``, naming what there is, for a region or change that does not exist and for a region that the
    map does not show.
    """
    out = regions.copy()
    for edit in filter(None, (part.strip() for part in edits.split(";"))):
        matched = re.fullmatch(r"([\w ]+):\s*([a-z]+)(?:\s+(\d+(?:\.\d+)?)\s*%?)?", edit)
        if matched is None:
            raise InputError(f"mask edit {edit!r}: write REGION: CHANGE [PERCENT], for example 'hair: longer 8'")
        name, change, amount = matched[1].strip().lower().replace(" ", "_"), matched[2], float(matched[3] or AMOUNT)
        if change not in CHANGES:
            raise InputError(f"mask edit {edit!r}: the changes are {', '.join(CHANGES)}")
        pixels = max(1, round(amount / 100 * max(regions.shape)))
        present = [region for region in _named(name) if (out == region).any()]
        if not present:
            raise InputError(f"mask edit {edit!r}: this mask shows no {name.replace('_', ' ')}")
        for region in present:
            out = CHANGES[change](out, region, pixels)
    return out


def _named(name: str) -> tuple[Region, ...]:
    if name in GROUPS:
        return GROUPS[name]
    if name in REGION_NAMES:
        return (Region(REGION_NAMES.index(name)),)
    raise InputError(f"mask edit: no region is called {name!r}; regions are {', '.join((*REGION_NAMES, *GROUPS))}")


def _bigger(regions: np.ndarray, region: Region, pixels: int) -> np.ndarray:
    return _grow(regions, region, _disc(regions == region, pixels))


def _wider(regions: np.ndarray, region: Region, pixels: int) -> np.ndarray:
    return _grow(regions, region, _spread(regions == region, [(0, -1), (0, 1)], pixels))


def _longer(regions: np.ndarray, region: Region, pixels: int) -> np.ndarray:
    return _grow(regions, region, _spread(regions == region, [(1, 0)], pixels))


def _smaller(regions: np.ndarray, region: Region, pixels: int) -> np.ndarray:
    return _leave(regions, region, _disc(regions != region, pixels))


def _narrower(regions: np.ndarray, region: Region, pixels: int) -> np.ndarray:
    return _leave(regions, region, _spread(regions != region, [(0, -1), (0, 1)], pixels))


def _shorter(regions: np.ndarray, region: Region, pixels: int) -> np.ndarray:
    lowest = np.flatnonzero((regions == region).any(1)).max()
    below = np.arange(regions.shape[0])[:, None] > lowest - pixels
    return _leave(regions, region, np.broadcast_to(below, regions.shape))


def _higher(regions: np.ndarray, region: Region, pixels: int) -> np.ndarray:
    return _move(regions, region, -pixels)


def _lower(regions: np.ndarray, region: Region, pixels: int) -> np.ndarray:
    return _move(regions, region, pixels)


def _removed(regions: np.ndarray, region: Region, pixels: int) -> np.ndarray:
    return _leave(regions, region, np.ones_like(regions, bool))


CHANGES: dict[str, Callable[[np.ndarray, Region, int], np.ndarray]] = {
    "bigger": _bigger,
    "smaller": _smaller,
    "longer": _longer,
    "shorter": _shorter,
    "wider": _wider,
    "narrower": _narrower,
    "higher": _higher,
    "lower": _lower,
    "removed": _removed,
}


def _grow(regions: np.ndarray, region: Region, wanted: np.ndarray) -> np.ndarray:
    behind = np.isin(regions, [int(other) for other in BEHIND.get(region, {Region.SKIN})])
    return np.where(wanted & behind, np.uint8(region), regions)


def _leave(regions: np.ndarray, region: Region, freed: np.ndarray) -> np.ndarray:
    """The region's pixels in ``freed`` go to the nearest other region, ring by ring; of several, to the lowest id."""
    out, empty, known = regions.copy(), freed & (regions == region), regions != region
    if not known.any():
        raise InputError("mask edit: nothing would be left of this mask; edit less of it")
    while True:
        labels = np.where(known, out, np.uint8(255))  # 255: not known
        offers = [_shifted(labels, offset, 255) for offset in ((-1, 0), (1, 0), (0, -1), (0, 1))]
        best = np.minimum.reduce(offers)
        reached = empty & (best < 255)
        if not reached.any():
            return out
        out[reached] = best[reached]
        empty, known = empty & ~reached, known | reached


def _move(regions: np.ndarray, region: Region, down: int) -> np.ndarray:
    here = regions == region
    step = (1, 0) if down > 0 else (-1, 0)
    there = here
    for _ in range(abs(down)):
        there = _shifted(there, step)
    return np.where(there, np.uint8(region), _leave(regions, region, here & ~there))


def _disc(mask: np.ndarray, radius: int) -> np.ndarray:
    """Everything within ``radius`` of the mask, in rings of alternating diamonds and squares (an octagon)."""
    for ring in range(radius):
        offsets = [(1, 0), (-1, 0), (0, 1), (0, -1)]
        if ring % 2:
            offsets += [(1, 1), (1, -1), (-1, 1), (-1, -1)]
        mask = np.logical_or.reduce([mask, *(_shifted(mask, offset) for offset in offsets)])
    return mask


def _spread(mask: np.ndarray, offsets: list[tuple[int, int]], pixels: int) -> np.ndarray:
    for _ in range(pixels):
        mask = np.logical_or.reduce([mask, *(_shifted(mask, offset) for offset in offsets)])
    return mask


def _shifted(x: np.ndarray, offset: tuple[int, int], edge: int = 0) -> np.ndarray:
    """x moved by (down, right) pixels; ``edge`` comes in from outside."""
    out = np.full_like(x, edge)
    (down, right), (height, width) = offset, x.shape
    out[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = x[
        max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return out
