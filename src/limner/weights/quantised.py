"""Eight bits per weight, one scale per row: how matrices and kernels that only serve inference are stored small.

A matrix or kernel `name` (R, …) becomes `name` int8 (R, …) and `name:scale` float32 (R,), with
value ≈ int8 · scale and scale = max |row| / 127 (symmetric, so zero stays zero exactly).
Our choice: rows, because in a linear layer, a convolution and an embedding a row is one output or one token, whose
sizes differ.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE_SUFFIX = ":scale"


def quantise(tensors: Mapping[str, Tensor], smallest: int = 4096) -> dict[str, Tensor]:
    """Store every floating tensor of two or more axes and at least `smallest` elements in 8 bits per row.

    The other tensors pass through.

    The error of a value is at most half its row's scale. A row of zeros gets scale 1.
    """
    result: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if not (value.is_floating_point() and value.ndim >= 2 and value.numel() >= smallest):
            result[key] = value
            continue
        matrix = value.float().flatten(1)
        scale = matrix.abs().amax(dim=1) / 127  # (R,)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        result[key] = torch.round(matrix / scale[:, None]).clamp(-127, 127).to(torch.int8).view(value.shape)
        result[key + SCALE_SUFFIX] = scale
    return result


def dequantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `quantise`: tensors with a scale become float32, everything else passes through untouched.

    Raises ValueError when a scale has no int8 matrix of its length beside it.
    """
    result = {key: value for key, value in tensors.items() if not key.endswith(SCALE_SUFFIX)}
    for key, scale in tensors.items():
        if not key.endswith(SCALE_SUFFIX):
            continue
        name = key.removesuffix(SCALE_SUFFIX)
        matrix = tensors.get(name)
        if matrix is None or matrix.dtype != torch.int8 or matrix.shape[:1] != scale.shape:
            raise ValueError(f"'{key}' has no 8-bit matrix of {len(scale)} rows beside it")
        result[name] = matrix.float() * scale.float().view(-1, *[1] * (matrix.ndim - 1))
    return result
