"""Region maps whose colours are no longer exact: saved as JPEG or lossy WebP, or resized with smoothing.

Inside a region the colour stays close to its palette entry; along an edge two colours mix, often into a third region's.
So colours decide where they are close and agree with their surroundings, and the rest takes the region next to it.
"""

from __future__ import annotations

import numpy as np

from limner.errors import InputError
from limner.faces.map_layout import settled
from limner.faces.regions import ORDERS, PALETTES, Region, from_order, from_palette

CLOSE = 28.0
"""Euclidean distance (0..255 a channel) up to which a colour is a palette entry's: about half of the least distance
between two entries."""
EXACT, TRUE = 9.0, 0.45
"""A region is there if this share of its pixels is this close to its colour, since mixed colours are spread wider …"""
SOLID = 8
"""… or if it has so many pixels in the middle of 5 x 5 of their kind, since edges are thinner."""
AGREEING = 5
"""Pixels of a 3 x 3 neighbourhood, itself included, that have to be of the same region."""
REACH = 64
"""A pixel takes the region of one that is sure within this fraction of the map's longer side, at least 4 pixels."""
READ = 0.6
"""Share of sure pixels, of those that are not ground, from which a map is read …"""
LOSSY = 0.35
"""… and from which a picture is taken for a map that lost too much."""
BLURRED = 0.2
"""Share of the pixels along edges of a map of numbers that stand alone, from which the numbers are taken for smoothed
ones. Those of drawn maps and of parsers stay below 0.1."""
RINGING = 40
"""Numbers below which a grey picture may be one of region numbers that a lossy file has overshot."""
CHOICES = ("auto", *ORDERS)
_BLOCK = 1 << 16  # colours looked at together, so that memory stays flat


def read_map_picture(picture: np.ndarray, palette: str = "auto", drawn: bool = False) -> np.ndarray:
    """Read a region map as `regions.from_palette` does, and one whose colours are inexact where that is unambiguous.

    picture: as there. palette: the label order of numbers, or the palette of colours (a key of ORDERS); ``auto`` takes
    numbers as CelebAMask-HQ's and finds the palette. drawn: it comes from a user, so with ``auto`` the order of numbers
    is told by their places, and left and right are set right (`map_layout.settled`). Returns (H, W) uint8. Raises
    InputError, one line, for any other picture, and for a map that lost too much.
    """
    ids, numbers = _read(np.asarray(picture), palette, drawn)
    return settled(ids, ordered=not numbers or palette != "auto") if drawn else ids


def _read(picture: np.ndarray, palette: str, drawn: bool) -> tuple[np.ndarray, bool]:
    """The map in Limner's order, and whether the picture held numbers."""
    if palette not in CHOICES:
        raise InputError(f"unknown palette {palette!r}: choose one of {', '.join(CHOICES)}")
    grey = picture if picture.ndim == 2 else picture[..., 0]
    colours = picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8
    if not colours or (grey.max(initial=0) < RINGING and (picture == grey[..., None]).all()):
        if drawn and grey.dtype == np.uint8 and grey.max(initial=0) < RINGING and _is_smoothed(grey):
            raise InputError(
                "this region map holds numbers that were resized with smoothing or saved with loss: save it as PNG, "
                "resized without smoothing (nearest neighbour)"
            )
        ids = from_palette(picture)
        return (ids if palette == "auto" else from_order(ids, palette)), True
    tables = [table for name, table in PALETTES.items() if palette == "auto" or name.startswith(palette)]
    for table in tables:
        if (exact := _exact(picture, table)) is not None and palette != "auto":
            return exact, False
        if exact is not None:  # of two palettes that hold the same few colours, the likelier one
            return from_palette(picture), False
    found, share = max((_snapped(picture, table) for table in tables), key=lambda each: each[1])
    if found is not None:
        return found, False
    if share >= LOSSY:
        raise InputError(
            "the colours of this region map are lossy (JPEG, WebP or smoothing) beyond recognition: save it as PNG"
        )
    if palette != "auto":
        raise InputError(f"this picture is no region map in the colours of {palette}")
    return from_palette(picture), False


def _exact(picture: np.ndarray, palette: np.ndarray) -> np.ndarray | None:
    """Region numbers (H, W) uint8 of a picture that has this palette's very colours, or a black or white ground."""
    packed = picture.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    table = np.concatenate([palette, [[0, 0, 0], [255, 255, 255]]]).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1])
    if not np.isin(packed, table).all():
        return None
    ids = np.zeros(packed.shape, np.uint8)
    for region in range(1, len(Region)):
        ids[packed == table[region]] = region
    return ids


def _snapped(picture: np.ndarray, palette: np.ndarray) -> tuple[np.ndarray | None, float]:
    """Region numbers (H, W) uint8 in this palette, None if they cannot be told; and the share of sure pixels."""
    table = np.concatenate([palette, [[0, 0, 0], [255, 255, 255]]]).astype(np.float32)  # (21, 3), the grounds last
    names = np.array([*range(len(Region)), Region.BACKGROUND, Region.BACKGROUND], np.uint8)
    flat = picture.reshape(-1, 3)
    ids, far = np.zeros(len(flat), np.uint8), np.zeros(len(flat), np.float32)
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK].astype(np.float32)
        squares = ((block[:, None] - table) ** 2).sum(-1)
        nearest = squares.argmin(1)
        ids[start : start + _BLOCK] = names[nearest]
        far[start : start + _BLOCK] = np.sqrt(squares[np.arange(len(block)), nearest])
    ids, far = ids.reshape(picture.shape[:2]), far.reshape(picture.shape[:2])
    sure = (far <= CLOSE) & (_agreeing(ids) >= AGREEING)
    counts, exact = (np.bincount(ids[where], minlength=len(Region)) for where in (sure, sure & (far <= EXACT)))
    inner = _agreeing(ids) == 9
    solid = np.bincount(ids[inner & (_agreeing(inner.astype(np.uint8)) == 9)], minlength=len(Region))
    sure &= ((exact >= TRUE * counts) | (solid >= SOLID))[ids]
    drawn = ~(sure & (ids == Region.BACKGROUND))
    share = float((sure & drawn).sum() / max(drawn.sum(), 1))
    if share < READ:
        return None, share
    filled = _filled(ids, sure, max(4, max(ids.shape) // REACH))
    return filled, share if filled is not None else min(share, READ)


def _agreeing(ids: np.ndarray) -> np.ndarray:
    """How many pixels of each 3 x 3 neighbourhood are of the same region as the middle one, (H, W) uint8."""
    height, width = ids.shape
    around = np.pad(ids, 1, mode="edge")
    count = np.zeros(ids.shape, np.uint8)
    for down in range(3):
        for right in range(3):
            count += around[down : down + height, right : right + width] == ids
    return count


def _filled(ids: np.ndarray, sure: np.ndarray, reach: int) -> np.ndarray | None:
    """The map with every pixel that is not sure as the nearest sure one; None if some are farther than ``reach``."""
    ids, known = np.where(sure, ids, Region.BACKGROUND).astype(np.uint8), sure.copy()
    for _ in range(reach):
        if known.all():
            break
        before, there = ids.copy(), known.copy()
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            shifted, from_known = np.roll(before, step, axis), np.roll(there, step, axis)
            edge = [slice(None), slice(None)]
            edge[axis] = slice(0, 1) if step == 1 else slice(-1, None)
            from_known[tuple(edge)] = False
            takes = from_known & ~known
            ids[takes] = shifted[takes]
            known |= takes
    return ids if known.mean() > 0.999 else None


def _is_smoothed(ids: np.ndarray) -> bool:
    """Whether a map of numbers has ramps along its edges, as smoothing and lossy files leave them."""
    if min(ids.shape) < 3:
        return False
    middle = ids[1:-1, 1:-1]
    across = (middle != ids[1:-1, :-2]) & (middle != ids[1:-1, 2:])
    down = (middle != ids[:-2, 1:-1]) & (middle != ids[2:, 1:-1])
    edges = (middle != ids[1:-1, :-2]) | (middle != ids[:-2, 1:-1])
    return bool((across | down).sum() > BLURRED * max(int(edges.sum()), 1) and edges.sum() > 64)
