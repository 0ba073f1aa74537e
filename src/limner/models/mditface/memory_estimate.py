"""The sizes a training plan needs of an MDiTFace recipe; neither data nor weights are opened."""

from __future__ import annotations

from typing import Any

import torch

from limner.training.memory_estimate import Shape

from .config import FLUX_DEV, MDiTConfig, preset
from .flux_training import PRECISIONS, add_corrections, freeze_base
from .task import MDiTFaceSettings
from .transformer import MDiT

FLUX_PIXELS = 512  # side of the pictures of models that take any size


def shape(settings: dict[str, Any]) -> Shape:
    """A sample is one picture: words, image and mask tokens each pass the blocks once. FLUX stands for FLUX.1-dev."""
    s = MDiTFaceSettings.model_validate(settings)
    if s.flux is not None:
        config, pixels = FLUX_DEV, FLUX_PIXELS
    else:
        config = MDiTConfig.from_dict({**preset(s.preset).to_dict(), **s.model})
        pixels = FLUX_PIXELS if config.positions is None else config.positions[0] * config.token_pixels
    with torch.device("meta"):
        model = MDiT(config)
    if s.flux is not None:
        base = model.to(PRECISIONS[s.base_precision])
        model = freeze_base(add_corrections(base, s.rank, s.lora_streams, s.lora_rank))
    image = (pixels // config.token_pixels) ** 2
    return Shape(
        model=model,
        streamed=s.flux is not None,
        width=config.width,
        layers=config.blocks,
        tokens=config.text_length + 2 * image,
        longest=config.text_length + 2 * image,
        kept=29,  # counted: norms of queries and keys, rotations, modulation
    )
