"""One model on several processes: copies that average their gradients (DDP), or one in pieces (FSDP2).

Tasks call whatever methods a model has, while DDP and FSDP act at the forward pass of a module. So the model stands in
a module whose forward pass *is* the task's function.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from limner.errors import InputError
from limner.training.config import TrainSettings
from limner.training.fsdp import Usage
from limner.training.ranks import Ranks

Result = TypeVar("Result")
Learnt = tuple[Tensor, dict[str, Tensor]]


class Whole(nn.Module):
    """A model whose forward pass runs any function of it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[nn.Module], Any]) -> Any:
        """`function(model)`."""
        return function(self.model)


class Replica:
    """What one process holds of the model: all of it, or its pieces."""

    def __init__(
        self,
        model: nn.Module,
        settings: TrainSettings,
        ranks: Ranks,
        fill: Callable[[nn.Module], None] | None = None,
    ) -> None:
        """`fill`: gives a model on the meta device its values, once its memory, or that of this process's pieces, is
        there. So a process never holds more of the model than it keeps."""
        self.ranks = ranks
        self.sharded = settings.strategy == "fsdp" and ranks.several
        if self.sharded and settings.optimizer in ("muon", "prodigy"):
            raise InputError(
                f"train.optimizer={settings.optimizer} needs whole weights, which fsdp cuts: use adamw, or strategy=ddp"
            )
        for block in repeated_blocks(model):
            _rewrite(block, settings)
        empty = any(parameter.is_meta for parameter in model.parameters())
        if not self.sharded:
            model = model.to_empty(device=ranks.device) if empty else model.to(ranks.device)
            _filled(model, fill if empty else None)
        # PyTorch 2.13 crashes on CPUs in the backward pass of a partly frozen channels-last UNet (segmentation fault).
        frozen = ranks.device.type == "cpu" and not all(parameter.requires_grad for parameter in model.parameters())
        if settings.channels_last and not frozen:
            model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.model = model
        self.whole: nn.Module = Whole(model)
        self.usage: Usage | None = None
        if self.sharded:
            self.usage = Usage(model, _blocks_with_weights(model), entry_points)
            _shard(self.whole, ranks, settings)
            if empty:
                self.whole.to_empty(device=ranks.device)
                _filled(model, fill)
        elif ranks.several:
            # A step may leave parameters out: experts nobody chose, conditions that were not dropped.
            self.whole = DistributedDataParallel(self.whole, find_unused_parameters=True)

    def learn(self, function: Callable[[nn.Module], Learnt], last: bool) -> Learnt:
        """`function(model)`, a loss and more, as a forward pass, to be followed by the loss's backward pass.

        last: this is this process's last micro-batch of the step, after which gradients are averaged over the ranks.
        (FSDP averages after each, so that no process ever holds all gradients.)
        """
        if isinstance(self.whole, DistributedDataParallel) and not last:
            with self.whole.no_sync():
                return self.whole(function)
        if (usage := self.usage) is None:
            return self.whole(function)

        def anchored(model: nn.Module) -> Learnt:
            loss, more = function(model)
            return usage.anchored(model, loss), more

        return self.whole(anchored)

    def finish_step(self) -> None:
        """After the last backward pass of a step, before the optimiser."""
        if self.usage is not None:
            self.usage.forget_unused(self.model, self.ranks)

    def look(self, function: Callable[[nn.Module], Result]) -> Result:
        """`function(model)` without learning. Where the model is in pieces, every rank must come here."""
        return self.whole(function) if self.sharded else function(self.model)


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """The items of the outermost module lists: a transformer's layers, a codec's stages. They hold most parameters."""
    blocks: list[nn.Module] = []
    for child in model.children():
        blocks += list(child) if isinstance(child, nn.ModuleList) else repeated_blocks(child)
    return blocks


def _blocks_with_weights(model: nn.Module) -> list[nn.Module]:
    return [block for block in repeated_blocks(model) if any(True for _ in block.parameters())]


def entry_points(block: nn.Module) -> tuple[str, ...]:
    """Methods by which a block is entered: `forward`, or what its class names in `entry_points`."""
    return getattr(type(block), "entry_points", ("forward",))


def _rewrite(block: nn.Module, settings: TrainSettings) -> None:
    """Compile a block, or have it recompute its insides in the backward pass, as the recipe says."""
    if not (settings.compile or settings.recompute):
        return
    for name in entry_points(block):
        plain = getattr(block, name)
        learning = torch.compile(plain) if settings.compile else plain
        if settings.recompute:
            learning = partial(checkpoint, learning, use_reentrant=False)
        setattr(block, name, _where_it_learns(learning, plain))


def _where_it_learns(learning: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """Without gradients there is nothing to recompute; validation and samples, which come seldom and in other sizes,
    are not worth compiling: PyTorch compiles eight variants of a function before it leaves that function alone."""

    def run(*args: Any, **kwargs: Any) -> Any:
        return (learning if torch.is_grad_enabled() else plain)(*args, **kwargs)

    return run


def _filled(model: nn.Module, fill: Callable[[nn.Module], None] | None) -> None:
    if fill is not None:
        fill(model)


def _shard(whole: nn.Module, ranks: Ranks, settings: TrainSettings) -> None:
    """Cut every block, and what is left, into one piece a rank.

    With `mixed_precision_param = "fp32"` numbers stay as they are and autocast does the rest, as everywhere else, so
    that the strategy changes no arithmetic. With "bf16" pieces are gathered in bfloat16, half the traffic and half the
    memory of a gathered block; their masters stay as they are, and gradients are averaged in float32.
    """
    mesh = init_device_mesh(ranks.device.type, (ranks.world,))
    policy = MixedPrecisionPolicy()
    if settings.mixed_precision_param == "bf16":
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for block in _blocks_with_weights(whole):
        fully_shard(block, mesh=mesh, reshard_after_forward=True, mp_policy=policy)
        for name in entry_points(block):
            if name != "forward":
                register_fsdp_forward_method(block, name)
    fully_shard(whole, mesh=mesh, reshard_after_forward=True, mp_policy=policy)
    assert isinstance(whole, FSDPModule)
