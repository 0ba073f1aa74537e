"""What an outside network saw in a picture, and the resampler that turns it into as many tokens as the image has.

Full size: all patch tokens of CLIP ViT-L/14-336 and the vector of an ArcFace-style network (AntelopeV2 [P]). Nano: the
last map of EfficientNet-lite0, and the shipped identity network alone or with a face's shape and looks (face_features).
One interface for both; none of their weights are the model's.

Legend: B batch, F feature tokens, C feature width, N image tokens, D model width, R resampler width.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.weights.whiten import whiten

from .config import UniF2aceConfig


class FeatureEncoder(Protocol):
    """Pictures to feature tokens. Frozen; runs once a picture."""

    width: int
    """C."""

    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], aligned faces, to (B, F, C)."""
        ...


class CLIPFeatures:
    """Patch tokens of a CLIP vision tower, its last layer but one, without the class token [S].

    tower: transformers' ``CLIPVisionModel``; pictures are resized to its side and given CLIP's mean and deviation.
    """

    MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

    def __init__(self, tower: nn.Module) -> None:
        self.tower = tower.eval().requires_grad_(False)
        config = tower.config
        self.width, self.side = int(config.hidden_size), int(config.image_size)  # type: ignore[union-attr, arg-type]

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to (B, F, C)."""
        x = F.interpolate(pictures, size=(self.side, self.side), mode="bicubic", antialias=True)
        mean, deviation = (torch.tensor(v, device=x.device)[:, None, None] for v in (self.MEAN, self.DEVIATION))
        found = self.tower(((x.clamp(-1, 1) + 1) / 2 - mean) / deviation, output_hidden_states=True)
        return found.hidden_states[-2][:, 1:]


class MapFeatures:
    """The last map of a convolutional network as tokens: EfficientNet-lite0's at nano.

    network: pictures (B, 3, H, W) in [-1, 1] to a list of maps, deepest last (``EfficientNetLite0.maps``).
    """

    def __init__(self, network: nn.Module, width: int, side: int = 224) -> None:
        self.network, self.width, self.side = network.eval().requires_grad_(False), width, side

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to (B, F, C)."""
        x = F.interpolate(pictures, size=(self.side, self.side), mode="bilinear", antialias=True)
        return self.network.maps(x)[-1].flatten(2).transpose(1, 2)  # type: ignore[operator]


class IdentityFeatures:
    """A face-recognition network's vector as one token, its entries near 1.

    network: aligned pictures (B, 3, H, W) in [-1, 1] to vectors (B, C), cropping as it was trained
    (``IdentityEncoder``)."""

    def __init__(self, network: nn.Module, width: int) -> None:
        self.network, self.width = network.eval().requires_grad_(False), width

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to (B, 1, C)."""
        return (F.normalize(self.network(pictures), dim=-1) * self.width**0.5)[:, None]


class CrossAttention(nn.Module):
    """Queries read features, then a small network; both with a residual (Perceiver [O])."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.query_norm, self.feature_norm, self.norm = (nn.LayerNorm(width, eps=eps) for _ in range(3))
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """x: (B, N, R); features: (B, F, R)."""
        q = self.q(self.query_norm(x)).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, h, N, R / h)
        kv = self.kv(self.feature_norm(features)).unflatten(2, (2, self.heads, -1))
        k, v = kv.permute(2, 0, 3, 1, 4).unbind()  # (B, h, F, R / h)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Resampler(nn.Module):
    """S: N learned queries read the features by cross-attention: (B, F, C) to (B, N, D).

    Our choice: one resampler for all layers, because a pair per layer would be 1.4 B parameters at full size, and
    because its answer is then made once a picture.
    """

    def __init__(self, config: UniF2aceConfig, feature_width: int) -> None:
        super().__init__()
        width = config.resampler_width
        self.queries = nn.Parameter(torch.empty(config.image_tokens, width))
        self.enter = nn.Linear(feature_width, width)
        self.layers = nn.ModuleList(
            CrossAttention(width, config.resampler_heads, config.norm_eps) for _ in range(config.resampler_layers)
        )
        self.leave = nn.Linear(width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, features: Tensor) -> Tensor:
        """Tokens of zero mean and unit variance before the last gain, the scale of what they are mixed with."""
        read = self.enter(features.to(self.enter.weight.dtype))
        x = self.queries.expand(len(features), -1, -1).to(read.dtype)
        for layer in self.layers:
            x = layer(x, read)
        return self.norm(self.leave(x))

    @torch.no_grad()
    def fit(self, features: Tensor, generator: torch.Generator) -> None:
        """Start anew, fitted to the features of some faces, (B, F, C): what enters is whitened, and every further layer
        keeps that scale."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        nn.init.normal_(self.queries, std=0.02, generator=generator)
        whiten(self.enter, features)


class RatioEmbedding(nn.Module):
    """Embedding of the mask ratio γ for the Noise expert [O]: sinusoids, then two layers. (B,) to (B, 1, D)."""

    WIDTH = 64

    def __init__(self, config: UniF2aceConfig) -> None:
        super().__init__()
        self.first = nn.Linear(self.WIDTH, config.width)
        self.second = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, gamma: Tensor) -> Tensor:
        """gamma: (B,) in [0, 1]."""
        octaves = torch.logspace(0, 3, self.WIDTH // 2, device=gamma.device)
        angles = gamma.float()[:, None] * octaves
        waves = torch.cat([angles.cos(), angles.sin()], dim=1).to(self.first.weight.dtype)
        return self.norm(self.second(F.silu(self.first(waves))))[:, None]
