"""Rotary positions on three axes (index, row, column), as FLUX.1 turns them.

Legend: N tokens, H heads, E head size.
"""

from __future__ import annotations

import torch
from torch import Tensor


def grid_rotations(
    rows: int, columns: int, axes: tuple[int, int, int], theta: float, device: torch.device | str = "cpu"
) -> Tensor:
    """Rotations of an image grid, row by row; the mask has the same ones [R].

    Token (r, c) has ids (0, r, c); an axis of E' dimensions turns pair i by id / theta^(2i/E') radians. Angles are
    made in float64, as the reference does. Returns complex64 (rows * columns, E / 2).
    """
    parts = []
    for size, (repeats, length, tile) in zip(axes, ((1, 1, rows * columns), (columns, rows, 1), (1, columns, rows))):
        frequencies = theta ** -(torch.arange(0, size, 2, dtype=torch.float64, device=device) / size)
        ids = torch.arange(length, dtype=torch.float64, device=device).repeat_interleave(repeats).repeat(tile)
        parts.append(torch.outer(ids, frequencies))  # (N, E' / 2)
    angles = torch.cat(parts, dim=1)
    return torch.complex(angles.cos().float(), angles.sin().float())  # (N, E / 2)


def with_text(rotations: Tensor, length: int) -> Tensor:
    """The same with ``length`` text tokens in front, whose ids are all zero, so they do not turn. (T + N, E / 2)"""
    still = torch.ones(length, rotations.shape[1], dtype=rotations.dtype, device=rotations.device)
    return torch.cat([still, rotations])


def rotate(x: Tensor, rotations: Tensor) -> Tensor:
    """Turn neighbouring pairs of head dimensions. x: float32 (B, N, ..., E), any number of axes between."""
    freqs = rotations.view(rotations.shape[0], *[1] * (x.ndim - 3), rotations.shape[1])
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))  # (B, N, ..., E / 2)
    return torch.view_as_real(pairs * freqs).flatten(-2)
