"""Many large pictures at once: uploads and thumbnails. Writes results/drill-server-flood.json.

    python drills/server_flood.py [--clients 64]

A PNG of 6,300 x 6,300 pixels is a file of some 150 KB and hundreds of megabytes decoded. As many clients as are asked
for upload it, and as many others ask for thumbnails of such pictures, at the same moment, each until it is served (429
means: later). Meanwhile `/health` is asked all the time. Bars: peak memory of the server at most 2.5 GB, health
within half a second, memory given back at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import tempfile
import time
from collections import Counter
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import httpx2 as httpx
from PIL import Image

from limner.evaluation.results import store_result
from running_server import Process, serving

SIDE = 6300
MOST_MEGABYTES, MOST_SECONDS = 2500, 0.5
STORED = 8  # pictures that thumbnails are asked of, while others are uploaded
SIDES = ("64", "128", "256", "512")
AGAIN = 5.0  # seconds, up to twice that, before a client that was told to come later asks again


def large_picture() -> bytes:
    """A PNG that is small as a file."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


async def until_taken(ask: Any, seen: Counter[str], kind: str) -> httpx.Response:
    """Ask until the answer is not 429."""
    while True:
        answer = await ask()
        seen[f"{kind}: {answer.status_code}"] += 1
        if answer.status_code != 429:
            return answer
        assert "Retry-After" in answer.headers
        await asyncio.sleep(AGAIN * (1 + random.random()))


def watch(url: str, done: Event, times: Connection) -> None:
    """Ask for health until the end; in a process of its own, so that the clients' own work does not count."""
    found = []
    with httpx.Client(base_url=url, timeout=60) as http:
        while not done.is_set():
            began = time.perf_counter()
            http.get("/health").raise_for_status()
            found.append(time.perf_counter() - began)
            time.sleep(0.05)
    times.send(found)


async def flood(server: Process, clients: int) -> dict[str, Any]:
    """The figures."""
    file, seen = large_picture(), Counter[str]()
    limits = httpx.Limits(max_connections=2 * clients + 8)
    here, there = Pipe(duplex=False)
    done = get_context("spawn").Event()
    watcher = get_context("spawn").Process(target=watch, args=(server.url, done, there))
    watcher.start()
    async with httpx.AsyncClient(base_url=server.url, timeout=900, limits=limits) as http:
        before = server.memory()
        began = time.monotonic()

        def upload() -> Any:
            return http.post("/v1/uploads", files={"file": file})

        stored = [(await until_taken(upload, Counter(), "")).json()["id"] for _ in range(STORED)]
        wanted = [(stored[k % STORED], SIDES[k // STORED % len(SIDES)]) for k in range(clients)]

        def thumbnail(picture: str, side: str) -> Any:
            return lambda: http.get(f"/v1/pictures/{picture}", params={"side": side})

        answers = await asyncio.gather(
            *(until_taken(upload, seen, "upload") for _ in range(clients)),
            *(until_taken(thumbnail(*each), seen, "thumbnail") for each in wanted),
        )
        assert all(answer.status_code in (200, 201) for answer in answers)
        took = time.monotonic() - began
        again = time.monotonic()
        await asyncio.gather(*(until_taken(thumbnail(*each), seen, "thumbnail, again") for each in wanted))
        cached = time.monotonic() - again
        await asyncio.sleep(3)
    done.set()
    times = here.recv()
    watcher.join()
    return {
        "file bytes": len(file),
        "answers": dict(sorted(seen.items())),
        "seconds": took,
        "seconds of all thumbnails, asked again": cached,
        "megabytes before": before,
        "megabytes at the peak": server.memory("VmHWM"),
        "megabytes after": server.memory(),
        "health, seconds at most": max(times),
        "health, median seconds": sorted(times)[len(times) // 2],
        "health, times asked": len(times),
    }


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("results/drill-server-flood.json"))
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as place,
        serving(Path(place) / "jobs", Path(place) / "log", "--preload") as server,
    ):
        figures = asyncio.run(flood(server, given.clients))
    print(json.dumps(figures, indent=2))
    settings = {"clients": given.clients, "side": SIDE, "engines": "reader and painter loaded"}
    store_result(given.out, f"python drills/server_flood.py --clients {given.clients}", figures, None, settings)
    assert figures["megabytes at the peak"] <= MOST_MEGABYTES, "too much memory"
    assert figures["health, seconds at most"] <= MOST_SECONDS, "health answered too late"


if __name__ == "__main__":
    main()
