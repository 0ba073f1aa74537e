"""A disk that fills up and is freed again while a server computes jobs. Writes results/drill-server-disk.json.

    sudo python drills/server_disk.py [--rounds 20]

The server's folder is a small file system in memory (tmpfs; mounting it needs root). In each round jobs are submitted,
and a ballast file fills the disk while they run. Until it is removed, uploads must be answered with 507 and a sentence,
and `/health` must answer. Then every job must end, done, with all of its pictures. At the end the server is killed in a
round and started again: what was done is there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2 as httpx

from limner.evaluation.results import store_result
from limner.faces.picture import read_picture
from running_server import Process, serving

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from mditface.parts import write_nano

MEGABYTES = 24
JOBS, PICTURES = 3, 4
PATIENCE = 120.0  # seconds for the jobs of a round after the disk has room again


def fill(folder: Path, free: int) -> Path:
    """A ballast file that leaves so many bytes free."""
    ballast = folder / "ballast"
    with open(ballast, "ab") as file:
        while (left := os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize) > free:
            file.write(bytes(min(left - free, 1 << 20)))
            file.flush()
    return ballast


def one_round(http: httpx.Client, folder: Path, number: int, photo: bytes, seen: Counter[str]) -> list[str]:
    """Jobs, a full disk, and room again. Returns the jobs."""
    draw = random.Random(number)
    jobs: list[str] = []
    for k in range(JOBS):
        asked = {"text": f"a man, {number} {k}", "n": PICTURES, "steps": 12 + k, "seed": number}
        answer = http.post("/v1/paint", json=asked)
        assert answer.status_code == 202, answer.text
        jobs.append(answer.json()["id"])
    time.sleep(draw.random())
    ballast = fill(folder, draw.choice([0, 4096, 40_960]))
    full_until = time.monotonic() + 1 + 3 * draw.random()
    while time.monotonic() < full_until:
        seen[f"health: {http.get('/health').raise_for_status().json()['status']}"] += 1
        answer = http.post("/v1/uploads", files={"file": photo})
        seen[f"upload: {answer.status_code}"] += 1
        assert answer.status_code in (201, 507), answer.text
        if answer.status_code == 507:
            assert "full" in answer.json()["error"]["message"]
        time.sleep(0.1)
    ballast.unlink()
    until = time.monotonic() + PATIENCE
    for job in jobs:
        while (state := http.get(f"/v1/jobs/{job}").json()["state"]) in ("queued", "running"):
            assert time.monotonic() < until, f"{job} is stuck: {state}"
            time.sleep(0.05)
        seen[f"jobs: {state}"] += 1
    assert http.get("/health").json()["status"] == "ok"
    return jobs


def check(server: Process, jobs: list[str]) -> int:
    """Every job is done, with pictures that can be read. Returns how many pictures there are."""
    count = 0
    with httpx.Client(base_url=server.url, timeout=600) as http:
        for job in jobs:
            found = http.get(f"/v1/jobs/{job}").json()
            assert found["state"] == "done" and len(found["pictures"]) == PICTURES, found
            for picture in found["pictures"]:
                assert read_picture(http.get(picture["url"]).content).shape == (64, 64, 3)
                count += 1
    return count


def drill(folder: Path, weights: str, log: Path, rounds: int) -> dict[str, Any]:
    """The figures of all rounds."""
    photo = Path(__file__).parents[1] / "src/limner/demo/photographs/face-10018.jpg"
    seen: Counter[str] = Counter()
    jobs: list[str] = []
    options = ("--source", weights, "--store-megabytes", "16")
    with serving(folder, log, *options) as server, httpx.Client(base_url=server.url, timeout=600) as http:
        for number in range(rounds):
            jobs += one_round(http, folder, number, photo.read_bytes(), seen)
            print(f"round {number + 1}: {dict(seen)}", flush=True)
        pictures = check(server, jobs)
    with serving(folder, log, *options) as server:
        assert check(server, jobs) == pictures
    return {
        "rounds": rounds,
        "jobs": len(jobs),
        "pictures": pictures,
        "lost or stuck": 0,
        "answers": dict(sorted(seen.items())),
    }


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("results/drill-server-disk.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "disk"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(folder)], check=True)
        try:
            figures = drill(folder, str(write_nano(Path(place))), Path(place) / "log", given.rounds)
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    settings = {"disk": f"tmpfs, {MEGABYTES} MiB", "painter": "tiny, random weights"}
    store_result(given.out, f"python drills/server_disk.py --rounds {given.rounds}", figures, None, settings)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
