"""Two and four processes against one, at 50 steps, with every strategy. Writes results/drill-ranks.json.

    python drills/ranks.py [--steps 50]

The three systems at tiny sizes over gloo: the largest difference of any step's loss to that of one process, relative
where the loss is above 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from limner.evaluation.results import store_result

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from training import crew
from training.tiny_sets import config, losses, prepare, train_on


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("results/drill-ranks.json"))
    given = parser.parse_args()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder / "data")
        for kind in ("unif2ace", "mditface", "facex"):
            train_on(folder / "data", folder / kind, config(kind, steps=given.steps))
            for strategy in ("ddp", "fsdp"):
                for world in (2, 4):
                    name = f"{kind} {strategy} {world}"
                    made = config(kind, strategy=strategy, recompute=world == 2, steps=given.steps)
                    errors = crew.run(world, train_on, folder / "data", folder / name, made,
                                      folder=folder / f"{name} errors", seconds=7200)  # fmt: skip
                    assert errors == [""] * world, errors
                    pairs = zip(losses(folder / kind), losses(folder / name), strict=True)
                    found[name] = max(abs(a - b) / max(1, abs(a)) for (_, a), (_, b) in pairs)
                    print(name, found[name], flush=True)
    assert max(found.values()) < 1e-5, found
    store_result(given.out, f"python drills/ranks.py --steps {given.steps}", {"largest_loss_difference": found}, 0, {})


if __name__ == "__main__":
    main()
