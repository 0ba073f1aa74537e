"""Monochrome photographs (black and white, sepia): what is painted into one gets its tones and no other colour."""

from __future__ import annotations

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
OFF = 4.0
"""Grey levels by which most pixels of a monochrome photograph may differ from the tone of their brightness: scans and
JPEG's colour noise do."""
MOST = 0.99
"""Share of pixels that have to be that close."""
SAMPLE = 1 << 18  # pixels looked at, evenly spread


def tones_of(photo: np.ndarray) -> np.ndarray | None:
    """The colour of each brightness in a monochrome photo (H, W, 3) uint8: (256, 3) float32; None for a colour photo.

    Brightnesses that the photo does not have are interpolated. A photo with R = G = B gives R = G = B.
    """
    stride = max(1, int(np.sqrt(photo.shape[0] * photo.shape[1] / SAMPLE)))
    pixels = photo[::stride, ::stride].reshape(-1, 3)
    if (pixels == pixels[:, :1]).all():
        return np.repeat(np.arange(256, dtype=np.float32)[:, None], 3, 1)
    values = pixels.astype(np.float32)
    bright = np.rint(values @ LUMA).astype(int).clip(0, 255)
    counts = np.bincount(bright, minlength=256)
    there = np.flatnonzero(counts)
    means = [np.bincount(bright, values[:, channel], 256)[there] / counts[there] for channel in range(3)]
    table = np.stack([np.interp(np.arange(256), there, mean) for mean in means], 1).astype(np.float32)
    off = np.abs(values - table[bright]).max(1)
    if (off <= OFF).mean() < MOST:
        return None
    if np.abs(table - table.mean(1, keepdims=True)).max() <= OFF:  # black and white, but for noise
        return np.repeat(np.arange(256, dtype=np.float32)[:, None], 3, 1)
    return table


def toned(picture: np.ndarray, tones: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 in the tones (256, 3) of its brightness."""
    bright = np.rint(picture.astype(np.float32) @ LUMA).astype(int).clip(0, 255)
    return np.rint(tones[bright]).clip(0, 255).astype(np.uint8)
