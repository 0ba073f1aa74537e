"""How near two pictures are: pixel by pixel, and as LPIPS sees them."""

from __future__ import annotations

import numpy as np
import torch

from limner.codecs.perceptual import LPIPS
from limner.faces.batches import to_model
from limner.faces.geometry import warp

PART = 96
"""Side that a cut-out part is brought to."""


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """dB, peak 255, between pictures (…) uint8."""
    error = np.square(one.astype(np.float64) - other).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def perceptual(lpips: LPIPS, one: np.ndarray, other: np.ndarray) -> float:
    """LPIPS between two pictures (S, S, 3) uint8."""
    with torch.inference_mode():
        return float(lpips(to_model(one[None]), to_model(other[None])))


def perceptual_inside(lpips: LPIPS, one: np.ndarray, other: np.ndarray, mask: np.ndarray) -> float:
    """LPIPS between two pictures (S, S, 3) uint8 where a mask (S, S) is; both are grey elsewhere."""
    grey = np.full_like(one, 127)
    inside = mask[..., None]
    return perceptual(lpips, np.where(inside, one, grey), np.where(inside, other, grey))


def cut_out(picture: np.ndarray, mask: np.ndarray, margin: float = 0.15) -> tuple[np.ndarray, np.ndarray]:
    """A part of a picture (S, S, 3) uint8 brought to one size, (96, 96, 3), and its mask so, (96, 96) bool. mask:
    (S, S) bool, not empty."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    corner, end = np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]]) + 1
    scale = PART / (float((end - corner).max()) * (1 + 2 * margin))
    matrix = np.column_stack([np.eye(2) * scale, PART / 2 - (corner + end) / 2 * scale])
    inside = warp(mask.astype(np.uint8) * 255, matrix, PART, border=0) > 127
    return warp(picture, matrix, PART, border="edge"), inside


def perceptual_of_parts(
    lpips: LPIPS, one: np.ndarray, mask: np.ndarray, other: np.ndarray, mask_other: np.ndarray
) -> float:
    """LPIPS between parts of two pictures, each cut out at its own place and brought to one size, where the first has
    the part: so that it is not their outlines that are compared."""
    (first, inside), (second, _) = cut_out(one, mask), cut_out(other, mask_other)
    return perceptual_inside(lpips, first, second, inside)
