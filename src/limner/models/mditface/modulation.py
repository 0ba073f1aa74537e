"""Adaptive layer norms: what the conditioning vector does to a stream.

Legend: B batch, D width, P parts (shift, scale, gate: 3 per residual branch).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import normalise
from .config import MDiTConfig
from .lora import StreamAdapter


class Conditioning(NamedTuple):
    """SiLU(c), and the shared projection of it where the model has one."""

    active: Tensor  # (B, D)
    shared: Tensor | None  # (B, 6 D)


class SharedModulation(nn.Module):
    """c to ``Conditioning``: the part of the modulation that all blocks share (PixArt's adaLN-single), or nothing."""

    def __init__(self, config: MDiTConfig) -> None:
        super().__init__()
        self.project = None if config.modulation_rank is None else nn.Linear(config.width, 6 * config.width)

    def forward(self, c: Tensor) -> Conditioning:
        """c: (B, D)."""
        active = F.silu(c)
        return Conditioning(active, None if self.project is None else self.project(active))


class Modulation(nn.Module):
    """Lin_s(SiLU(c)): P vectors of one stream of one block.

    In full (FLUX): one linear layer per stream and block. Shared: the common projection, plus this block's table, plus
    a low-rank projection of its own.
    """

    def __init__(self, config: MDiTConfig, parts: int) -> None:
        super().__init__()
        self.parts = parts
        width, rank = config.width, config.modulation_rank
        self.full = nn.Linear(width, parts * width) if rank is None else None
        self.table = None if rank is None else nn.Parameter(torch.zeros(parts * width))
        self.down = nn.Linear(width, rank, bias=False) if rank else None
        self.up = nn.Linear(rank, parts * width, bias=False) if rank else None

    def forward(
        self, c: Conditioning, extra: Tensor | None = None, lora: StreamAdapter | None = None
    ) -> tuple[Tensor, ...]:
        """Returns P tensors (B, 1, D).

        extra: (P * D,) is added (the mask stream's own constant). lora: corrects the full projection, for the other
        streams.
        """
        if self.full is not None:
            out = self.full(c.active)
            out = out if lora is None else lora.apply_to("modulation.full", c.active, out)
        else:
            assert c.shared is not None and self.table is not None
            out = c.shared[:, : self.table.shape[0]] + self.table
            if self.down is not None and self.up is not None:
                out = out + self.up(self.down(c.active))
        out = out if extra is None else out + extra
        return out[:, None].chunk(self.parts, dim=2)


class ConstantModulation(nn.Module):
    """The modulation of a mask stream with weights of its own: c_M does not change, so Lin_M(SiLU(c_M)) is a table."""

    def __init__(self, config: MDiTConfig, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.table = nn.Parameter(torch.zeros(parts * config.width))

    def forward(self, c: Conditioning, extra: Tensor | None = None) -> tuple[Tensor, ...]:
        """Ignores c on purpose: nothing about the step may reach the static path. Returns P tensors (1, 1, D)."""
        assert extra is None
        return self.table[None, None].chunk(self.parts, dim=2)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LN(x) (1 + scale) + shift. x: (B, N, D); shift, scale: (B or 1, 1, D)."""
    return torch.addcmul(shift, normalise(x), 1 + scale)
