"""Where an engine computes, and in which number type."""

from __future__ import annotations

import torch

from limner.errors import InputError


def choose(device: str, precision: str) -> tuple[torch.device, torch.dtype, str]:
    """Where and in which number type to compute, and why. ``InputError`` for what is not there."""
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {device!r}: choose auto, cpu or cuda")
    if precision not in ("auto", "bf16", "fp32"):
        raise InputError(f"precision {precision!r}: choose auto, bf16 or fp32")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: PyTorch sees no GPU here; use cpu")
    where = torch.device("cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu")
    reason = f"{where.type}: {'asked for' if device != 'auto' else 'the best there is'}"
    if precision != "auto":
        return where, torch.bfloat16 if precision == "bf16" else torch.float32, f"{reason}; {precision}: asked for"
    if where.type == "cuda":
        return where, torch.bfloat16, f"{reason}; bf16: what GPUs are fastest in"
    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return where, torch.bfloat16, f"{reason}; bf16: this processor multiplies it in hardware"
    return where, torch.float32, f"{reason}; fp32: this processor has no bf16 multiplication"
