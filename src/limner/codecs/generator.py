"""A pretrained face generator (MobileStyleGAN, arXiv 2104.04767), cut into a lower and an upper half.

The architecture is StyleGAN2's with two economies: every convolution but the first is depthwise separable, and every
upsampling step is an inverse Haar wavelet transform, which turns 4C channels at S × S into C channels at 2S × 2S.
Demodulation is a constant of the trained network and part of the pointwise weights. Noise is a fixed buffer, so a style
gives one picture.

Legend: B pictures, D = 512 style channels, C feature channels, S side of a feature map, P = 23 places a style enters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2  # of every leaky ReLU


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """The shape of a generator. The defaults are those of the network distilled from StyleGAN2 / FFHQ at 1,024 px."""

    style: int = 512
    """D: width of z, of w and of the mapping network."""
    mapping_layers: int = 8
    """Fully connected layers from z to w."""
    start: int = 4
    """Side of the learned constant input."""
    widths: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128, 64)
    """Channels after the first convolution and after each block; each block doubles the side."""

    def __post_init__(self) -> None:
        if len(self.widths) < 2:
            raise ValueError(f"widths={self.widths}: at least two, the first convolution's and one block's")
        if any(width % 4 for width in self.widths[:-1]):
            raise ValueError(f"widths={self.widths}: all but the last must be multiples of 4 (Haar transform)")

    @property
    def blocks(self) -> int:
        """Number of blocks; the picture has twice the side of the last block's features."""
        return len(self.widths) - 1

    @property
    def places(self) -> int:
        """P: how many layers take a style: the first convolution, three in each block, and the output."""
        return 2 + 3 * self.blocks

    @property
    def size(self) -> int:
        """Side of the picture in pixels."""
        return self.start * 2 ** (self.blocks + 1)


def inverse_haar(x: Tensor) -> Tensor:
    """(B, 4C, S, S) wavelet coefficients → (B, C, 2S, 2S). Orthonormal: it keeps the sum of squares.

    The first C channels are the low-pass band; the others are C groups of three (vertical, horizontal, diagonal).
    """
    channels = x.shape[1] // 4
    low = x[:, :channels] * 0.5
    vertical, horizontal, diagonal = (x[:, channels:] * 0.5).unflatten(1, (channels, 3)).unbind(2)
    top_left = low + vertical + horizontal + diagonal
    top_right = low + vertical - horizontal - diagonal
    bottom_left = low - vertical + horizontal - diagonal
    bottom_right = low - vertical - horizontal + diagonal
    quads = torch.stack((top_left, top_right, bottom_left, bottom_right), 2)  # (B, C, 4, S, S)
    return F.pixel_shuffle(quads.flatten(1, 2), 2)


class Mapping(nn.Module):
    """z (B, D), normal → w (B, D): eight fully connected layers (StyleGAN2's mapping network)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(config.style, config.style) for _ in range(config.mapping_layers))

    def forward(self, z: Tensor) -> Tensor:
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE) * 2**0.5
        return x


class SeparableConvolution(nn.Module):
    """Modulation by the style, depthwise 3 × 3, pointwise 1 × 1, fixed noise, bias, leaky ReLU."""

    def __init__(self, channels: int, out: int, side: int, style: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(style, channels)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, out, 1)
        self.register_buffer("noise", torch.zeros(side, side))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = x * self.modulation(w)[:, :, None, None]
        return F.leaky_relu(self.pointwise(self.depthwise(x)) + self.get_buffer("noise"), SLOPE)


class FirstConvolution(nn.Module):
    """The learned constant, modulated, through a full 3 × 3 convolution: (B, D) → (B, C, 4, 4)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        channels, side = config.widths[0], config.start
        self.constant = nn.Parameter(torch.randn(channels, side, side))
        self.modulation = nn.Linear(config.style, channels)
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)
        self.register_buffer("noise", torch.zeros(side, side))

    def forward(self, w: Tensor) -> Tensor:
        x = self.constant * self.modulation(w)[:, :, None, None]
        return F.leaky_relu(self.convolution(x) + self.get_buffer("noise"), SLOPE)


class Block(nn.Module):
    """(B, C, S, S) → (B, C', 2S, 2S): inverse Haar step, then two separable convolutions."""

    def __init__(self, channels: int, out: int, side: int, style: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(style, channels)
        self.convolution_1 = SeparableConvolution(channels // 4, out, side, style)
        self.convolution_2 = SeparableConvolution(out, out, side, style)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """w: (B, 3, D), the styles of the upsampling step and of the two convolutions."""
        x = inverse_haar(x * self.modulation(w[:, 0])[:, :, None, None])
        return self.convolution_2(self.convolution_1(x, w[:, 1]), w[:, 2])


class ToPicture(nn.Module):
    """(B, C, S, S) → (B, 3, 2S, 2S): modulated 1 × 1 convolution to wavelet coefficients of the picture."""

    def __init__(self, channels: int, style: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(style, channels)
        self.convolution = nn.Conv2d(channels, 12, 1)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return inverse_haar(self.convolution(x * self.modulation(w)[:, :, None, None]))


class Generator(nn.Module):
    """z → style w → features → picture. Styles are (B, D), or (B, P, D) with one style for each place.

    ``features`` and ``picture`` are the lower and the upper half: ``picture(features(w, cut), w, cut)`` equals
    ``forward(w)`` for every cut.
    """

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GeneratorConfig()
        self.mapping = Mapping(config)
        self.first = FirstConvolution(config)
        sides = [config.start * 2 ** (i + 1) for i in range(config.blocks)]
        self.blocks = nn.ModuleList(
            Block(config.widths[i], config.widths[i + 1], sides[i], config.style) for i in range(config.blocks)
        )
        self.to_picture = ToPicture(config.widths[-1], config.style)
        self.register_buffer("mean_style", torch.zeros(config.style))

    def truncate(self, w: Tensor, psi: float | Tensor) -> Tensor:
        """Styles moved towards the mean style: psi = 1 leaves them, psi = 0 gives the mean (StyleGAN's truncation)."""
        mean = self.get_buffer("mean_style")
        return mean + psi * (w - mean)

    def features(self, w: Tensor, cut: int) -> Tensor:
        """Features after ``cut`` blocks: (B, C, S, S) with S = 4 · 2^cut."""
        w = self._per_place(w)
        x = self.first(w[:, 0])
        for index in range(cut):
            x = self.blocks[index](x, w[:, 1 + 3 * index : 4 + 3 * index])
        return x

    def picture(self, features: Tensor, w: Tensor, cut: int) -> Tensor:
        """Picture (B, 3, size, size), about in [-1, 1], of features after ``cut`` blocks."""
        w = self._per_place(w)
        return self.to_picture(self.run(features, w, cut, self.config.blocks), w[:, -1])

    def run(self, features: Tensor, w: Tensor, start: int, stop: int) -> Tensor:
        """Features after ``stop`` blocks, of features after ``start`` blocks."""
        w = self._per_place(w)
        for index in range(start, stop):
            features = self.blocks[index](features, w[:, 1 + 3 * index : 4 + 3 * index])
        return features

    def forward(self, w: Tensor) -> Tensor:
        return self.picture(self.features(w, 0), w, 0)

    def _per_place(self, w: Tensor) -> Tensor:
        return w if w.ndim == 3 else w[:, None].expand(-1, self.config.places, -1)
