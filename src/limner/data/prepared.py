"""A prepared training set: a folder of arrays that batches are cut from without any network running.

    latents.npy    float16 (N, C, h, w)      codec latents, unit variance; mirrored faces are rows of their own
    regions.npy    uint8   (N, H, W)         region ids
    captions.npy   int32   (N, P)            rows of the text arrays, P captions a face
    tokens.npy     float16 (K, T, text)      text tokens of the K different captions, zero where padded
    lengths.npy    int32   (K,)              tokens that are words, the first of T
    pooled.npy     float32 (K, text)         pooled text
    validation.npy bool    (N,)              held out
    weights.npy    float32 (N,)              how often a face is drawn, mean 1 (limner.data.balance)
    palette.npy    float16 (N, C, h, w)      codec latents of the coloured region maps; only where asked for
    prepared.json                            codec, encoder, counts; written last, so a folder that has it is whole

Legend: N faces, C latent channels, h x w latent grid, T text tokens, K captions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.data.arrays import read_array, read_header, take

ARRAYS = ("latents", "regions", "captions", "tokens", "lengths", "pooled", "validation", "weights")
ON_DISK = ("latents", "regions", "tokens", "palette")


@dataclass(frozen=True)
class Prepared:
    """The folder, opened; big arrays stay on disk until rows are asked for."""

    header: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @classmethod
    def open(cls, folder: str | Path) -> Prepared:
        """``InputError`` if the folder was not prepared, or not to the end."""
        folder = Path(folder)
        header = read_header(folder, "a prepared set: make one with python -m limner.models.mditface.prepare")
        names = (*ARRAYS, *(["palette"] if header["palette"] else []))
        return cls(header, {name: read_array(folder, name, name in ON_DISK) for name in names})

    def rows(self, validation: bool) -> np.ndarray:
        """Row numbers of one split, in order."""
        return np.flatnonzero(self.arrays["validation"] == validation)

    def batch(self, rows: np.ndarray, choices: np.ndarray) -> dict[str, Tensor]:
        """Faces by row number; ``choices`` (B,) says which caption of each (any number, taken modulo P).

        latents float32 (B, C, h, w), regions uint8 (B, H, W), tokens float32 (B, T, text), pooled float32 (B, text),
        keep bool (B, T); palette float32 (B, C, h, w) where the set has it.
        """
        captions = self.arrays["captions"][rows, choices % self.arrays["captions"].shape[1]]
        lengths = self.arrays["lengths"][captions]
        positions = np.arange(self.arrays["tokens"].shape[1])
        batch = {"palette": self._take("palette", rows).float()} if "palette" in self.arrays else {}
        return batch | {
            "latents": self._take("latents", rows).float(),
            "regions": self._take("regions", rows),
            "tokens": self._take("tokens", captions).float(),
            "pooled": torch.from_numpy(self.arrays["pooled"][captions]),
            "keep": torch.from_numpy(positions[None] < lengths[:, None]),
        }

    def _take(self, name: str, rows: np.ndarray) -> Tensor:
        return take(self.arrays[name], rows)
