"""torchao's 8-bit AdamW moments as plain tensors, for checkpoints: codes and one scale a block of 256 numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MARK = ":"  # between a moment's name and what of it a tensor holds


def unpacked(entry: dict[str, Any]) -> dict[str, Any]:
    """A parameter's state without tensor subclasses: `exp_avg` becomes `exp_avg:codes` and `exp_avg:scale`."""
    out: dict[str, Any] = {}
    for name, value in entry.items():
        if hasattr(value, "codes"):
            out[f"{name}{MARK}codes"], out[f"{name}{MARK}scale"] = value.codes, value.scale
        else:
            out[name] = value
    return out


def packed(entry: dict[str, Any]) -> dict[str, Any]:
    """Inverse of `unpacked`, to the bit."""
    out = {name: value for name, value in entry.items() if MARK not in name}
    for name in {name.partition(MARK)[0] for name in entry if MARK in name}:
        from torchao.optim.subclass_8bit import OptimState8bit

        codes, scale = entry[f"{name}{MARK}codes"], entry[f"{name}{MARK}scale"]
        block = codes.numel() // scale.numel()
        made = OptimState8bit.zeros(codes.shape, name == "exp_avg", block, codes.device, dtype=torch.float32)
        made.codes.copy_(codes)  # pyright: ignore[reportAttributeAccessIssue]
        made.scale.copy_(scale)  # pyright: ignore[reportAttributeAccessIssue]
        out[name] = made
    return out


def plain_rates(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parameter groups whose learning rate is a number; torchao keeps it in a tensor."""
    return [{key: float(v) if isinstance(v, Tensor) and key == "lr" else v for key, v in g.items()} for g in groups]
