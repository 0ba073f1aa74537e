"""Partial rotary positions: the first part of every head turns, the rest stays [S].

Legend: B batch, N tokens, H heads, E head size, R dimensions that turn.
"""

from __future__ import annotations

import torch
from torch import Tensor

RotaryFrequencies = tuple[Tensor, Tensor]
"""Cosines and sines, (B or 1, 1, N, R / 2) each, float32."""


def rotations(positions: Tensor, turned: int, theta: float) -> RotaryFrequencies:
    """Angles position / theta^(2i/R) of i = 0 … R/2 − 1. positions: (B or 1, N), in tokens, padding counted [S]."""
    frequencies = theta ** -(torch.arange(0, turned, 2, dtype=torch.float32, device=positions.device) / turned)
    angles = positions[:, None, :, None].float() * frequencies  # (B, 1, N, R / 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, freqs: RotaryFrequencies) -> Tensor:
    """Turn dimension i together with i + R/2, for i below R/2 (Phi's order). x: (B, H, N, E)."""
    cosine, sine = (turn.to(x.dtype) for turn in freqs)
    half = cosine.shape[-1]
    one, other = x[..., :half], x[..., half : 2 * half]
    return torch.cat([one * cosine - other * sine, other * cosine + one * sine, x[..., 2 * half :]], dim=-1)
