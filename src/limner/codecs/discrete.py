"""Pictures ↔ discrete codes: MAGVIT-v2 with its lookup-free quantiser, as Show-o publishes it, and a nano one.

A code is the signs of a few numbers, read as bits, highest first. There is no table to look up and none to collapse.
Module names are those of Show-o's checkpoint (`encoder.down.0.block.1.conv2.weight` …), so its files load as they are.

Legend: B pictures, N = h·w codes, C bits, K = 2^C codes, f pixels per code along one side.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.errors import InputError
from limner.weights.configs import from_header, to_header
from limner.weights.store import locate
from limner.weights.tensors import check_keys, load_sharded

WEIGHTS = ("model.safetensors", "pytorch_model.safetensors")


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
    """Pixels folded into channels at both ends, along one side (our choice at nano: 2, because convolutions at full
    size take most of the time of a small codec)."""
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

NANO = LFQConfig(
    bits=12, width=32, encoder_widths=(1, 2, 4, 4), encoder_blocks=(1, 1, 2, 2), decoder_widths=(1, 2, 4, 4),
    decoder_blocks=(2, 2, 2, 2), patch=2,
)  # fmt: skip


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


class Quantised(NamedTuple):
    """What the quantiser made of an encoder's numbers."""

    z: Tensor  # (B, C, h, w) of ±1, straight-through: the gradient passes as if nothing had happened
    codes: Tensor  # (B, N)
    commitment: Tensor  # mean (z − sign z)², scalar
    entropy: Tensor  # E[H(bit)] − H(E[bit]), mean over bits, in nats, scalar: low is sure of each, fair over all


class Quantizer(nn.Module):
    """Signs of C numbers ↔ a code. The tables are constants that Show-o's files hold, too."""

    embedding: Tensor
    power_vals: Tensor

    def __init__(self, bits: int) -> None:
        super().__init__()
        powers = 2 ** torch.arange(bits - 1, -1, -1)
        self.register_buffer("embedding", ((torch.arange(2**bits)[:, None] // powers) % 2).float() * 2 - 1)  # (K, C)
        self.register_buffer("power_vals", powers)  # (C,)

    def forward(self, z: Tensor) -> Quantised:
        """z: (B, C, h, w). Each bit's probability is softmax of −(z ∓ 1)² over its two values, sigmoid(4 z) [S]."""
        hard = torch.where(z > 0, 1.0, -1.0).to(z.dtype)
        p = torch.sigmoid(4 * z.float())
        each, over_all = _entropy(p).mean(), _entropy(p.mean((0, 2, 3))).mean()
        commitment = F.mse_loss(z.float(), hard.float())
        return Quantised(z + (hard - z).detach(), self.codes(z), commitment, each - over_all)

    def codes(self, z: Tensor) -> Tensor:
        """(B, C, h, w) to (B, N), row by row."""
        return ((z > 0) * self.power_vals[:, None, None]).sum(1).flatten(1)

    def signs(self, codes: Tensor, rows: int) -> Tensor:
        """(B, N) to (B, C, rows, N / rows) of ±1."""
        bits = torch.bitwise_and(codes[..., None], self.power_vals) > 0
        return (bits.to(self.embedding.dtype) * 2 - 1).transpose(1, 2).unflatten(2, (rows, -1))


def _entropy(p: Tensor) -> Tensor:
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))


class LFQCodec(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] ↔ codes (B, N) below 2^bits, sides multiples of ``factor``."""

    def __init__(self, config: LFQConfig = MAGVIT2) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantize = Quantizer(config.bits)

    @classmethod
    def load(cls, source: str | Path, config: LFQConfig | None = None, dtype: torch.dtype = torch.float32) -> LFQCodec:
        """Load a registry name or a folder: safetensors, and ``config.json`` whose ``lfq`` holds the sizes.

        A folder without such sizes is taken for Show-o's published MAGVIT-v2, unless ``config`` says otherwise. Strict:
        the first missing, unexpected or mis-shaped tensor is an ``InputError`` that names it.
        """
        place = locate(source)
        found = [name for name in WEIGHTS if (place / name).is_file() or (place / f"{name}.index.json").is_file()]
        if not found:
            raise InputError(f"{place} holds no {WEIGHTS[0]}: save a pickled checkpoint as safetensors first")
        if config is None:
            described = place / "config.json"
            values = json.loads(described.read_text(encoding="utf-8")) if described.is_file() else {}
            config = LFQConfig.from_dict(values["lfq"]) if "lfq" in values else MAGVIT2
        codec = cls(config)
        tensors = dict(load_sharded(place, found[0]))
        wanted = codec.state_dict()
        check_keys(tensors, wanted, where=str(place))
        codec.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in tensors.items()})
        return codec.to(dtype).eval().requires_grad_(False)

    def encode(self, pictures: Tensor) -> Tensor:
        """Codes (B, N) of pictures, row by row. ``ValueError`` for sides that ``factor`` does not divide."""
        factor, (height, width) = self.config.factor, pictures.shape[2:]
        if height % factor or width % factor:
            raise ValueError(f"picture of {width} × {height}: sides must be multiples of {factor}")
        return self.quantize.codes(self.encoder(pictures))

    def decode(self, codes: Tensor, rows: int | None = None) -> Tensor:
        """Pictures of codes (B, N) in ``rows`` rows (default: a square), clipped to [-1, 1]."""
        rows = rows or round(codes.shape[1] ** 0.5)
        if codes.shape[1] % rows:
            raise ValueError(f"{codes.shape[1]} codes do not make {rows} equal rows: say how many with rows=")
        if not 0 <= int(codes.min()) <= int(codes.max()) < self.config.codebook:
            raise ValueError(f"codes go from 0 to {self.config.codebook - 1}: paint until none is masked")
        return self.decoder(self.quantize.signs(codes, rows)).clamp(-1, 1)


def codebook_use(codes: Tensor, codebook: int) -> float:
    """Share of all codes that occur in ``codes`` at least once."""
    return len(codes.unique()) / codebook
