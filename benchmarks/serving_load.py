"""Many clients at one server on this machine for a while; writes results/serving-load.json.

    python benchmarks/serving_load.py [--clients 32] [--seconds 60]

Starts `limner serve` on loopback with a queue of 16, then each client asks again as soon as it is answered: two thirds
paint (8 steps, waiting for the end), the others read a photograph, look at a job, or ask for health. What was answered
with which status, how long answers took, and the server's resident memory each second are kept. Memory is called flat
if the last third of the run stays within 5 % of the middle third.
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
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2 as httpx

import limner
from limner.evaluation.results import store_result

PHOTO = Path(limner.__file__).parent / "demo" / "photographs" / "face-10018.jpg"


Seen = list[tuple[str, int, float]]  # what was asked, status, seconds


async def client(
    number: int, http: httpx.AsyncClient, photo: str, until: float, seen: list[tuple[str, int, float]]
) -> None:
    """Ask, and ask again; after a 429 wait as long as it says, at most a second."""
    turn = number
    while time.monotonic() < until:
        turn += 1
        began = time.monotonic()
        if turn % 3 < 2:
            kind, asked = "paint", {"text": f"a person, number {turn}", "steps": 8, "seed": turn}
            answer = await http.post("/v1/paint", params={"wait": 60}, json=asked)
        elif turn % 6 == 2:
            kind, answer = "faces", await http.post("/v1/faces", json={"photo": photo})
        else:
            kind, answer = "health", await http.get("/health")
        seen.append((kind, answer.status_code, time.monotonic() - began))
        if answer.status_code == 429:
            await asyncio.sleep(1)


async def resident(pid: int, until: float, sizes: list[float]) -> None:
    """Megabytes each second."""
    while time.monotonic() < until:
        text = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", text)
        sizes.append(int(found[1]) / 1000 if found else 0.0)
        await asyncio.sleep(1)


async def load(url: str, pid: int, clients: int, seconds: float) -> dict[str, Any]:
    """The figures of one run."""
    limits = httpx.Limits(max_connections=clients + 2)
    async with httpx.AsyncClient(base_url=url, timeout=180, limits=limits) as http:
        upload = await http.post("/v1/uploads", files={"file": PHOTO.read_bytes()})
        photo = upload.json()["id"]
        await http.post("/v1/faces", json={"photo": photo})
        await http.post("/v1/paint", params={"wait": 60}, json={"text": "a person", "steps": 8})
        seen: Seen = []
        sizes: list[float] = []
        until = time.monotonic() + seconds
        await asyncio.gather(
            resident(pid, until, sizes), *(client(k, http, photo, until, seen) for k in range(clients))
        )
        metrics = (await http.get("/metrics")).text
    third = max(1, len(sizes) // 3)
    middle, last = statistics.mean(sizes[third : 2 * third]), statistics.mean(sizes[-third:])
    batch = {name: float(re.search(rf"limner_batch_jobs_{name} (\S+)", metrics)[1]) for name in ("count", "sum")}  # type: ignore[index]
    kinds = sorted({kind for kind, _, _ in seen})
    return {
        "answers": {
            kind: {str(s): n for s, n in sorted(Counter(s for k, s, _ in seen if k == kind).items())} for kind in kinds
        },
        "errors other than 429": sum(1 for _, status, _ in seen if status >= 400 and status != 429),
        "seconds, median": {
            kind: statistics.median([t for k, status, t in seen if k == kind and status < 400] or [0]) for kind in kinds
        },
        "seconds, longest": {kind: max([t for k, s, t in seen if k == kind and s < 400] or [0]) for kind in kinds},
        "jobs in a batch, mean": batch["sum"] / max(1.0, batch["count"]),
        "resident megabytes": [round(size) for size in sizes],
        "memory, last third over middle third": last / middle,
        "memory flat": last / middle < 1.05,
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
