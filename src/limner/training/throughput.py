"""How fast training goes, and how much of the machine it uses."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, shape_wrapper


def matmul_peak(device: torch.device, dtype: torch.dtype, size: int | None = None, repeats: int = 20) -> float:
    """Measured FLOP/s of a square matrix product, the best of `repeats`: the denominator of utilisation.

    size: rows (default, our choice: 1024, or 8192 on a GPU: many short products rather than a few long ones, because on
    a machine that does other things too a short one has the better chance to run undisturbed).
    """
    size = size or (8192 if device.type == "cuda" else 1024)
    a = torch.ones(size, size, device=device, dtype=dtype)
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        torch.matmul(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def convolution_backward_flops(
    grad_out: Sequence[int],
    x: Sequence[int],
    weight: Sequence[int],
    bias: object,
    stride: object,
    padding: object,
    dilation: object,
    transposed: bool,
    output_padding: object,
    groups: int,
    output_mask: Sequence[bool],
    **results: object,
) -> int:
    """FLOPs of `aten.convolution_backward`, from the shapes of its tensors.

    Each gradient asked for (of the input, of the weight) multiplies every weight once for every sample and position, as
    the forward pass does: 2 · |weight| · N · positions. A grouped weight (C_out, C_in / groups, …) holds groups times
    fewer numbers; PyTorch's own formula takes the weight's gradient to be dense whatever the groups (as of 2.13), which
    counts a depthwise convolution C times.
    """
    positions = math.prod((x if transposed else grad_out)[2:])
    return 2 * math.prod(weight) * x[0] * positions * (int(output_mask[0]) + int(output_mask[1]))


aten = torch.ops.aten
FORMULAS = {
    **flop_registry,
    aten.convolution_backward: shape_wrapper(convolution_backward_flops),
    # PyTorch knows attention by the names it has on GPUs (as of 2.13)
    aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[aten._scaled_dot_product_flash_attention],
    aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        aten._scaled_dot_product_flash_attention_backward
    ],
}


class _Counting(TorchDispatchMode):
    """Counts operations and runs each as it is.

    PyTorch's FlopCounterMode runs other operations in the place of some (of the backward pass of SiLU, say), whose
    results are rounded differently, and has compiled code run eagerly: the step it counts is not the step that a run
    makes without it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Compiled code stays compiled; its matrix products come here one by one."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if formula := FORMULAS.get(func.overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


class FlopMeter:
    """Counts the FLOPs of one training step (forward and backward), whose results stay the same to the bit."""

    def __init__(self) -> None:
        self.flops = 0

    def measure(self, loss_and_backward) -> tuple[Tensor, dict[str, Tensor]]:
        """Run `loss_and_backward()` under the counter; returns its result and keeps `.flops`."""
        with _Counting() as counter:
            result = loss_and_backward()
        self.flops = counter.flops
        return result
