"""Building a set on the machines of a Ray cluster: the same stages, blocks and files as on one machine.

    blocks ─► Measure (actors that hold the networks) ─► words, encoding, writing (tasks) ─► counts

A block is the unit of everything: of work, of retrying, of output. It is written by one task under its own names, its
marker last, and its bytes follow from its items; so a block that is made twice, because a machine died or the driver
was started again, is written twice with the same bytes, and none is left out while a marker is missing.

Memory stays bounded because Ray Data starts a block's task only when what waits before it is small; of a block only
256² crops and measurements travel, about 0.3 MB a face.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
import ray.data
from ray import cloudpickle
from ray.exceptions import RayActorError

from limner.data.blocks import write_block
from limner.data.build import cut
from limner.data.sources import Item
from limner.data.stages import Reader, RecordSettings, Row, finish_rows, measure_items
from limner.data.storage import Place
from limner.data.workers import one_thread
from limner.errors import InputError

WAITING = 2  # blocks that wait before each worker


@dataclass(frozen=True)
class Block:
    """A block on its way: its number and items, and, once the networks have seen them, what was measured."""

    number: int
    items: Sequence[Item]
    measured: Sequence[tuple[Sequence[Row], Sequence[Mapping[str, str]]]] = ()
    refused: str = ""
    """Why the user must mend something first. Carried as text, since Ray wraps errors until nobody knows them."""


def _pack(block: Block) -> dict[str, bytes]:
    """A row that Arrow takes as it is.

    Objects it would try to convert, fail, and print with all their arrays to say so: half of the machinery's time.
    """
    return {"block": cloudpickle.dumps(block)}


def _unpack(row: Mapping[str, bytes]) -> Block:
    # from another process of this build, as Ray itself carries objects; never from a file
    return cloudpickle.loads(row["block"])


class Measure:
    """An actor: the networks, loaded once, and what they measure on a block of items."""

    def __init__(self, load_reader: Callable[[], Reader], settings: RecordSettings) -> None:
        self.load_reader, self.settings = load_reader, settings
        self.reader: Reader | None = None

    def __call__(self, row: Mapping[str, bytes]) -> dict[str, bytes]:
        """A packed block without measurements to one with them, under "block"."""
        block = _unpack(row)
        try:
            # not in the constructor, whose errors Ray takes for an actor that cannot live
            reader = self.reader = self.reader or self.load_reader()
            with one_thread():
                results = [measure_items(batch, reader, self.settings) for batch in cut(block.items)]
        except InputError as error:
            return _pack(replace(block, refused=str(error)))
        return _pack(replace(block, measured=results))


def finish_block(
    row: Mapping[str, bytes], folder: Place, settings: RecordSettings, made: Mapping[str, Any]
) -> dict[str, Any]:
    """Words, encoding and writing of a measured block; gives its counts, or what the user must mend first."""
    block = _unpack(row)
    if block.refused:
        return {"refused": block.refused, "done": 0, "rows": 0, "errors": 0}
    results = [(finish_rows(found, settings), list(errors)) for found, errors in block.measured]
    try:
        write_block(folder, block.number, block.items, results, made)
    except InputError as error:
        return {"refused": str(error), "done": 0, "rows": 0, "errors": 0}
    return {
        "refused": "",
        "done": len(block.items),
        "rows": sum(len(found) for found, _ in results),
        "errors": sum(len(errors) for _, errors in results),
    }


# Ray takes its own processes for dead when they answer late; on one machine they are only waiting for a core. A minute
# instead of ten seconds, five times; two minutes for its agent to come up.
_PATIENCE = {"RAY_health_check_timeout_ms": "60000", "RAY_agent_register_timeout_ms": "120000"}


def start(**options: Any) -> None:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine, unless this process has one.

    options: of `ray.init`. A busy machine may be too slow for Ray's own time limits, so a cluster started here gets
    longer ones (environment variables that are set keep their values), and it is tried three times.
    Raises InputError when Ray does not start.
    """
    if "RAY_ADDRESS" not in os.environ:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
    for attempt in range(3):
        if ray.is_initialized():
            return
        try:
            ray.init(**{"log_to_driver": False, "logging_level": "error", "include_dashboard": False, **options})
        except Exception as error:  # Ray raises nothing narrower when its processes do not come up
            ray.shutdown()
            if attempt == 2:
                raise InputError(f"Ray did not start: {str(error).splitlines()[0]}") from error


def build_blocks(
    folder: Place,
    blocks: Iterable[tuple[int, Sequence[Item]]],
    settings: RecordSettings,
    made: Mapping[str, Any],
    load_reader: Callable[[], Reader],
    workers: int | None = None,
) -> Iterator[dict[str, int]]:
    """Make blocks on the cluster that RAY_ADDRESS names, or on this machine; yields counts as they are written.

    workers: actors with the networks; None for as many as fit. `folder` must be one that all machines see. Work lost
    with a process or a machine is started again until it ends, which is Ray Data's own default.
    """
    rows = [_pack(Block(k, list(items))) for k, items in blocks]
    if not rows:
        return
    start()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = 0
    cores = int(ray.cluster_resources().get("CPU", 1))
    # a core in eight for words and writing, and never all of them for actors, which would leave no place for that
    actors = workers or max(1, min(len(rows), cores - max(1, cores // 8)))
    measured = (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .map(
            Measure,  # pyright: ignore[reportArgumentType] (rows of objects)
            fn_constructor_args=(load_reader, settings), num_cpus=min(1.0, cores / (actors + 1)),
            compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=WAITING),
        )
        .map(
            finish_block,  # pyright: ignore[reportArgumentType]
            fn_kwargs={"folder": folder, "settings": settings, "made": made},
            num_cpus=min(1.0, cores / (actors + 1)),
        )
    )  # fmt: skip
    try:
        for counts in measured.iter_rows():
            if refused := counts.pop("refused"):
                raise InputError(refused)
            yield {name: int(count) for name, count in counts.items()}
    except RayActorError as error:
        raise InputError(f"the workers could not be kept alive ({str(error).splitlines()[0]}): run it again") from error
