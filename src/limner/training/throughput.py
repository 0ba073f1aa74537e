"""How fast training goes, and how much of the machine it uses."""

from __future__ import annotations

import time

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode


def matmul_peak(device: torch.device, dtype: torch.dtype, size: int = 1536, repeats: int = 4) -> float:
    """Measured FLOP/s of a square matrix product: the denominator of utilisation."""
    a = torch.ones(size, size, device=device, dtype=dtype)
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        torch.matmul(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


class FlopMeter:
    """Counts the FLOPs of one training step (forward and backward)."""

    def __init__(self) -> None:
        self.flops = 0

    def measure(self, loss_and_backward) -> tuple[Tensor, dict[str, Tensor]]:
        """Run `loss_and_backward()` under the counter; returns its result and keeps `.flops`."""
        with FlopCounterMode(display=False) as counter:
            result = loss_and_backward()
        self.flops = counter.get_total_flops()
        return result
