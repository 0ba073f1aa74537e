"""From a photograph of a face to the latents of a generator codec.

The maps of a frozen image network at strides 8, 16 and 32 become one token for each grid token, and their means the
style's; a transformer turns them into latents. Photographs show what the generator never made, so what comes back is
the nearest face it can make: see the model card for how near that is.

Legend: B pictures, N grid tokens, P numbers a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.codecs.token_transformer import TokenTransformer
from limner.errors import InputError
from limner.faces.efficientnet import EfficientNetLite0
from limner.weights.configs import from_header, to_header
from limner.weights.tensors import load_into, read_config, save_tensors

FILE = "encoder.safetensors"
MAPS = (4, 10, 15)
"""Blocks of EfficientNet-lite0 whose output is read: 40 channels at stride 8, 112 at 16, 320 at 32."""
CHANNELS = (40, 112, 320)
STRIDES = (8, 16, 32)


@dataclass(frozen=True, kw_only=True)
class PhotoEncoderConfig:
    """The size of the transformer."""

    grid: int = 8
    """Tokens along one side of the codec's grid."""
    outputs: int = 128
    """P: numbers in a token."""
    size: int = 256
    """Side of the pictures in pixels."""
    width: int = 320
    """Width of the transformer."""
    heads: int = 5
    """Attention heads."""
    layers: int = 6
    """Layers."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width={self.width}: must be a multiple of heads={self.heads}")
        if self.size % (self.grid * STRIDES[-1]) and (self.grid * STRIDES[-1]) % self.size:
            raise ValueError(f"grid={self.grid}, size={self.size}: maps of stride {STRIDES[-1]} must fit the grid")


class PhotoEncoder(nn.Module):
    """Pictures (B, 3, size, size) in [-1, 1], aligned as FFHQ is → latents (B, 1 + N, P)."""

    def __init__(self, config: PhotoEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PhotoEncoderConfig()
        self.features = EfficientNetLite0.load()
        inputs = sum(c * self._folds(stride) ** 2 for c, stride in zip(CHANNELS, STRIDES))
        self.norm = nn.BatchNorm1d(inputs, affine=False)
        self.pooled = nn.Linear(sum(CHANNELS), inputs)
        tokens = 1 + config.grid**2
        self.transformer = TokenTransformer(inputs, config.outputs, tokens, config.width, config.heads, config.layers)

    def _folds(self, stride: int) -> int:
        """Places of a map along one side of a grid token; 1 where the map is coarser, which is then enlarged."""
        return max(1, self.config.size // stride // self.config.grid)

    def tokens(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """What the frozen network sees: a vector for each grid token (B, N, inputs), and for the whole (B, 552)."""
        with torch.no_grad():
            every = self.features.maps(pictures)
        maps = [every[index] for index in MAPS]
        grid = self.config.grid
        folded = []
        for one, stride in zip(maps, STRIDES):
            folds = self._folds(stride)
            if one.shape[2] < grid:
                one = F.interpolate(one, size=(grid, grid), mode="bilinear", align_corners=False)
            folded.append(F.pixel_unshuffle(one, folds) if folds > 1 else one)
        places = torch.cat(folded, 1).flatten(2).transpose(1, 2)  # (B, N, inputs)
        return places, torch.cat([one.mean((2, 3)) for one in maps], 1)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.read(*self.tokens(pictures))

    def read(self, places: Tensor, pooled: Tensor) -> Tensor:
        """Latents of what ``tokens`` gave."""
        places = self.norm(places.float().flatten(0, 1)).view(places.shape)
        style = self.pooled(F.layer_norm(pooled.float(), pooled.shape[1:]))
        return self.transformer(torch.cat([style[:, None], places], 1))

    def trained(self) -> nn.Module:
        """What of the encoder its own file holds: everything but the frozen network."""
        return _Own(self)

    def save(self, folder: Path, facts: dict[str, Any], dtype: torch.dtype = torch.float16) -> None:
        """Write ``encoder.safetensors`` into a codec's folder; without the frozen network, which is embedded."""
        save_tensors(
            folder / FILE, self.trained().state_dict(), {"photo_encoder": to_header(self.config), **facts}, dtype=dtype
        )

    @classmethod
    def load(cls, folder: Path) -> PhotoEncoder:
        """The encoder in a codec's folder. Strict."""
        header = read_config(folder / FILE)
        if "photo_encoder" not in header:
            raise InputError(f"{folder / FILE} is not an encoder of photographs")
        encoder = cls(from_header(PhotoEncoderConfig, header["photo_encoder"]))
        load_into(encoder.trained(), folder / FILE)
        return encoder.eval().requires_grad_(False)


class _Own(nn.Module):
    def __init__(self, encoder: PhotoEncoder) -> None:
        super().__init__()
        self.norm, self.pooled, self.transformer = encoder.norm, encoder.pooled, encoder.transformer
