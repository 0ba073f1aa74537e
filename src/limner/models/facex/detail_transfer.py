"""Detail transfer: the codec's error on the warped init, added back where the result kept the init.

A codec with 16 × 16 pixels per latent loses eyelids, irises and pores, even those that the init has right. This error
is known: the init minus its reconstruction. Where the result equals the reconstruction, the error is added; where the
model changed something, it is not. Our choice, not the paper's: Stable Diffusion's codec loses less.

Legend: S side of a portrait.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from limner.faces.image_tensors import to_model, to_pictures

KEPT = 0.25
"""Root mean square difference, in a range of -1..1, at which exp(-1) of what was lost is given back."""
AROUND = 0.03
"""Share of a side over which the difference is taken."""


@dataclass(frozen=True, eq=False)
class Detail:
    """warped: (S, S, 3) uint8. decoded: (S, S, 3) uint8, the same after the codec. seams: (S, S) bool, where the draft
    has edges of pasting, which are better lost."""

    warped: np.ndarray
    decoded: np.ndarray
    seams: np.ndarray

    def restore(self, painted: np.ndarray, share: float) -> np.ndarray:
        """A painted picture (S, S, 3) uint8 with a share (0..1) of what the codec lost where it was kept."""
        new, warped, decoded = (to_model(picture[None]) for picture in (painted, self.warped, self.decoded))
        away = smoothed((new - decoded).square().mean(1, keepdim=True), round(AROUND * len(painted)))
        mended = smoothed(torch.from_numpy(self.seams)[None, None].float(), 1)
        return to_pictures(new + share * (1 - mended) * torch.exp(-away / KEPT**2) * (warped - decoded))[0]


def smoothed(x: Tensor, radius: int) -> Tensor:
    """The mean of (1, 1, S, S) over squares, twice: about a Gaussian."""
    for _ in range(2):
        padded = F.pad(x, (radius,) * 4, mode="replicate")
        x = F.avg_pool2d(F.avg_pool2d(padded, (2 * radius + 1, 1), 1), (1, 2 * radius + 1), 1)
    return x
