"""Masks as drawing programs save them: white on black, strokes on a transparent layer, a photo with a hole in it."""

from __future__ import annotations

import numpy as np

from limner.errors import InputError
from limner.faces.picture import Source, read_alpha, read_picture

FLAT = 0.7
"""Share of a drawing's pixels that have one of its two most frequent colours (in 4 levels a channel); soft edges and
compression change few of them. A photograph has more colours than that."""
LEVELS = 64


def read_mask(source: Source) -> np.ndarray:
    """A mask (H, W) bool from a picture, True where something is to be painted anew.

    Without transparency that is what is light. With transparency it is the strokes on a transparent layer, in any
    colour, or the transparent hole in a photograph or in a black layer. Raises InputError, one line, for a picture that
    marks nothing, and for a photograph without a hole.
    """
    picture = read_picture(source)
    alpha = np.full(picture.shape[:2], 255, np.uint8) if isinstance(source, np.ndarray) else read_alpha(source)
    if (alpha == 255).all():
        mask = _light(picture)
    else:
        mask = _of_layer(picture, alpha > (int(alpha.min()) + int(alpha.max())) / 2)
    if not mask.any():
        raise InputError("the mask is empty: mark the area to inpaint in white, or make it transparent")
    return mask


def _light(picture: np.ndarray) -> np.ndarray:
    """What is light in an opaque drawing; of strokes in a dark colour on black, what is not black."""
    if not _is_flat(picture.reshape(-1, 3)):
        raise InputError(
            "the mask is a photograph without a transparent part: paint white on black what is to be made anew, or "
            "make it transparent"
        )
    mask = picture.mean(-1) > 127
    return mask if mask.any() else picture.max(-1) > 127


def _of_layer(picture: np.ndarray, opaque: np.ndarray) -> np.ndarray:
    """What a layer with transparency marks. ``picture`` has white where it is transparent."""
    shown = picture[opaque]
    if len(shown) and not _is_flat(shown):
        return ~opaque  # a photograph with a hole
    strokes = opaque & (picture.max(-1) > 127)
    if strokes.any():
        return strokes
    border = np.concatenate([opaque[0], opaque[-1], opaque[:, 0], opaque[:, -1]])
    return ~opaque if border.mean() > 0.5 else opaque  # a black layer with a hole, or black strokes


def _is_flat(colours: np.ndarray) -> bool:
    """Whether colours (N, 3) uint8 are those of a drawing: two of them make up most."""
    levels = colours.astype(np.uint32) // LEVELS
    counts = np.bincount(levels @ np.array([16, 4, 1]), minlength=64)
    return bool(np.sort(counts)[-2:].sum() >= FLAT * len(colours))
