"""Preparing a set shard by shard: in bounded memory, by several processes, and resumable after any shard.

A portion is a few rows of a built set that become one shard. Of several processes (`torchrun`, or anything that sets
RANK and WORLD_SIZE as well as MASTER_ADDR and MASTER_PORT) process r makes the portions r, r + W, …; the first one
finishes the set. A shard depends on its portion alone, so any number of processes writes the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from limner.data.tensor_shards import HEADER, shard_rows, write_shard
from limner.errors import InputError
from limner.files import make_folder
from limner.weights.device import choose
from limner.weights.registry import hash_file

Item = TypeVar("Item")
PORTION = 64  # faces; with mirror images and CLIP ViT-L/14-336's patches 150 MB a shard
SPLITS = ("train", "validation")
PATIENCE = timedelta(days=7)  # processes may finish hours apart


@dataclass(frozen=True)
class Portion(Generic[Item]):
    """What becomes one shard. first: the number of its first item in the whole; of: says what it is cut from."""

    load: Callable[[], Iterable[Item]]
    first: int
    of: Mapping[str, Any]


def portions(
    folders: Sequence[Path], load: Callable[[Path, str, int, int], Iterable[Item]], size: int = PORTION
) -> list[Portion[Item]]:
    """The training and validation rows of built sets, folder after folder, split after split, file after file.

    load: (file, split, start, stop) → the items of those rows. Test rows are never prepared.
    """
    from limner.data.shards import rows_of, shard_files

    found: list[Portion[Item]] = []
    first = 0
    for folder in folders:
        for split in SPLITS:
            for file in shard_files(folder, split):
                digest, count = hash_file(file), rows_of(file)  # type: ignore[arg-type]
                for start in range(0, count, size):
                    stop = min(start + size, count)
                    of = {"of": digest, "rows": [start, stop], "split": split}
                    found.append(Portion(lambda f=file, p=split, a=start, b=stop: load(f, p, a, b), first + start, of))
                first += count
    return found


@dataclass(frozen=True)
class Share:
    """Which process of how many this is."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process finishes the set and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Go on when all processes have come here. ``InputError`` when one of them ended."""
        if self.world == 1:
            return
        try:
            dist.barrier()
        except RuntimeError as error:
            raise InputError("another process of the preparation ended: start them all again to continue") from error


@contextmanager
def join() -> Iterator[Share]:
    """Meet the other processes, if there are any."""
    rank, world = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
    if world == 1:
        yield Share()
        return
    dist.init_process_group("gloo", rank=rank, world_size=world, timeout=PATIENCE)
    yield Share(rank, world)
    dist.destroy_process_group()  # not after an error: it could wait for processes that are gone


def device_of(name: str) -> torch.device:
    """auto, cpu or cuda; of several processes on a machine each takes a GPU of its own. Raises InputError."""
    device, _, _ = choose(name, "fp32")
    if device.type != "cuda":
        return device
    local = int(os.environ.get("LOCAL_RANK", 0))
    if local >= torch.cuda.device_count():
        raise InputError(f"process {local + 1} of this machine finds {torch.cuda.device_count()} GPUs: start fewer")
    return torch.device("cuda", local)


def write_shards(
    given: Sequence[Portion[Item]],
    out: Path,
    make: Callable[[list[Item], int], tuple[dict[str, Tensor], int]],
    how: Mapping[str, Any],
    share: Share,
    report: Callable[[int, int], None],
) -> list[int]:
    """Make this process's shards that are not there yet, and wait for the others; returns the rows of all shards.

    make: (items of a portion, number of the first) → tensors, rows. how: everything else that decides them; shards made
    otherwise are made again. Until ``finish`` the folder is no whole set.
    """
    make_folder(out)
    if share.first:
        (out / HEADER).unlink(missing_ok=True)
    report(0, len(given))
    for number in range(share.rank, len(given), share.world):
        portion = given[number]
        facts = {**how, **portion.of}
        if shard_rows(out, number, facts) is None:
            tensors, rows = make(list(portion.load()), portion.first)
            write_shard(out, number, tensors, rows, facts)
        report(number + 1, len(given))
    share.wait()
    rows = [shard_rows(out, number, {**how, **portion.of}) for number, portion in enumerate(given)]
    if None in rows:
        raise InputError(f"{out} lacks shard {rows.index(None)}: the set changed meanwhile, prepare it again")
    return [count for count in rows if count is not None]
