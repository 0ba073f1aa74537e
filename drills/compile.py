"""`train.compile` changes speed, not numbers. Writes results/drill-compile.json.

    python drills/compile.py [--steps 8]

The three systems at tiny sizes, trained eagerly, compiled, and compiled with recomputation: losses within 1e-4. The
last of these, stopped half-way and resumed, has the weights of the whole one, to the byte. Nothing may be recompiled so
often that PyTorch gives up and runs it eagerly. Needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch._dynamo

from limner.evaluation.results import store_result
from limner.training.checkpoint import find_checkpoints

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from training.tiny_sets import config, losses, prepare, train_on


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("results/drill-compile.json"))
    given = parser.parse_args()
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    largest: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder / "data")
        for kind in ("mditface", "facex", "unif2ace"):
            torch._dynamo.reset()
            found: dict[str, list[float]] = {}
            for name, extra in {
                "eager": {}, "compiled": {"compile": True},
                "compiled, recomputed": {"compile": True, "recompute": True},
            }.items():  # fmt: skip
                made = config(kind, steps=given.steps, validate_every=given.steps, accumulate=1, **extra)
                whole = folder / kind / name
                train_on(folder / "data", whole, made)
                found[name] = [loss for _, loss in losses(whole)]
                largest[f"{kind}, {name}"] = max(abs(a - b) for a, b in zip(found["eager"], found[name], strict=True))
            again = folder / kind / "resumed"
            train_on(folder / "data", again, made, stop_after=given.steps // 2)
            train_on(folder / "data", again, made, resume=True)
            weights = [
                (find_checkpoints(run / "checkpoints")[-1].path / "model.safetensors").read_bytes()
                for run in (whole, again)
            ]
            assert weights[0] == weights[1], f"{kind}: resumed, it has other weights"
            print(largest, flush=True)
    assert max(largest.values()) < 1e-4, largest
    store_result(given.out, f"python drills/compile.py --steps {given.steps}", {"largest_difference": largest}, 0, {})
    print(json.dumps(largest, indent=2))


if __name__ == "__main__":
    main()
