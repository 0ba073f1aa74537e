"""The same recipe twice gives the same bytes. Writes results/drill-reproducible.json.

    python drills/reproducible.py [--steps 20]

MDiTFace and UniF²ace at nano size on random faces, each trained twice in processes of their own, and a third time
stopped half-way and resumed: the exported weights and every file of the last checkpoint are compared by their sha256.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from limner.evaluation.results import store_result
from limner.training.checkpoint import find_checkpoints
from limner.weights.registry import hash_file

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from training import tiny_sets

KINDS = ("mditface", "unif2ace")


def prepare(folder: Path) -> None:
    """Random faces in the nano models' own sizes."""
    texts = [[list(range(2 + f, 20 + f))] for f in range(12)]
    sizes = {"codebook": 4096, "image_tokens": 256}
    tiny_sets.write_codes(folder / "unif2ace", sizes, clip=(49, 320), face=(1, 128), texts=texts)
    tiny_sets.write_latents(folder / "mditface", latents=(32, 16, 16), tokens=(32, 384))


def train_once(data: str, run: str, kind: str, steps: int, stop: int) -> None:
    """In a process of its own: train, in one go (stop 0) or going on from a stop after so many steps."""
    made = tiny_sets.config(kind, steps=steps, validate_every=steps, precision="bf16", accumulate=1, batch_size=4)
    made = made.model_copy(update={"task": {key: v for key, v in made.task.items() if key != "model"}})
    if stop:
        tiny_sets.train_on(Path(data), Path(run), made, stop_after=stop)
    tiny_sets.train_on(Path(data), Path(run), made, resume=bool(stop))


def hashes(run: Path) -> dict[str, str]:
    """sha256 of what must be equal."""
    last = find_checkpoints(run / "checkpoints")[-1].path
    return {file.name: hash_file(file) for file in [run / "weights.safetensors", *sorted(last.glob("*.safetensors"))]}


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("results/drill-reproducible.json"))
    given = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        for kind in KINDS:
            for name, stop in (("whole", 0), ("again", 0), ("resumed", given.steps // 2)):
                arguments = [folder, f"{folder}/{kind}-{name}", kind, given.steps, stop]
                script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import reproducible; "
                subprocess.run([sys.executable, "-c", script + f"reproducible.train_once(*{arguments!r})"], check=True)
            found = [hashes(Path(folder) / f"{kind}-{name}") for name in ("whole", "again", "resumed")]
            assert found[0] == found[1] == found[2], f"{kind}: {found}"
            figures[kind] = {"files": len(found[0]), "weights_sha256": found[0]["weights.safetensors"][:16]}
    store_result(given.out, f"python drills/reproducible.py --steps {given.steps}", figures, 0, {"threads": 1})
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
