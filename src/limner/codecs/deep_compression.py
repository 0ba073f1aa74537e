"""Deep compression autoencoder (Chen et al. 2024, arXiv 2410.10733), convolutional form.

The same parameters and the same arithmetic as diffusers' ``AutoencoderDC`` without attention blocks, to the bit. It is
written out here because importing diffusers takes longer than painting a picture; autoencoders that it does not cover
(``is_supported``) are diffusers' own.

Legend: B pictures, C channels, L latent channels, f = 2^(levels - 1) pixels per latent cell, along one side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: Mapping[str, type[nn.Module]] = {"silu": nn.SiLU, "relu": nn.ReLU}
EPS = 1e-5  # of RMSNorm, as in diffusers


def is_supported(config: Mapping[str, Any]) -> bool:
    """Whether ``AutoencoderDC`` weights of this configuration are covered here."""
    blocks = (config.get("encoder_block_types", "ResBlock"), config.get("decoder_block_types", "ResBlock"))
    return (
        set(_each(blocks[0], 1) + _each(blocks[1], 1)) == {"ResBlock"}
        and config.get("downsample_block_type", "pixel_unshuffle") == "pixel_unshuffle"
        and config.get("upsample_block_type", "pixel_shuffle") == "pixel_shuffle"
        and set(_each(config.get("decoder_norm_types", "rms_norm"), 1)) == {"rms_norm"}
        and {*_each(config.get("decoder_act_fns", "silu"), 1), config.get("decoder_conv_act_fn", "relu")}
        <= set(ACTIVATIONS)
    )


class RMSNorm(nn.Module):
    """x / rms(x) over channels, times a weight, plus a bias; on (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(1, -1)  # (B, H, W, C)
        mean_square = x.float().pow(2).mean(-1, keepdim=True)
        x = (x * torch.rsqrt(mean_square + EPS)).to(self.weight.dtype)
        return (x * self.weight + self.bias).movedim(-1, 1)


class ResBlock(nn.Module):
    """x + norm(conv(act(conv(x))))."""

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = RMSNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv2(self.activation(self.conv1(x)))) + x


class Downsample(nn.Module):
    """Space to depth by 2 after a convolution; the shortcut averages groups of the input's own pixels."""

    def __init__(self, channels: int, out: int, shortcut: bool) -> None:
        super().__init__()
        self.group = channels * 4 // out if shortcut else None
        self.conv = nn.Conv2d(channels, out // 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.pixel_unshuffle(self.conv(x), 2)
        if self.group is None:
            return y
        return y + F.pixel_unshuffle(x, 2).unflatten(1, (-1, self.group)).mean(dim=2)


class Upsample(nn.Module):
    """Depth to space by 2 after a convolution; the shortcut repeats the input's channels."""

    def __init__(self, channels: int, out: int, shortcut: bool) -> None:
        super().__init__()
        self.repeats = out * 4 // channels if shortcut else None
        self.conv = nn.Conv2d(channels, out * 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.pixel_shuffle(self.conv(x), 2)
        if self.repeats is None:
            return y
        return y + F.pixel_shuffle(x.repeat_interleave(self.repeats, dim=1), 2)


class Encoder(nn.Module):
    """(B, 3, H, W) to (B, L, H / f, W / f)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        widths, depths = config["encoder_block_out_channels"], config["encoder_layers_per_block"]
        pixels, latent = config.get("in_channels", 3), config.get("latent_channels", 32)
        first = widths[0] if depths[0] > 0 else widths[1]
        stem = nn.Conv2d(pixels, first, 3, padding=1) if depths[0] > 0 else Downsample(pixels, first, shortcut=False)
        self.conv_in = stem
        levels = []
        for level, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks: list[nn.Module] = [ResBlock(width, "silu") for _ in range(depth)]
            if depth > 0 and level + 1 < len(widths):
                blocks.append(Downsample(width, widths[level + 1], shortcut=True))
            levels.append(nn.Sequential(*blocks))
        self.down_blocks = nn.ModuleList(levels)
        self.conv_out = nn.Conv2d(widths[-1], latent, 3, padding=1)
        self.group = widths[-1] // latent if config.get("encoder_out_shortcut", True) else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        z = self.conv_out(x)
        return z if self.group is None else z + x.unflatten(1, (-1, self.group)).mean(dim=2)


class Decoder(nn.Module):
    """(B, L, h, w) to (B, 3, h · f, w · f)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        widths, depths = config["decoder_block_out_channels"], config["decoder_layers_per_block"]
        pixels, latent = config.get("in_channels", 3), config.get("latent_channels", 32)
        activations = _each(config.get("decoder_act_fns", "silu"), len(widths))
        self.conv_in = nn.Conv2d(latent, widths[-1], 3, padding=1)
        self.repeats = widths[-1] // latent if config.get("decoder_in_shortcut", True) else None
        levels = []
        for level, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks: list[nn.Module] = [ResBlock(width, activations[level]) for _ in range(depth)]
            if depth > 0 and level + 1 < len(widths):
                blocks.insert(0, Upsample(widths[level + 1], width, shortcut=True))
            levels.append(nn.Sequential(*blocks))
        self.up_blocks = nn.ModuleList(levels)  # run from the last to the first
        last = widths[0] if depths[0] > 0 else widths[1]
        self.norm_out = RMSNorm(last)
        self.activation = ACTIVATIONS[config.get("decoder_conv_act_fn", "relu")]()
        head = nn.Conv2d(last, pixels, 3, padding=1) if depths[0] > 0 else Upsample(last, pixels, shortcut=False)
        self.conv_out = head

    def forward(self, z: Tensor) -> Tensor:
        x = self.conv_in(z)
        if self.repeats is not None:
            x = x + z.repeat_interleave(self.repeats, dim=1)
        for level in reversed(self.up_blocks):
            x = level(x)
        return self.conv_out(self.activation(self.norm_out(x)))


class DeepCompressionAutoencoder(nn.Module):
    """Both, under the names that diffusers' files have. config: ``config.json`` of an ``AutoencoderDC``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = {key: value for key, value in config.items() if not key.startswith("_")}
        self.encoder, self.decoder = Encoder(config), Decoder(config)

    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to (B, L, H / f, W / f), before any scaling."""
        return self.encoder(pictures)

    def decode(self, latents: Tensor) -> Tensor:
        """Inverse of ``encode``, about in [-1, 1]."""
        return self.decoder(latents)


def _each(value: str | Sequence[str], count: int) -> tuple[str, ...]:
    """One value for all levels, or one each."""
    return (value,) * count if isinstance(value, str) else tuple(value)
