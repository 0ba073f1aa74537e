"""Codes learnt by their bits: while a model trains, codes that have a bit in common share what is learnt about it.

    E[c] = T[c] + Σ_b ±u_b      T: the table of embeddings (or of the head); ± by bit b of c; u_b: a direction per bit

A lookup-free code is a row of signs, and codes that differ in one sign look much alike, which a table of thousands of
free rows learns only slowly. Our choice: both terms are trained and their sum is what is written, because a table is
all that sampling needs, and published checkpoints have nothing else.

Legend: V token ids, K codes, C bits, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from limner.codecs.quantizer import signs_of_codes

from .config import UniF2aceConfig
from .transformer import UniF2aceTransformer

SHARED = ("embed", "head")
"""The tables whose code rows have directions."""


class BitDirections(nn.Module):
    """(V, D) tables with the sum of their bits' directions added to the rows of codes."""

    signs: Tensor

    def __init__(self, config: UniF2aceConfig) -> None:
        super().__init__()
        self.above = config.vocabulary - config.mask_id
        self.register_buffer("signs", signs_of_codes(config.bits), persistent=False)  # (K, C)
        self.directions = nn.Parameter(torch.zeros(config.bits, config.width))

    def forward(self, table: Tensor) -> Tensor:
        """(V, D) to (V, D)."""
        shared = self.signs.to(self.directions.dtype) @ self.directions  # (K, D)
        below = len(table) - self.above - len(shared)
        return table + F.pad(shared, (0, 0, below, self.above))


def share_bits(model: UniF2aceTransformer, generator: torch.Generator | None = None) -> None:
    """Give the model's tables directions, in place: zeros, so the model computes what it did.

    generator: for a fresh model; draws the embedding's directions as its other weights are drawn.
    """
    shared = {name: BitDirections(model.config) for name in SHARED}
    for name, directions in shared.items():
        parametrize.register_parametrization(model.get_submodule(name), "weight", directions)
    if generator is not None:
        nn.init.normal_(shared["embed"].directions, std=0.02, generator=generator)


def folded_weights(model: UniF2aceTransformer) -> dict[str, Tensor]:
    """The model's state with every table as the sum it stands for; of a model without directions, its plain state."""
    state = {name: tensor for name, tensor in model.state_dict().items() if ".parametrizations." not in name}
    tables = {f"{name}.weight": model.get_submodule(name).weight.detach() for name in SHARED}  # type: ignore[union-attr]
    return {**state, **tables}
