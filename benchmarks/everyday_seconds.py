"""How long everyday things take on this machine; writes results/everyday-seconds.json.

    python benchmarks/everyday_seconds.py [--rounds 5]

Warm times are medians over rounds of one process, of reading a photograph, painting one picture and four at 28 guided
steps, and decoding one picture. Cold times are whole commands in a new process. Next to them stands the speed of a
1,536² bfloat16 matrix product in the same run, for comparing machines.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import limner
from limner.evaluation.results import store_result
from limner.training.throughput import matmul_peak

PHOTO = Path(limner.__file__).parent / "demo" / "photographs" / "astronaut.jpg"
WORDS = "a smiling woman with grey hair and glasses"


def median_seconds(work: Callable[[], object], rounds: int) -> float:
    """After one run that does not count."""
    work()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def cold_seconds(*words: str) -> float:
    """A whole command in a new process, once."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "limner", *words], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/everyday-seconds.json"))
    given = parser.parse_args()
    model = limner.load("nano")
    faces = model.read(PHOTO)
    codec, latents = model.painter.components.codec, torch.randn(1, 32, 16, 16)
    with tempfile.TemporaryDirectory() as folder:
        cold = {
            "limner --help": cold_seconds("--help"),
            "limner read PHOTO": cold_seconds("read", str(PHOTO)),
            "limner paint WORDS": cold_seconds("paint", WORDS, "--out", f"{folder}/one.png"),
            "limner paint WORDS --like PHOTO": cold_seconds(
                "paint", WORDS, "--like", str(PHOTO), "--out", f"{folder}/two.png"
            ),
        }
    with torch.inference_mode():
        decode = median_seconds(lambda: codec.decode(latents), given.rounds)
    warm = {
        "read a photograph of one face": median_seconds(lambda: model.read(PHOTO), given.rounds),
        "paint one picture from words and mask": median_seconds(
            lambda: model.paint(WORDS, mask=faces[0]), given.rounds
        ),
        "paint one picture from words": median_seconds(lambda: model.paint(WORDS), given.rounds),
        "paint four pictures from words and mask": median_seconds(
            lambda: model.paint(WORDS, mask=faces[0], n=4), given.rounds
        ),
        "decode one picture": decode,
    }
    figures = {
        "warm seconds": warm,
        "cold seconds": cold,
        "matmul_gflops_bf16": matmul_peak(torch.device("cpu"), torch.bfloat16) / 1e9,
        "painter": model.painter.why,
    }
    command = f"python benchmarks/everyday_seconds.py --rounds {given.rounds}"
    result = store_result(given.out, command, figures, 0, {"photograph": PHOTO.name, "steps": 28})
    for kind in ("warm seconds", "cold seconds"):
        for name, seconds in result["figures"][kind].items():
            print(f"{kind.split()[0]:5} {seconds:7.3f} s  {name}")


if __name__ == "__main__":
    main()
