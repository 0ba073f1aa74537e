"""How much memory everyday commands take at their peak; writes results/everyday-memory.json.

    python benchmarks/everyday_memory.py

Each command runs once in a new process, whose largest resident set the kernel tells; how busy the machine is does not
matter.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import limner
from limner.evaluation.results import store_result

PHOTO = Path(limner.__file__).parent / "demo" / "photographs" / "astronaut.jpg"
WORDS = "a smiling woman with grey hair and glasses"


def peak_gigabytes(*words: str) -> float:
    """Of a whole command in a new process."""
    process = subprocess.Popen([sys.executable, "-m", "limner", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"limner {' '.join(words)} ended with {process.returncode}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/everyday-memory.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "limner --help": peak_gigabytes("--help"),
            "limner read PHOTO": peak_gigabytes("read", str(PHOTO)),
            "limner paint WORDS": peak_gigabytes("paint", WORDS, "--out", f"{folder}/one.png"),
            "limner paint WORDS --like PHOTO": peak_gigabytes(
                "paint", WORDS, "--like", str(PHOTO), "--out", f"{folder}/two.png"
            ),
        }
    store_result(given.out, "python benchmarks/everyday_memory.py", {"peak gigabytes": figures}, None,
                 {"photograph": PHOTO.name, "steps": 28})  # fmt: skip
    for name, gigabytes in figures.items():
        print(f"{gigabytes:6.2f} GB  {name}")


if __name__ == "__main__":
    main()
