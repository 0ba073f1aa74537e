"""What keeping freed memory saves: training steps of UniF²ace nano with and without, in processes that take turns.

python benchmarks/freed_memory.py [--rounds 4] [--steps 6]
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from limner.evaluation.results import store_result
from limner.models.unif2ace.config import NANO
from limner.models.unif2ace.transformer import UniF2aceTransformer
from limner.training.memory import keep_freed_memory
from unif2ace_speed import training_step

WAYS = ("kept", "given back")


def measure(way: str, steps: int, batch: int) -> float:
    """Median seconds of a step in this process, after two that are not counted."""
    if way == "kept":
        keep_freed_memory()
    model = UniF2aceTransformer(NANO).initialise(torch.Generator().manual_seed(0))
    seconds = []
    for _ in range(steps + 2):
        began = time.perf_counter()
        training_step(model, batch)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[2:]))


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--way", choices=WAYS, help="measure one way in this process, and print it")
    parser.add_argument("--out", type=Path, default=Path("results/freed-memory.json"))
    given = parser.parse_args()
    if given.way:
        print(measure(given.way, given.steps, given.batch))
        return
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(given.rounds):
        for way in WAYS:
            words = [sys.executable, __file__, "--way", way, "--steps", str(given.steps), "--batch", str(given.batch)]
            seconds[way].append(float(subprocess.run(words, capture_output=True, check=True).stdout))
    medians = {way: float(np.median(found)) for way, found in seconds.items()}
    figures = {"seconds": medians, "ratio": medians["given back"] / medians["kept"]}
    settings = {name: getattr(given, name) for name in ("rounds", "steps", "batch")}
    command = shlex.join(["python", "benchmarks/freed_memory.py", *sys.argv[1:]])
    print(store_result(given.out, command, figures, 0, settings)["figures"])


if __name__ == "__main__":
    main()
