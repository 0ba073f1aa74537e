"""The nano codec: a lookup-free quantiser between the encoder and a decoder of the KL codec.

    picture ─ KL encoder (frozen) ─ 16 × 16 latents ─ squeeze ─ signs ─ expand ─ latents ─ KL decoder ─ picture

The decoder is trained on. Our choice: because the KL codec knows already what a face's details look like, only the
way through few bits is left to be learnt, at 16 × 16 places, where it is cheap. The encoder is the base's own and not
stored again.

Legend: B pictures, C bits, D width, h × w places, L latent channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.codecs.continuous import KLCodec
from limner.codecs.magvit2 import Middle, ResidualBlock
from limner.weights.configs import from_header, to_header


@dataclass(frozen=True, kw_only=True)
class NanoLFQConfig:
    """The shape of a squeezed codec. The defaults are nano's."""

    bits: int = 13
    """C; the codebook has 2^C codes."""
    base: str = "kl-codec-nano"
    """The KL codec whose encoder it uses."""
    width: int = 128
    """Channels between latents and bits."""
    blocks: int = 1
    """Residual blocks on each side besides the two around the attention."""
    groups: int = 32
    """Groups of every GroupNorm."""
    side: int = 16
    """Places along one side of the pictures it is trained on; at other sizes the learned places are stretched."""

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 24:
            raise ValueError(f"bits={self.bits}: between 1 and 24")
        if self.width % self.groups:
            raise ValueError(f"groups={self.groups}: width={self.width} must be a multiple of it")
        for name in ("blocks", "side"):
            if getattr(self, name) < (name == "side"):
                raise ValueError(f"{name}={getattr(self, name)}: too small")

    @property
    def codebook(self) -> int:
        """K."""
        return 1 << self.bits

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NanoLFQConfig:
        """From JSON; an unknown field raises ``ValueError``."""
        return from_header(cls, values)

    def to_dict(self) -> dict[str, Any]:
        """Inverse of ``from_dict``."""
        return to_header(self)


NANO = NanoLFQConfig()


class Passage(nn.Module):
    """Residual blocks with one attention among them, on maps of one size; every place has a learned vector.

    Our choice of learned places: because faces come aligned, so an eye is always near the same place.
    """

    def __init__(self, config: NanoLFQConfig, channels: int, out: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, config.width, 3, padding=1)
        self.places = nn.Parameter(torch.zeros(config.width, config.side, config.side))
        self.block = nn.ModuleList(
            ResidualBlock(config.width, config.width, config.groups) for _ in range(config.blocks)
        )
        self.mid = Middle(config.width, config.groups)
        self.norm_out = nn.GroupNorm(config.groups, config.width, eps=1e-6)
        self.conv_out = nn.Conv2d(config.width, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, out, h, w)."""
        h = self.conv_in(x)
        places = self.places[None]
        if places.shape[2:] != h.shape[2:]:
            places = F.interpolate(places, size=h.shape[2:], mode="bilinear")
        h = h + places
        for block in self.block:
            h = block(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class NanoLFQEncoder(nn.Module):
    """(B, 3, H, W) in [-1, 1] to (B, C, h, w)."""

    def __init__(self, config: NanoLFQConfig, base: KLCodec) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.squeeze = Passage(config, base.channels, config.bits)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            latents = self.base.encode(x)  # (B, L, h, w)
        return self.squeeze(latents)


class NanoLFQDecoder(nn.Module):
    """(B, C, h, w) of ±1 to (B, 3, H, W), about in [-1, 1]."""

    def __init__(self, config: NanoLFQConfig, base: KLCodec) -> None:
        super().__init__()
        self.scale, self.shift = base.scale, base.shift
        self.expand = Passage(config, config.bits, base.channels)
        self.draw = base.autoencoder.decoder

    def forward(self, z: Tensor) -> Tensor:
        return self.paint(self.expand(z))

    def paint(self, latents: Tensor) -> Tensor:
        """Pictures of latents, or of a window of them."""
        return self.draw(latents / self.scale + self.shift)
