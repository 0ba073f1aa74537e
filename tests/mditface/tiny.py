"""Tiny random models: every weight is drawn, so that no zero initialisation hides a missing connection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from limner.models.mditface.config import MDiTConfig
from limner.models.mditface.embedding import Prompt
from limner.models.mditface.transformer import MDiT

TINY = MDiTConfig(
    latent_channels=4,
    width=32,
    heads=2,
    double_blocks=2,
    single_blocks=2,
    rope_axes=(4, 6, 6),
    positions=None,
    text_width=12,
    text_pooled=10,
    text_length=5,
    modulation_rank=4,
    mask_rank=3,
)
# Every way the mask stream and its conditioning can be built.
KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "own": {"mask_weights": "own"},
    "palette": {"mask_embedding": "palette"},
    "placed": {"positions": (4, 4)},
    "vectors": {"positions": (4, 4), "patch": 1, "latent_factor": 32, "latent_channels": 6, "vector_tokens": 2},
    "doubles": {"single_blocks": 0},
    "full": {"modulation_rank": None, "guidance_embed": True, "mask_rank": 0, "null_conditions": False},
}


def random_model(config: MDiTConfig, seed: int = 0) -> MDiT:
    """All parameters normal with deviation 0.15, gains around 1."""
    model = MDiT(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.15, generator=generator)
            if name.endswith("gain"):
                parameter.add_(1)
    return model.eval().requires_grad_(False)


def kind(name: str, seed: int = 0) -> MDiT:
    """A random tiny model of one of ``KINDS``."""
    return random_model(replace(TINY, **KINDS[name]), seed)


def inputs(model: MDiT, batch: int = 2, seed: int = 0, size: int = 8) -> dict[str, Any]:
    """Arguments of a forward pass but for the mask: latents, t, prompt, and guidance where it is taken."""
    g, config = torch.Generator().manual_seed(seed), model.config
    prompt = Prompt(
        torch.randn(batch, config.text_length, config.text_width, generator=g),
        torch.randn(batch, config.text_pooled, generator=g),
        torch.rand(batch, config.text_length, generator=g) < 0.7,
    )
    shape = (config.latent_channels, size, size)
    if config.vector_tokens:
        shape = (config.image_tokens, config.packed_channels)
    made = {
        "latents": torch.randn(batch, *shape, generator=g),
        "t": torch.rand(batch, generator=g),
        "prompt": prompt,
    }
    return made | ({"guidance": torch.full((batch,), 3.0)} if config.guidance_embed else {})


def draw_mask(model: MDiT, batch: int = 1, seed: int = 7, size: int = 8) -> Tensor:
    """A mask of the kind the model takes: blobs of regions, or latents."""
    g, config = torch.Generator().manual_seed(seed), model.config
    if config.mask_embedding == "palette":
        return torch.randn(batch, config.latent_channels, size, size, generator=g)
    pixels = size // TINY.patch * config.token_pixels
    blobs = torch.randint(0, config.mask_classes, (batch, 1, pixels // 8, pixels // 8), generator=g).float()
    return torch.nn.functional.interpolate(blobs, size=(pixels, pixels))[:, 0].to(torch.uint8)
