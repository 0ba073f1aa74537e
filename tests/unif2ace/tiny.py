"""Tiny random models: every weight is drawn, so that no zero initialisation hides a missing connection."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from limner.models.unif2ace.config import UniF2aceConfig
from limner.models.unif2ace.sequence_experts import Mixed
from limner.models.unif2ace.transformer import UniF2aceTransformer

TINY = UniF2aceConfig(
    text_vocabulary=20,
    codebook=16,
    image_tokens=9,
    text_length=7,
    width=24,
    layers=2,
    heads=2,
    mlp_width=40,
    partial_rotary_factor=0.5,
    token_experts=4,
    token_top_k=2,
    expert_width=10,
    clip_width=6,
    face_width=5,
    resampler_width=8,
    resampler_heads=2,
)


def random_model(config: UniF2aceConfig = TINY, seed: int = 0) -> UniF2aceTransformer:
    """All parameters normal with deviation 0.2, norms' gains around 1."""
    model = UniF2aceTransformer(config)
    generator = torch.Generator().manual_seed(seed)
    modules = dict(model.named_modules())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.2, generator=generator)
            if name.endswith("weight") and isinstance(modules[name.rpartition(".")[0]], torch.nn.LayerNorm):
                parameter.add_(1)
    return model.eval().requires_grad_(False)


def draw_codes(batch: int, seed: int = 0, config: UniF2aceConfig = TINY, masked: float = 0.0) -> Tensor:
    """Image codes (B, N), a share of them masked."""
    g = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, config.codebook, (batch, config.image_tokens), generator=g)
    hidden = torch.rand(codes.shape, generator=g) < masked
    return torch.where(hidden, config.codebook, codes)


def draw_features(batch: int, seed: int = 0, config: UniF2aceConfig = TINY) -> dict[str, Tensor]:
    """Semantic and identity feature tokens, as ``UniF2aceTransformer.mix`` takes them."""
    g = torch.Generator().manual_seed(seed)
    return {
        "clip": torch.randn(batch, 4, config.clip_width, generator=g),
        "face": torch.randn(batch, 2, config.face_width, generator=g),
    }


def dense(**changes) -> UniF2aceConfig:
    """TINY without experts."""
    return replace(TINY.dense(), **changes)


NOTHING = Mixed()
