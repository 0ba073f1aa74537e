"""What FSDP needs of models that leave weights out: conditions that were not dropped, experts nobody chose.

FSDP2 averages, block by block as the backward pass goes, the gradients that there are; ranks that have other ones do
not understand each other. So every call of a block gives all its weights a gradient, zeros where it used none, and
every block called takes part in the backward pass. Afterwards weights that no rank used lose that gradient again,
because an optimiser lets a weight without gradient rest, while one of zero decays.

The backward pass visits what was done last first, whatever else the graph holds, so ranks that call the same blocks in
the same order also come back to them in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limner.training.ranks import Ranks


class Touch(torch.autograd.Function):
    """Tensors as they are; in the backward pass weights that went along get zeros on top of what they get elsewhere."""

    @staticmethod
    def forward(ctx: Any, count: int, *given: Tensor) -> tuple[Tensor, ...]:
        """The first `count` tensors; the others are weights."""
        ctx.weights = [(weight.shape, weight.dtype, weight.device) for weight in given[count:]]
        return tuple(tensor.clone() for tensor in given[:count])  # a view could be written into, past FSDP's hooks

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients as they come, and zeros that take no memory."""
        zeros = [torch.zeros((), dtype=dtype, device=device).expand(shape) for shape, dtype, device in ctx.weights]
        return None, *gradients, *zeros


class Usage:
    """Follows which weights of a model a step used."""

    def __init__(self, model: nn.Module, blocks: list[nn.Module], entries: Callable[[nn.Module], tuple[str, ...]]):
        self.order = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        self.names: dict[int, str] = {}
        self.used: set[str] = set()
        self.anchors: list[Tensor] = []
        prefixes = {id(module): name for name, module in model.named_modules()}
        self.inside: set[str] = set()
        for block in blocks:
            prefix = prefixes[id(block)]
            self.inside |= {f"{prefix}.{name}" for name, _ in block.named_parameters()}
            for entry in entries(block):
                setattr(block, entry, self._touched(block, prefix, getattr(block, entry)))

    def _touched(self, block: nn.Module, prefix: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            out = method(*args, **kwargs)
            if not torch.is_grad_enabled():
                return out
            weights = self._weights(prefix, block)
            leaves, form = pytree.tree_flatten(out)
            places = [k for k, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
            for place, tensor in zip(places, Touch.apply(len(places), *(leaves[k] for k in places), *weights)):
                leaves[place] = tensor
            self.anchors.append(leaves[places[0]].flatten()[0].float() * 0)
            return pytree.tree_unflatten(leaves, form)

        return run

    def _weights(self, prefix: str, module: nn.Module, leave_out: Container[str] = ()) -> list[nn.Parameter]:
        """Trained weights of a module, whose names are remembered: inside FSDP they are other objects than outside."""
        found = []
        for name, weight in module.named_parameters(prefix):
            if weight.requires_grad and name not in leave_out:
                self.names[id(weight)] = name
                found.append(weight)
        return found

    def anchored(self, model: nn.Module, loss: Tensor) -> Tensor:
        """The loss, on which all blocks called and the weights outside blocks now depend."""
        weights = self._weights("", model, self.inside)
        self.used |= self._in_graph(loss)
        (loss,) = Touch.apply(1, loss, *weights)
        loss = loss + sum(self.anchors)
        self.anchors.clear()
        return loss

    def _in_graph(self, loss: Tensor) -> set[str]:
        """Names of the weights the loss depends on, touching apart."""
        waiting, seen, found = [loss.grad_fn], set(), set()
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if (weight := getattr(node, "variable", None)) is not None:
                found.add(self.names.get(id(weight), ""))
            edges = [edge for edge, _ in node.next_functions]
            touching = type(node).__name__ == "TouchBackward"
            waiting += [edge for edge in edges if not (touching and hasattr(edge, "variable"))]
        return found

    def forget_unused(self, model: nn.Module, ranks: Ranks) -> None:
        """Take the gradient from weights that no rank used in this step; then a new step begins."""
        flags = ranks.any(*(name in self.used for name in self.order))
        unused = {name for name, flag in zip(self.order, flags) if not flag}
        for name, parameter in model.named_parameters():
            if name in unused:
                parameter.grad = None
        self.used.clear()
