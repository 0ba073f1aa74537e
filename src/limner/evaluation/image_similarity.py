"""How near two pictures are: pixel by pixel, and as LPIPS sees them."""

from __future__ import annotations

import numpy as np
import torch

from limner.codecs.perceptual import LPIPS
from limner.faces.image_tensors import to_model


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


def in_mean_colour(picture: np.ndarray, like: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A picture (S, S, 3) uint8 with its channels scaled so that inside a mask (S, S) bool, not empty, they have the
    means of another's."""
    mine, theirs = (each[mask].astype(np.float64).mean(0) for each in (picture, like))
    return (picture * (theirs / np.maximum(mine, 1.0))).clip(0, 255).round().astype(np.uint8)
