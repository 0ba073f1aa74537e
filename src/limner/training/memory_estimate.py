"""Memory and speed of a training config before it runs, computed without weights or data.

Per process, in bytes, with W processes (bf16 means autocast: weights, gradients and moments stay float32):

    weights       4·P           / W with fsdp, and the largest block whole beside it
    gradients     4·P_trained   / W with fsdp
    moments       8·P_trained   / W with fsdp (AdamW: two; prodigy 16·P_trained, muon 6)
    average       4·P_trained   / W with fsdp
    activations   K·D·T·B·L numbers, where a plain block keeps K = 17 (eq. 2 of Korthikanti et al. 2022, arXiv
                  2205.05198, without the attention matrix, which fused attention never stores), and blocks with more
                  to them more (see `Shape.kept`); with `recompute` D·T·B·L numbers and one layer in full

In host memory, while it starts: what a Python process with PyTorch and CUDA takes, and the model in the number type it
is built in, once a process; or, where a task fills its model from files by rows, one process's rows of its largest
tensor. On a CPU host and device memory are one.

And the speed from 6 FLOPs a trained weight and token, forward and backward (4 a frozen one that gradients pass
through, 2 more where blocks are recomputed), and the attention's 12·L·D a pair of tokens, at the share of the peak
that such models reach (our choice: 0.4, because published runs of this kind report 0.35 to 0.5). Where blocks are too
different for a formula (UNets), FLOPs and activations are counted (`flop_counter.py`), without recomputing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from limner.training.config import TrainSettings
from limner.training.flop_counter import FlopCount
from limner.training.parallel import repeated_blocks

UTILISATION = 0.4
GB = 1e9
RESERVED = 2.0  # GB that CUDA, NCCL and fragmentation take on a device
PROCESS = 3.0  # GB of host memory of a process with PyTorch and CUDA loaded
PER_HOST = 8  # devices of one machine
MOMENTS = {"adamw": 8.0, "prodigy": 16.0, "muon": 6.0}
"""Bytes a trained weight. Muon keeps one moment for most weights; prodigy four numbers."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a task's plan says of its model: sizes for which no weight is needed."""

    model: nn.Module
    """On the meta device, `requires_grad` set as in training."""
    tokens: int
    """Tokens a sample, all passes of a step together."""
    width: int = 0
    """Model width D."""
    layers: int = 0
    """Repeated blocks L a token passes."""
    longest: int = 0
    """Tokens of the longest sequence, for attention."""
    kept: float = 17.0
    """Numbers a block keeps for its backward pass, a token and unit of width."""
    idle: int = 0
    """Parameters a token does not pass: embeddings looked up, experts not chosen."""
    sample: FlopCount | None = None
    """What a sample costs, where it was counted; then only `tokens` is read of the sizes above."""
    batch: FlopCount | None = None
    """What a micro-batch costs besides, whatever its size."""
    streamed: bool = False
    """Filled from files by rows, each process its own; otherwise built whole in every process's host memory."""
    beside: int = 0
    """Frozen parameters that are no part of the model: whole on every process, in float32."""


@dataclass(frozen=True)
class Device:
    """A typical device: memory in GB, dense bf16 (or, for a CPU, float32) TFLOP/s as its maker states it."""

    name: str
    memory: float
    teraflops: float


DEVICES = (
    Device("laptop, 16 GB, CPU", 16, 0.3),
    Device("RTX 4090", 24, 165),
    Device("L40S", 48, 362),
    Device("A100 40 GB", 40, 312),
    Device("A100 80 GB", 80, 312),
    Device("H100 80 GB", 80, 989),
    Device("H200 141 GB", 141, 989),
)
COUNTS = (1, 4, 8, 32)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Bytes of one process by what they hold, and FLOPs of a sample."""

    parameters: int
    trained: int
    weights: float
    gradients: float
    moments: float
    average: float
    activations: float
    flops: float
    tokens: int
    host: float
    """Bytes of host memory, at most, while it starts."""

    @property
    def total(self) -> float:
        """All bytes of one process."""
        return self.weights + self.gradients + self.moments + self.average + self.activations


def plan(shape: Shape, settings: TrainSettings, world: int = 1) -> Plan:
    """The needs of one of `world` processes."""
    sizes = [(p.numel(), p.requires_grad, p.element_size()) for p in shape.model.parameters()]
    total, trained = sum(n for n, *_ in sizes), sum(n for n, learns, _ in sizes if learns)
    stored = sum(n * width for n, _, width in sizes)
    share = 1 / world if settings.strategy == "fsdp" else 1.0
    blocks = [sum(p.numel() * p.element_size() for p in block.parameters()) for block in repeated_blocks(shape.model)]
    whole = max(blocks, default=0) if share < 1 else 0
    number = 2 if settings.precision == "bf16" else 4
    layer = shape.kept * number * shape.width * shape.tokens * settings.batch_size
    kept = number * shape.width * shape.tokens * settings.batch_size
    activations = shape.layers * kept + layer if settings.recompute else shape.layers * layer
    passed = total - shape.idle
    learning = min(trained, passed)
    flops = shape.tokens * (6 * learning + 4 * (passed - learning) + (2 * passed if settings.recompute else 0))
    flops += 12 * shape.layers * shape.width * shape.tokens * shape.longest
    if shape.sample is not None:
        activations = number * shape.sample.kept * settings.batch_size
        flops = shape.sample.flops
    if shape.batch is not None:
        activations += number * shape.batch.kept
        flops += shape.batch.flops / settings.batch_size
    largest = max((n * width for n, _, width in sizes), default=0)
    host = PROCESS * GB + (largest * share if shape.streamed else stored) + 4 * shape.beside
    return Plan(
        parameters=total + shape.beside, trained=trained, weights=stored * share + whole + 4 * shape.beside,
        gradients=4 * trained * share + whole,
        moments=MOMENTS[settings.optimizer] * trained * share, average=4 * trained * share, activations=activations,
        flops=flops, tokens=shape.tokens, host=host,
    )  # fmt: skip


def table(shape: Shape, settings: TrainSettings) -> list[dict[str, Any]]:
    """For typical devices, in ones and in groups: does it fit, tokens and samples a second, days for all steps."""
    rows = []
    for device in DEVICES:
        for count in COUNTS if device.teraflops > 1 else (1,):
            needs = plan(shape, settings, count)
            samples = device.teraflops * 1e12 * UTILISATION * count / needs.flops
            seconds = settings.steps * settings.batch_size * settings.accumulate / samples
            rows.append({
                "device": device.name,
                "count": count,
                "gigabytes": round(needs.total / GB, 1),
                "host_gigabytes": round(needs.host * min(count, PER_HOST) / GB, 1),
                "fits": needs.total / GB + (RESERVED if device.teraflops > 1 else 4) <= device.memory,
                "even": settings.accumulate % count == 0,
                "tokens_per_second": float(f"{samples * needs.tokens:.3g}"),
                "samples_per_second": float(f"{samples:.3g}"),
                "days": float(f"{seconds / 86400:.3g}"),
            })  # fmt: skip
    return rows
