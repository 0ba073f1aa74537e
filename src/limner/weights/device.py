"""Where an engine computes, and in which number type."""

from __future__ import annotations

import torch

from limner.errors import InputError
from limner.settings import check_device


def choose(device: str | torch.device, precision: str) -> tuple[torch.device, torch.dtype, str]:
    """Where and in which number type to compute, and why.

    device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``. precision: ``auto``, ``bf16`` or
    ``fp32``. ``InputError`` for what is not there.
    """
    check_device(device, precision)
    device, count = str(device), torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.startswith("cuda"):
        if not count:
            raise InputError(f"device {device}: PyTorch sees no GPU here; use cpu")
        if int(device.partition(":")[2] or 0) >= count:
            raise InputError(f"device {device}: PyTorch sees {count} GPU(s) here, counted from 0")
    where = torch.device(("cuda" if count else "cpu") if device == "auto" else device)
    reason = f"{where.type}: {'asked for' if device != 'auto' else 'the best there is'}"
    if precision != "auto":
        return where, torch.bfloat16 if precision == "bf16" else torch.float32, f"{reason}; {precision}: asked for"
    if where.type == "cuda":
        return where, torch.bfloat16, f"{reason}; bf16: what GPUs are fastest in"
    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return where, torch.bfloat16, f"{reason}; bf16: this processor multiplies it in hardware"
    return where, torch.float32, f"{reason}; fp32: this processor has no bf16 multiplication"
