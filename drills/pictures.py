"""Hostile pictures at every door. Writes results/drill-pictures.json.

    python drills/pictures.py [--count 300] [--door read]

Each picture (see hostile.py) goes through each door (see doors.py) in a process that loads the networks once. The bars:
no crash and no traceback, no picture that takes over 5 seconds of processor time, no more than 1.5 GB of memory, and of
every picture that is refused one line that says why, with status 2.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import hostile
from doors import DOORS
from limner.evaluation.results import store_result
from limner.faces.regions import Region

SECONDS = 5.0
GIGABYTES = 1.5
PATIENCE = 180.0  # seconds on the clock after which a process is taken for hung, on a machine that does other things


def attend(door: str, pipe: Connection) -> None:
    """A process: pictures in, (status, message, seconds of processor, peak memory) out.

    On one thread, so that processor time is that of the work, not of threads that wait for each other.
    """
    torch.set_num_threads(1)
    while True:
        picture = pipe.recv()
        began = time.process_time()
        try:
            status, message = DOORS[door](picture)
        except BaseException:  # noqa: BLE001 (that it got here is the finding)
            status, message = -1, traceback.format_exc()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        pipe.send((status, message, time.process_time() - began, peak))


class Doorkeeper:
    """Keeps a process at a door, a new one when it dies or hangs."""

    def __init__(self, door: str, first: Path) -> None:
        self.door, self.first = door, first
        self.process: Any = None
        self.pipe: Any = None

    def ask(self, picture: Path) -> tuple[int, str, float, int]:
        """What became of a picture; status -2 for a process that died, -3 for one that hung."""
        if self.process is None or not self.process.is_alive():
            self._start()
        process: Any = self.process
        self.pipe.send(picture)
        try:
            if self.pipe.poll(PATIENCE):
                return self.pipe.recv()
        except EOFError:
            process.join()
            return -2, f"died with {process.exitcode}", 0.0, 0
        process.kill()
        process.join()
        return -3, "hung", PATIENCE, 0

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=attend, args=(self.door, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.send(self.first)  # loads the networks
        self.pipe.recv()


def judge(status: int, message: str, seconds: float, peak: int) -> list[str]:
    """Which bars were missed."""
    faults = []
    if status < 0 or "Traceback" in message:
        faults.append("crash" if status != -3 else "hang")
    if seconds > SECONDS:
        faults.append("slow")
    if peak > GIGABYTES * 1e9:
        faults.append("memory")
    lines = [line for line in message.splitlines() if line.startswith("error:")]
    if status == 2 and (len(lines) != 1 or len(message.splitlines()) != 1):
        faults.append("not one line")
    if status == 2 and not lines:
        faults.append("no reason")
    return faults


def write_good(folder: Path) -> dict[str, Path]:
    """For each door a picture that it takes, so that its networks are loaded before anything is measured."""
    photo, drawn = folder / "photo.png", folder / "map.png"
    photo.write_bytes(hostile.encode(hostile.photograph(), "png"))
    drawn.write_bytes(hostile.encode(Image.fromarray(np.full((64, 64), Region.SKIN, np.uint8)), "png"))
    return {door: drawn if "mask" in door else photo for door in DOORS}


def drill(door: str, pictures: list[Path], good: Path) -> dict[str, Any]:
    """All pictures through one door."""
    keeper, statuses, faults = Doorkeeper(door, good), Counter[str](), {}
    slowest, largest = (0.0, ""), 0
    for number, picture in enumerate(pictures):
        status, message, seconds, peak = keeper.ask(picture)
        statuses["taken" if status in (0, 1) else "refused with one line" if status == 2 else "broken"] += 1
        slowest, largest = max(slowest, (seconds, picture.name)), max(largest, peak)
        if found := judge(status, message, seconds, peak):
            faults[picture.name] = {"faults": found, "status": status, "said": message[-400:]}
            keeper.process.kill()  # peak memory is a process's, so the next picture gets a new one
            keeper.process.join()
            print(f"{door}: {picture.name}: {found} {message[-300:]}", file=sys.stderr, flush=True)
        if number % 50 == 49:
            print(f"{door}: {number + 1} of {len(pictures)}", file=sys.stderr, flush=True)
    keeper.process.kill()
    return {
        **statuses, "faults": faults, "slowest_seconds": slowest[0], "slowest": slowest[1],
        "peak_gigabytes": largest / 1e9,
    }  # fmt: skip


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=hostile.COUNT)
    parser.add_argument("--door", action="append", choices=list(DOORS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/drill-pictures.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        good = write_good(place)
        (place / "hostile").mkdir()
        pictures = hostile.write_all(place / "hostile", given.count, given.seed)
        figures = {door: drill(door, pictures, good[door]) for door in given.door or DOORS}
    bars = {"seconds": SECONDS, "gigabytes": GIGABYTES, "pictures": given.count}
    store_result(given.out, f"python drills/pictures.py --count {given.count}", figures, given.seed, bars)
    print(json.dumps(figures, indent=2))
    if any(found["faults"] for found in figures.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
