"""A disk that fills up while a checkpoint is saved. Writes results/drill-disk.json.

    sudo python drills/disk.py [--cases 40]

A run lives on a small file system in memory (tmpfs; mounting it needs root). A ballast file leaves ever other room,
so that the failure falls into the log, into each file of the checkpoint, and into its marker. Each time the run must
end with one clear line, the old checkpoint must still load, and with the ballast gone the run must go on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from limner.errors import InputError
from limner.evaluation.results import store_result
from limner.training.checkpoint import find_checkpoints
from limner.training.loop import train

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from training.tiny import TinyTask, config

PAGE = 4096


def fill(folder: Path, pages: int) -> Path:
    """A ballast file that leaves `pages` pages free."""
    ballast = folder / "ballast"
    stats = os.statvfs(folder)
    free = stats.f_bavail * stats.f_frsize // PAGE
    with open(ballast, "wb") as file:
        file.write(bytes(max(0, free - pages) * PAGE))
    return ballast


def drill(folder: Path, cases: int) -> dict[str, Any]:
    """Each case leaves another number of free pages."""
    run, failures, reached = folder / "run", Counter[str](), 2
    train(TinyTask(), config(steps=100_000, validate_every=10_000, sample_every=10_000), run, stop_after=reached)
    made = config(steps=100_000, validate_every=10_000, sample_every=10_000)
    for case in range(cases):
        ballast = fill(folder, case % 20)
        before = find_checkpoints(run / "checkpoints")[-1]
        try:
            train(TinyTask(), made, run, resume=True, stop_after=reached + 1)
        except InputError as error:
            assert "disk is full" in str(error) and "\n" not in str(error), error
            failures[str(error).removeprefix(f"cannot write {folder}/run/").partition(":")[0]] += 1
            kept = find_checkpoints(run / "checkpoints")
            assert kept and kept[-1].step >= before.step, "the old checkpoint is gone"
            for file in kept[-1].path.glob("*.safetensors"):
                load_file(file)
        ballast.unlink()
        train(TinyTask(), made, run, resume=True, stop_after=reached + 2)
        reached += 2
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, reached + 1)), "the log does not hold every step once"
    named = Counter({("a checkpoint" if "step-" in name else name): 0 for name in failures})
    for name, count in failures.items():
        named["a checkpoint" if "step-" in name else name] += count
    return {"cases": cases, "failed_with_one_line": sum(failures.values()), "where": dict(named)}


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("results/drill-disk.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
        try:
            figures = drill(Path(folder), given.cases)
        finally:
            subprocess.run(["umount", folder], check=True)
    store_result(given.out, f"python drills/disk.py --cases {given.cases}", figures, None, {"disk": "tmpfs, 2 MiB"})
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
