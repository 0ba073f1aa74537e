"""MAGVIT-v2 as Show-o publishes it: the convolutions on both sides of a lookup-free quantiser.

Module names are those of Show-o's checkpoint (`encoder.down.0.block.1.conv2.weight` …), so its files load as they are.

Legend: B pictures, N = h·w codes, C bits, K = 2^C codes, f pixels per code along one side.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from limner.weights.configs import from_header, to_header


@dataclass(frozen=True, kw_only=True)
class LFQConfig:
    """The shape of a codec. The defaults are MAGVIT-v2's, as Show-o uses it: 256 px → 16 × 16 codes of 13 bits."""

    bits: int = 13
    """C; the codebook has 2^C codes."""
    width: int = 128
    """Channels that the multipliers multiply."""
    encoder_widths: tuple[int, ...] = (1, 2, 2, 4, 4)
    """Multiplier of each level, finest first; each level but the last halves the sides."""
    encoder_blocks: tuple[int, ...] = (4, 3, 4, 3, 4)
    """Residual blocks of each level."""
    decoder_widths: tuple[int, ...] = (1, 1, 2, 2, 4)
    """Multiplier of each level of the decoder, finest first too."""
    decoder_blocks: tuple[int, ...] = (4, 4, 3, 4, 3)
    """Residual blocks of each level of the decoder."""
    patch: int = 1
    """Pixels folded into channels at both ends, along one side (1 [S])."""
    groups: int = 32
    """Groups of every GroupNorm; channels must be multiples of it."""

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 24:
            raise ValueError(f"bits={self.bits}: between 1 and 24")
        levels = len(self.encoder_widths)
        for name in ("encoder_blocks", "decoder_widths", "decoder_blocks"):
            if len(getattr(self, name)) != levels:
                raise ValueError(f"{name}={getattr(self, name)}: one number for each of the {levels} levels")
        if self.patch not in (1, 2, 4):
            raise ValueError(f"patch={self.patch}: 1, 2 or 4")
        if any(self.width * m % self.groups for m in (*self.encoder_widths, *self.decoder_widths, 1)):
            raise ValueError(f"groups={self.groups}: every level's channels must be a multiple of it")

    @property
    def factor(self) -> int:
        """f: pixels per code along one side."""
        return self.patch * 2 ** (len(self.encoder_widths) - 1)

    @property
    def codebook(self) -> int:
        """K."""
        return 1 << self.bits

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LFQConfig:
        """From JSON; an unknown field raises ``ValueError``."""
        return from_header(cls, values)

    def to_dict(self) -> dict[str, Any]:
        """Inverse of ``from_dict``."""
        return to_header(self)


MAGVIT2 = LFQConfig()


class ResidualBlock(nn.Module):
    """x + Conv(SiLU(Norm(Conv(SiLU(Norm(x)))))), a 1 × 1 convolution where the channels change."""

    def __init__(self, channels: int, out: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out, eps=1e-6)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        if channels != out:
            self.nin_shortcut = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class SelfAttention(nn.Module):
    """Every place reads every place, one head."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))  # (B, N, channels)
        o = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return x + self.proj_out(o.transpose(1, 2).unflatten(2, x.shape[2:]))


class Middle(nn.Module):
    """Block, attention, block."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels, groups)
        self.attn_1 = SelfAttention(channels, groups)
        self.block_2 = ResidualBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Resize(nn.Module):
    """Half the sides (a convolution of stride 2, padded right and below), or twice (nearest, then a convolution)."""

    def __init__(self, channels: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv = nn.Conv2d(channels, channels, 3, stride=2 if down else 1, padding=0 if down else 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.down else F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Residual blocks at one size, and the way to the next."""

    def __init__(self, channels: int, out: int, blocks: int, groups: int, resize: str | None) -> None:
        super().__init__()
        widths = [channels] + [out] * blocks
        self.block = nn.ModuleList(ResidualBlock(a, b, groups) for a, b in pairwise(widths))
        self.resize = resize
        if resize is not None:
            self.add_module(resize, Resize(out, down=resize == "downsample"))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return x if self.resize is None else self.get_submodule(self.resize)(x)


class Encoder(nn.Module):
    """(B, 3, H, W) in [-1, 1] to (B, C, h, w)."""

    def __init__(self, config: LFQConfig) -> None:
        super().__init__()
        widths = [config.width * m for m in (1, *config.encoder_widths)]
        last = len(config.encoder_widths) - 1
        self.patch = config.patch
        self.conv_in = nn.Conv2d(3 * config.patch**2, config.width, 3, padding=1)
        self.down = nn.ModuleList(
            Level(widths[i], widths[i + 1], blocks, config.groups, "downsample" if i < last else None)
            for i, blocks in enumerate(config.encoder_blocks)
        )
        self.mid = Middle(widths[-1], config.groups)
        self.norm_out = nn.GroupNorm(config.groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], config.bits, 3, padding=1)
        self.quant_conv = nn.Conv2d(config.bits, config.bits, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(F.pixel_unshuffle(x, self.patch))
        for level in self.down:
            h = level(h)
        return self.quant_conv(self.conv_out(F.silu(self.norm_out(self.mid(h)))))


class Decoder(nn.Module):
    """(B, C, h, w) of ±1 to (B, 3, H, W), about in [-1, 1]."""

    def __init__(self, config: LFQConfig) -> None:
        super().__init__()
        widths = [config.width * m for m in config.decoder_widths]
        entering = [*widths[1:], widths[-1]]  # of each level, from the next coarser one
        self.patch = config.patch
        self.conv_in = nn.Conv2d(config.bits, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], config.groups)
        self.up = nn.ModuleList(
            Level(entering[i], widths[i], blocks, config.groups, "upsample" if i else None)
            for i, blocks in enumerate(config.decoder_blocks)
        )
        self.norm_out = nn.GroupNorm(config.groups, widths[0], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[0], 3 * config.patch**2, 3, padding=1)
        self.post_quant_conv = nn.Conv2d(config.bits, config.bits, 1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(self.post_quant_conv(z)))
        for level in reversed(self.up):
            h = level(h)
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(h))), self.patch)
