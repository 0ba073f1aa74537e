"""The sizes a training plan needs of a UniF²ace recipe; neither data nor weights are opened."""

from __future__ import annotations

from typing import Any

import torch

from limner.training.memory_estimate import Shape

from .config import UniF2aceConfig, preset
from .parameter_count import active
from .task import UniF2aceSettings
from .transformer import UniF2aceTransformer

QUESTION = 48  # tokens of a question and its answer; our own grammar's take about 30


def shape(settings: dict[str, Any]) -> Shape:
    """A sample is one painting and one conversation."""
    s = UniF2aceSettings.model_validate(settings)
    config = UniF2aceConfig.from_dict({**preset(s.preset).to_dict(), **s.model})
    with torch.device("meta"):
        model = UniF2aceTransformer(config)
    painting = config.text_length + config.image_tokens + 4
    answering = config.image_tokens + 5 + s.questions_per_face * QUESTION
    total = sum(p.numel() for p in model.parameters())
    return Shape(
        model=model,
        width=config.width,
        layers=config.layers,
        tokens=painting + round(s.understand_share * answering),
        longest=max(painting, answering),
        kept=30,  # counted: norms of queries and keys, rotations, experts
        idle=total - active(config) + model.embed.weight.numel(),  # rows are looked up, not multiplied
    )
