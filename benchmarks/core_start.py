"""How large an installation is and how long its commands take to start; writes results/core-start.json.

    python benchmarks/core_start.py VENV [--label after] [--rounds 5]

VENV: a virtual environment with Limner installed in it (`pip install -c constraints.txt .`), not editable. Sizes are of
its files in megabytes (2^20 bytes), compiled files (`__pycache__`) apart. Times are those of whole commands in a new
process, on one thread: the least wall-clock time of the rounds, and the least processor time, which other programs on
the machine disturb less. Figures under other labels in the file are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import limner
from limner.evaluation.results import store_result

PHOTO = Path(limner.__file__).parent / "demo" / "photographs" / "astronaut.jpg"
LARGEST = 12  # packages listed
MB = 1 << 20


def sizes(venv: Path) -> dict[str, object]:
    """Megabytes of everything, of compiled files, and of the largest packages without them."""
    compiled, total, packages = 0, 0, {}
    (site,) = venv.glob("lib/python*/site-packages")
    for file in venv.rglob("*"):
        if file.is_symlink() or not file.is_file():
            continue
        size = file.stat().st_size
        total += size
        if "__pycache__" in file.parts:
            compiled += size
        elif site in file.parents:
            name = file.relative_to(site).parts[0]
            packages[name] = packages.get(name, 0) + size
    largest = sorted(packages.items(), key=lambda item: -item[1])[:LARGEST]
    return {
        "MB": round(total / MB),
        "MB compiled": round(compiled / MB),
        "MB by package": {name: round(size / MB) for name, size in largest},
    }


def seconds(venv: Path, words: list[str], rounds: int) -> dict[str, float]:
    """Least wall-clock and processor seconds of one command."""
    walls, processors = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(
                [venv / "bin" / "python", "-m", "limner", *words], check=True, capture_output=True, cwd=folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
            )  # fmt: skip
            walls.append(time.perf_counter() - began)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            processors.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"wall": min(walls), "processor": min(processors)}


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("venv", type=Path)
    parser.add_argument("--label", default="after")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/core-start.json"))
    given = parser.parse_args()
    commands = {
        "limner --help": ["--help"],
        "limner read PHOTO": ["read", str(PHOTO)],
        "limner paint WORDS": ["paint", "a smiling woman with grey hair and glasses"],
    }
    figures = json.loads(given.out.read_text())["figures"] if given.out.is_file() else {}
    figures[given.label] = {
        **sizes(given.venv),
        "seconds": {name: seconds(given.venv, words, given.rounds) for name, words in commands.items()},
    }
    command = f"python benchmarks/core_start.py VENV --label {given.label} --rounds {given.rounds}"
    result = store_result(given.out, command, figures, 0, {"photograph": PHOTO.name, "threads": 1})
    print(json.dumps(result["figures"][given.label], indent=2))


if __name__ == "__main__":
    main()
