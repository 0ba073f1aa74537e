"""What a forward and backward pass costs, counted on the meta device: no number is computed, none is stored.

For models whose blocks are too different for a formula, such as UNets. Attention counts as fused kernels do it: they
keep queries, keys, values and the result, and no matrix of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class FlopCount:
    """flops: of both passes. kept: numbers that wait for the backward pass, weights apart."""

    flops: float
    kept: float

    def __add__(self, other: FlopCount) -> FlopCount:
        return FlopCount(self.flops + other.flops, self.kept + other.kept)


class Fused(torch.autograd.Function):
    """Attention in shapes alone."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(…, Q, D), (…, K, D), (…, K, E) to (…, Q, E)."""
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        ctx.save_for_backward(q, k, v, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients in the shapes of what was given."""
        q, k, v, _ = ctx.saved_tensors
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


class _Attention(TorchFunctionMode):
    """Puts `Fused` in the place of PyTorch's attention and adds up its FLOPs."""

    flops = 0.0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is not F.scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        q, k, v = args[:3]
        product = 2 * q.numel() * k.shape[-2]  # of one of the two matrix products
        learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (q, k, v))
        self.flops += product * (2 + (5 if learns else 0))  # backward: both again for k, q and v, and scores anew
        return Fused.apply(q, k, v)


def count(run: Callable[[], Tensor], weights: Iterable[Tensor]) -> FlopCount:
    """The costs of `run`, which gives a tensor that depends on what learns, and of its backward pass.

    Everything lies on the meta device; tensors that `run` makes do too. `weights` are not counted as kept.
    """
    own = {weight.untyped_storage()._cdata for weight in weights}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if (storage := tensor.untyped_storage()._cdata) not in own:
            kept[storage] = tensor  # held, so that no other storage takes its place
        return tensor

    counter = FlopCounterMode(display=False)
    with torch.device("meta"), _Attention() as attention, counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = run()
        out.sum().backward()
    numbers = sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in kept.values())
    return FlopCount(counter.get_total_flops() + attention.flops, numbers)
