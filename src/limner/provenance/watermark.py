"""Putting the invisible watermark into a picture. `detect` finds it again.

The pattern is added to the brightness only, strongly where the picture is busy and weakly where it is smooth, because
the eye forgives a grain of hair more than one of skin (Watson 1993 and everyone since).
"""

from __future__ import annotations

import numpy as np

from limner.provenance.pattern import BITS, HIGHEST, TILES, Pattern, column_waves, local_mean, pattern, row_waves

PSNR = 42.0  # dB against the unmarked picture, at least, before rounding (0.1 dB); our choice: 4 more than promised
SMOOTH, BUSY, MOST = 1.0, 0.35, 6.0  # grey levels where nothing happens, per level of activity, and the most
LOUDER = 2.0  # at most, where only a small part may be marked and the whole keeps its PSNR
LUMA = np.array([0.299, 0.587, 0.114])


def embed(picture: np.ndarray, message: int = 0, original: np.ndarray | None = None) -> np.ndarray:
    """The picture with the mark in it: (H, W, 3) uint8 in and out, the same on every machine.

    message: ``BITS`` bits that go with it. Too small a picture (shorter side under some 100 pixels) has no room for
    waves enough; what is put into it is not found again. original: the photograph, (H, W, 3) uint8, that this is an
    edit of: every pixel that is still its stays so, exactly. ``ValueError`` for another shape or message.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture to mark is (H, W, 3) uint8, not {picture.shape} {picture.dtype}")
    if not 0 <= message < 2**BITS:
        raise ValueError(f"message {message}: choose a number of {BITS} bits")
    luma = picture @ LUMA  # (H, W)
    change = _strength(luma) * _wave_sum(pattern(), message, *luma.shape)
    most = 1.0
    if original is not None:
        if original.shape != picture.shape:
            raise ValueError(f"a picture of shape {picture.shape} is no edit of one of shape {original.shape}")
        change *= (picture != original).any(2)
        most = LOUDER
    loudness = np.sqrt(np.mean(change**2))
    change *= min(most, 255 * 10 ** (-PSNR / 20) / max(loudness, 1e-9))
    return np.clip(np.rint(picture + change[..., None]), 0, 255).astype(np.uint8)


def _wave_sum(waves: Pattern, message: int, height: int, width: int) -> np.ndarray:
    """The pattern with the signs of a message, at mean square 1. (H, W)"""
    tile = min(height, width) / TILES
    held = waves.radius < 0.48 * tile  # two pixels per wave and a little more
    sign = np.where(waves.bit < 0, 1, 1 - 2 * ((message >> np.maximum(waves.bit, 0)) & 1))
    spectrum = np.zeros((2 * HIGHEST + 1, HIGHEST + 1), complex)
    spectrum[waves.waves[:, 0] + HIGHEST, waves.waves[:, 1]] = held * sign * np.exp(1j * waves.phases)
    total = (row_waves(height, tile) @ spectrum @ column_waves(width, tile).T).real
    return total / np.sqrt(max(1, held.sum()) / 2)


def _strength(luma: np.ndarray) -> np.ndarray:
    """How many grey levels a place can bear: rises with the standard deviation around it. (H, W)"""
    radius = max(1, round(min(luma.shape) / 64))
    spread = np.sqrt(local_mean((luma - local_mean(luma, radius)) ** 2, radius))
    return np.minimum(SMOOTH + BUSY * spread, MOST)
