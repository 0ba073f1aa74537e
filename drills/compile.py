"""`train.compile` changes speed, not numbers. Writes results/drill-compile.json.

    python drills/compile.py [--steps 8]

MDiTFace at a tiny size, trained eagerly, compiled, and compiled with recomputation: losses within 1e-4. A compiled run
that is stopped half-way and resumed has the weights of the whole one, to the byte. Needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from limner.evaluation.results import store_result

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from training.tiny_sets import losses, prepare, recipe, train_on


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("results/drill-compile.json"))
    given = parser.parse_args()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder) / "data")
        for name, extra in {
            "eager": {}, "compiled": {"compile": True}, "compiled, recomputed": {"compile": True, "recompute": True},
        }.items():  # fmt: skip
            made = recipe("mditface", steps=given.steps, validate_every=given.steps, accumulate=1, **extra)
            train_on(Path(folder) / "data", Path(folder) / name, made)
            if made.train.compile:
                again = Path(folder) / f"{name}, resumed"
                train_on(Path(folder) / "data", again, made, stop_after=given.steps // 2)
                train_on(Path(folder) / "data", again, made, resume=True)
                weights = [(place / "weights.safetensors").read_bytes() for place in (Path(folder) / name, again)]
                assert weights[0] == weights[1], f"{name}: resumed, it has other weights"
            found[name] = [loss for _, loss in losses(Path(folder) / name)]
    largest = {
        name: max(abs(a - b) for a, b in zip(found["eager"], other, strict=True)) for name, other in found.items()
    }
    assert max(largest.values()) < 1e-4, largest
    store_result(given.out, f"python drills/compile.py --steps {given.steps}", {"largest_difference": largest}, 0, {})
    print(json.dumps(largest, indent=2))


if __name__ == "__main__":
    main()
