"""Many clients at one server on this machine for a while; writes results/serving-load.json.

    python benchmarks/serving_load.py [--clients 32] [--seconds 60]

Starts `limner serve` on loopback with a queue of 16, then each client asks again as soon as it is answered: two thirds
paint (8 steps, waiting for the end), the others read a photograph, list jobs, or ask for health. What was answered with
which status, how many answers a second, how long they took, and the server's resident memory each second are kept.
Memory is called flat if the last third of the run stays within 5 % of the middle third.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np

import limner
from limner.evaluation.results import store_result

PHOTO = Path(limner.__file__).parent / "demo" / "photographs" / "face-10018.jpg"


NO_ANSWER = 0  # in place of a status: the connection failed
PERCENTILES = (50, 90, 99, 100)


@dataclass(frozen=True)
class Answer:
    """kind: what was asked. status: of HTTP, or NO_ANSWER. seconds: until the answer's end."""

    kind: str
    status: int
    seconds: float


async def ask(turn: int, http: httpx.AsyncClient, photo: str) -> tuple[str, httpx.Response]:
    """What is asked in a turn, and the answer."""
    if turn % 3 < 2:
        asked = {"text": f"a person, number {turn}", "steps": 8, "seed": turn}
        return "paint", await http.post("/v1/paint", params={"wait": 60}, json=asked)
    if turn % 6 == 2:
        return "faces", await http.post("/v1/faces", json={"photo": photo})
    if turn % 12 == 5:
        return "jobs", await http.get("/v1/jobs", params={"limit": 20})
    return "health", await http.get("/health")


async def client(number: int, http: httpx.AsyncClient, photo: str, until: float, seen: list[Answer]) -> None:
    """Ask, and ask again; after a 429 wait a second."""
    turn = number
    while time.monotonic() < until:
        turn += 1
        began = time.monotonic()
        try:
            kind, answer = await ask(turn, http, photo)
            status = answer.status_code
        except httpx.TransportError as error:
            kind, status = type(error).__name__, NO_ANSWER
        seen.append(Answer(kind, status, time.monotonic() - began))
        if status in (429, NO_ANSWER):
            await asyncio.sleep(1)


def resident(pid: int) -> float:
    """Megabytes of a process."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else 0.0


async def watch_memory(pid: int, until: float, sizes: list[float]) -> None:
    """Megabytes each second."""
    while time.monotonic() < until:
        sizes.append(resident(pid))
        await asyncio.sleep(1)


async def load(url: str, pid: int, clients: int, seconds: float) -> dict[str, Any]:
    """The figures of one run."""
    limits = httpx.Limits(max_connections=clients + 2)
    async with httpx.AsyncClient(base_url=url, timeout=180, limits=limits) as http:
        upload = await http.post("/v1/uploads", files={"file": PHOTO.read_bytes()})
        photo = upload.json()["id"]
        for turn in (0, 2):  # the first painting and reading load what they need
            (await ask(turn, http, photo))[1].raise_for_status()
        seen: list[Answer] = []
        sizes: list[float] = []
        began = time.monotonic()
        until = began + seconds
        await asyncio.gather(
            watch_memory(pid, until, sizes), *(client(k, http, photo, until, seen) for k in range(clients))
        )
        took = time.monotonic() - began
        metrics = (await http.get("/metrics")).text
    batch = {name: float(re.search(rf"limner_batch_jobs_{name} (\S+)", metrics)[1]) for name in ("count", "sum")}  # type: ignore[index]
    return {
        **summarise(seen, took),
        "jobs in a batch, mean": batch["sum"] / max(1.0, batch["count"]),
        **memory([*sizes, resident(pid)]),
    }


def summarise(seen: list[Answer], seconds: float) -> dict[str, Any]:
    """Answers by status, their rate, and how long the good ones took."""
    good: dict[str, list[float]] = defaultdict(list)
    for answer in seen:
        if 200 <= answer.status < 400:
            good[answer.kind].append(answer.seconds)
    statuses = Counter(answer.status for answer in seen)
    by_kind: dict[str, dict[str, int]] = defaultdict(dict)
    for (kind, status), count in sorted(Counter((answer.kind, answer.status) for answer in seen).items()):
        by_kind[kind][str(status or "no answer")] = count
    return {
        "seconds": seconds,
        "answers": len(seen),
        "answers a second": len(seen) / seconds,
        "good answers a second": {kind: len(times) / seconds for kind, times in sorted(good.items())},
        "answers by status": {str(status or "no answer"): statuses[status] for status in sorted(statuses)},
        "answers by kind and status": dict(by_kind),
        "errors other than 429": sum(n for status, n in statuses.items() if status != 429 and not 200 <= status < 400),
        "seconds of good answers": {
            kind: {f"p{p}": float(np.percentile(times, p)) for p in PERCENTILES} for kind, times in sorted(good.items())
        },
    }


def memory(sizes: list[float]) -> dict[str, Any]:
    """Resident megabytes each second, at the start and the end, and whether they stay level."""
    third = max(1, len(sizes) // 3)
    ratio = statistics.mean(sizes[-third:]) / statistics.mean(sizes[third : 2 * third] or sizes)
    return {
        "resident megabytes": [round(size) for size in sizes],
        "resident megabytes at the start": round(sizes[0]),
        "resident megabytes at the end": round(sizes[-1]),
        "memory, last third over middle third": ratio,
        "memory flat": ratio < 1.05,
    }


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out", type=Path, default=Path("results/serving-load.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "limner",
            "serve",
            "--port",
            "0",
            "--folder",
            folder,
            "--queue",
            "16",
            "--preload",
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            found = re.search(r"http://[\d.:]+", process.stdout.readline())
            if found is None:
                raise SystemExit("the server did not start: run `limner serve` to see why")
            figures = asyncio.run(load(found[0], process.pid, given.clients, given.seconds))
        finally:
            process.terminate()
            process.wait(30)
    settings = {"clients": given.clients, "seconds": given.seconds, "queue": 16, "steps": 8}
    command_line = f"python benchmarks/serving_load.py --clients {given.clients} --seconds {given.seconds:g}"
    store_result(given.out, command_line, figures, None, settings)
    for name, value in figures.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
