"""A painted crop back in its photo: a feathered mask, the inverse of the crop's warp, and not a pixel more."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from limner.faces.geometry import paste_back


def feather(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask (S, S) bool as opacity 0..255 (S, S) uint8: nothing outside it, rising to full within 2 · ``pixels``.

    It falls towards the crop's own border too, because the photo goes on behind it.
    """
    if pixels < 1:
        return mask.astype(np.uint8) * 255
    x = torch.from_numpy(mask)[None, None].float()
    kernel, pad = 2 * pixels + 1, (pixels,) * 4
    soft = -F.pad(x, pad, value=0.0)
    for side in ((kernel, 1), (1, kernel)):  # a square's extreme, or mean, is that of its columns' ones
        soft = F.max_pool2d(soft, side, stride=1)
    soft = F.pad(-soft, pad, mode="replicate")
    for side in ((kernel, 1), (1, kernel)):
        soft = F.avg_pool2d(soft, side, stride=1)
    return (soft * 255)[0, 0].round().to(torch.uint8).numpy()


def blend_back(
    photo: np.ndarray,
    painted: np.ndarray,
    mask: np.ndarray,
    crop: np.ndarray,
    grown: int,
    kept: np.ndarray | None = None,
) -> np.ndarray:
    """The photo (H, W, 3) uint8 with the painted crop (S, S, 3) uint8 in it where the mask (S, S) is.

    crop: (2, 3), photo → crop. grown: pixels by which the mask is larger than what was to be painted; these the edge is
    soft in (our choice: because a soft edge wider than a brow would let the photo's own shine through the new one).
    Pixels outside the mask are exactly the photo's, and those of ``kept`` (H, W) bool.
    """
    opacity = feather(mask, grown // 2)
    where = paste_back(mask.astype(np.uint8), crop, np.zeros(photo.shape[:2], np.uint8), nearest=True) > 0
    alpha = paste_back(opacity, crop, np.zeros(photo.shape[:2], np.uint8))
    new = paste_back(painted, crop, photo)
    if kept is not None:
        where &= ~kept
    share = np.where(where, alpha, 0)[..., None].astype(np.float32) / 255
    mixed = photo + share * (new.astype(np.float32) - photo)
    return np.where(share > 0, mixed.round().clip(0, 255).astype(np.uint8), photo)
