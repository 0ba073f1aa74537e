"""The processes that train one model together, each called by its rank.

`torchrun` (or anything that sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT) starts them; without those
variables there is one process, and nothing here talks to anyone.

The micro-batches of a step are dealt out: of `accumulate` micro-batches, rank r of W takes r, r + W, r + 2W, …. So the
data, the noise and the mean that make up a step are the same for every W that divides `accumulate`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from limner.errors import InputError
from limner.training.config import TrainSettings

TIMEOUT = timedelta(minutes=20)  # longer than a validation that only some ranks have begun


class RankLost(InputError):
    """Another process of the run is gone, so this one cannot go on either."""


@dataclass(frozen=True)
class Ranks:
    """This process's place: `rank` of `world`, computing on `device`."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes logs, samples and weights."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are other processes."""
        return self.world > 1

    def micro_batches(self, accumulate: int) -> range:
        """Which of a step's micro-batches are this process's."""
        return range(self.rank, accumulate, self.world)

    def sum(self, figures: dict[str, Tensor]) -> dict[str, Tensor]:
        """Figures (scalars, the same names on every rank) summed over the ranks."""
        if not self.several or not figures:
            return figures
        values = torch.stack([figures[name].float().to(self.device) for name in sorted(figures)])
        dist.all_reduce(values)
        return dict(zip(sorted(figures), values))

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether any rank has it: what all must do together is decided together."""
        if not self.several:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32, device=self.device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def wait(self) -> None:
        """Go on when every rank has come here."""
        if self.several:
            dist.barrier()


ALONE = Ranks(0, 1, torch.device("cpu"))


@contextmanager
def join(settings: TrainSettings) -> Iterator[Ranks]:
    """Meet the other processes, if there are any, and part from them at the end.

    Raises InputError for a device that is not there and for a step that cannot be dealt out evenly; RankLost in the
    block when another process died.
    """
    world, rank, local = (int(os.environ.get(name, default)) for name, default in
                          (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0)))  # fmt: skip
    if settings.accumulate % world:
        raise InputError(
            f"{world} processes cannot share {settings.accumulate} micro-batches evenly: set train.accumulate to a "
            f"multiple of {world} (train.batch_size is what one process computes at a time)"
        )
    device = _device(settings, local)
    if world == 1:
        yield Ranks(0, 1, device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=rank, world_size=world, timeout=TIMEOUT)
    try:
        yield Ranks(rank, world, device)
    except RuntimeError as error:
        # PyTorch gives NCCL's failures a class of their own, and gloo's none
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise RankLost(
            f"rank {rank} of {world} stops: another process of the run ended; start them all again with --resume"
        ) from error
    dist.destroy_process_group()  # not after an error: it could wait for processes that are gone


def _device(settings: TrainSettings, local: int) -> torch.device:
    if settings.device == "cpu" or (settings.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InputError("train.device is cuda, but PyTorch sees no GPU; use --set train.device=cpu")
    if local >= torch.cuda.device_count():
        raise InputError(
            f"process {local + 1} of this machine finds {torch.cuda.device_count()} GPUs: start one process a GPU"
        )
    return torch.device("cuda", local) if "LOCAL_RANK" in os.environ else torch.device("cuda")
