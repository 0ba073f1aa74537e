"""Which weights a module holds, as a few letters for recipes and caches."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_hash(module: nn.Module, head: str = "") -> str:
    """16 hex digits over ``head`` and all parameters in their type, at the speed of reading them once.

    Of each: name, type, shape, some thousand evenly spaced entries, and the exact sum of all entries' bits, so that no
    entry can change alone.
    """
    digest = hashlib.sha256(head.encode())
    for name, parameter in module.named_parameters():
        flat = parameter.detach().flatten()
        bits = flat.view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[flat.element_size()])
        spaced = bits[:: max(1, len(bits) // 1024)].cpu().numpy().tobytes()
        total = int(bits.sum(dtype=torch.int64))
        digest.update(f"{name} {flat.dtype} {tuple(parameter.shape)} {total}".encode() + spaced)
    return digest.hexdigest()[:16]
