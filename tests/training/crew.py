"""Several real processes on this machine that train together over gloo, started quickly by a fork server."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 1200.0  # seconds, on a machine that does other things; seconds are enough on one that does not
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["training.preloaded"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(world: int, work: Callable[..., Any], *arguments: Any, folder: Path) -> list[Any]:
    """One process a rank, each running `work(*arguments)`; what it prints as an error goes to `folder/rank-N.txt`."""
    port = free_port()
    processes = [
        CONTEXT.Process(target=_rank, args=(rank, world, port, folder, work, arguments)) for rank in range(world)
    ]
    for process in processes:
        process.start()
    return processes


def run(world: int, work: Callable[..., Any], *arguments: Any, folder: Path, seconds: float = PATIENCE) -> list[str]:
    """Start, wait, and give the ranks' error lines. Fails when a rank does not end."""
    folder.mkdir(parents=True, exist_ok=True)
    processes = start(world, work, *arguments, folder=folder)
    return finish(processes, folder, seconds)


def finish(processes: list[Any], folder: Path, seconds: float = PATIENCE) -> list[str]:
    for process in processes:
        process.join(seconds)
        if process.exitcode is None:
            for other in processes:
                other.kill()
            raise AssertionError(f"a rank did not end within {seconds} s")
        assert process.exitcode in (0, 1, 2, -9), f"a rank ended with {process.exitcode}"
    for file in folder.glob("cause-*.txt"):
        print(file.name, file.read_text())  # shown when the test fails
    for rank, process in enumerate(processes):
        assert process.exitcode or (folder / f"done-{rank}").exists(), "a rank never began"
    return [(folder / f"rank-{rank}.txt").read_text() if (folder / f"rank-{rank}.txt").exists() else ""
            for rank in range(len(processes))]  # fmt: skip


def _rank(rank: int, world: int, port: int, folder: Path, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    from limner.errors import InputError

    try:
        work(*arguments)
    except InputError as error:
        (folder / f"rank-{rank}.txt").write_text(f"{error}\n")
        (folder / f"cause-{rank}.txt").write_text("".join(traceback.format_exception(error)))
        sys.exit(2)
    except Exception:  # noqa: BLE001 (a test wants to see it)
        (folder / f"rank-{rank}.txt").write_text(traceback.format_exc())
        sys.exit(1)
    (folder / f"done-{rank}").touch()
