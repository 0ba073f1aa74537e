"""Peak memory of preparing and training by the number of faces; writes results/prepare-memory.json.

    python benchmarks/prepare_memory.py [--faces 1000 10000 100000]

The faces are synthetic rows of a built set with pictures of 64 pixels, and small functions stand in for the networks
(codec, text encoder, CLIP, ArcFace), so that what is measured is the machinery: reading the set, writing shards, the
index, the order of an epoch, and batches. Each figure is the peak resident memory of a process of its own (the
libraries included). Training is 40 steps with batches of 16 and a tiny model, from the shards, on random places of
the epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limner.cli.train import make_task
from limner.data.preparing import portions
from limner.data.shards import FIELDS, write_shard
from limner.evaluation.results import store_result
from limner.faces.expression import EXPRESSION_NAMES
from limner.faces.picture import encode_png

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from facex.tiny import write_nano_base
from training.tiny_sets import FACEX, MDITFACE, UNIF2ACE

SYSTEMS = ("mditface", "unif2ace", "facex")
SIDE, FILE, STEPS, BATCH = 64, 1024, 40, 16
GRID = (4, 4, 4)  # latents of a 64-pixel picture
CLIP, FACE = (4, 6), (2, 5)


def write_set(folder: Path, faces: int) -> None:
    """A built set of so many faces, two of a person; every twentieth file is for validation."""
    random = np.random.default_rng(0)
    regions = np.zeros((SIDE, SIDE), np.uint8)
    regions[8:56, 8:56] = 1
    blank = {
        "image": {"bytes": encode_png(random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)), "path": None},
        "regions": {"bytes": encode_png(regions), "path": None},
        "landmarks": random.uniform(0, 256, 468 * 3).astype(np.float32),
        "expression": random.random(len(EXPRESSION_NAMES)).astype(np.float32),
        "gaze": np.zeros(2, np.float32),
        "light": np.zeros(27, np.float32),
        "attributes": [],
    }
    row = {**dict.fromkeys(name for name, _ in FIELDS), **blank}
    asked = {"kind": "yes/no", "about": "smile", "value": "yes"}
    for number, start in enumerate(range(0, faces, FILE)):
        split = "validation" if number % 20 == 1 or faces <= FILE else "train"
        count = min(FILE, faces - start)
        rows = [
            {
                **row,
                "id": f"{start + k}",
                "person": f"{(start + k) // 2}",
                "split": split,
                "captions": [f"A long caption of face number {start + k}, and another clause about it."],
                "prompts": [f"face {start + k}", f"a face, number {start + k}"],
                "questions": [{"question": f"Is {start + k} happy?", "answer": "Yes.", **asked}],
            }
            for k in range(count)
        ]
        if faces <= FILE:  # one file is not enough for two splits
            write_shard(folder / "data" / "train-00000.parquet", rows[: count * 9 // 10], {})
            rows = rows[count * 9 // 10 :]
        write_shard(folder / "data" / f"{split}-{number:05d}.parquet", rows, {})
    (folder / "manifest.json").write_text("{}")


class Codec(torch.nn.Module):
    """Means of blocks for latents, or their signs for codes."""

    factor = 16

    def __init__(self, codes: bool = False) -> None:
        super().__init__()
        self.codes, self.weight = codes, torch.nn.Parameter(torch.zeros(1))

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        means = torch.nn.functional.adaptive_avg_pool2d(pictures, 3 if self.codes else GRID[1])
        if self.codes:
            codes = (means[:, 0].flatten(1) * 7 + torch.arange(9) + 7).long() % 16
            codes[:, 0] = 15  # so that the codebook has sixteen
            return codes
        return torch.cat([means, means.mean(1, keepdim=True)], 1)


class Features:
    """The same numbers for every picture."""

    def __init__(self, tokens: int, width: int) -> None:
        self.tokens, self.width = tokens, width

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(pictures), self.tokens, self.width)


class Words:
    """A text encoder: a token a word."""

    width = 12

    def encode(self, texts: Any, length: int | None = None) -> Any:
        from limner.words.encoder import TextFeatures

        counts = torch.tensor([min(len(text.split()), length or 5) for text in texts])
        mask = torch.arange(length or 5)[None] < counts[:, None]
        tokens = torch.rand(len(texts), length or 5, self.width) * mask[:, :, None]
        return TextFeatures(tokens, mask, tokens.mean(1))


class Factors:
    """A decomposer without networks."""

    pooled = True

    def decompose(self, portraits: Any) -> Any:
        from limner.models.facex import decompose
        from limner.models.facex.masks import GROUPS, groups_of
        from limner.models.facex.motion import EXPRESSION

        count = len(portraits)
        maps = torch.from_numpy(np.stack([groups_of(portrait.regions) for portrait in portraits]))
        shapes = (2, 6), (EXPRESSION,), (6,), (2,), (27,)
        drawn = [torch.rand(count, *shape) for shape in shapes]
        levels = (torch.rand(count, len(GROUPS), 3),)
        return decompose.Factors(drawn[0], levels, decompose.shrink_groups(maps), *drawn[1:])


def prepare(system: str, folder: Path, out: Path) -> None:
    """Prepare the set in a folder for one system."""
    if system == "mditface":
        from limner.models.mditface import prepare as room

        makers = room.Makers(Codec(), Words(), text_length=5, captions=2, mirror=False)
        load = partial(room.read_faces, size=SIDE)
        room.prepare(portions([folder], load), out, makers, {"codec": "none"})
    elif system == "unif2ace":
        from limner.models.unif2ace import prepare as room
        from limner.models.unif2ace.tokenizer import Tokenizer

        codec: Any = Codec(codes=True)
        makers = room.PrepareModels(codec, Features(*CLIP), Features(*FACE), Tokenizer.load())
        room.prepare(portions([folder], partial(room.read_faces, mirror=False, size=SIDE)), out, makers, {})
    else:
        from limner.models.facex import prepare as room

        facts = {"codec": "none", "identity_encoder": "face-identity", "region_encoder": "codec"}
        cut = portions([folder], partial(room.read_rows, size=SIDE))
        room.prepare(cut, out, Codec(), Factors(), facts)  # type: ignore[arg-type]


def train(system: str, data: Path) -> None:
    """Some steps from a prepared set, at random places of the first epochs."""
    os.environ["LIMNER_DATA"] = str(data)
    settings: dict[str, Any] = {
        "mditface": {"kind": "mditface", "data": "prepared-mditface", "model": MDITFACE},
        "unif2ace": {"kind": "unif2ace", "data": "prepared-unif2ace", "model": UNIF2ACE},
        "facex": {"kind": "facex", "data": "prepared-facex", "base": "base", **FACEX},
    }[system]
    task = make_task(settings, BATCH, 0)
    model = task.build()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-3)
    for step in np.random.default_rng(0).integers(0, max(1, 2 * len(task.train) // BATCH), STEPS).tolist():
        loss, _ = task.loss(model, task.batch(step), torch.Generator().manual_seed(step), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def child(system: str, stage: str, data: Path) -> None:
    """One stage in this process; prints its peak memory in MB and its seconds."""
    torch.set_num_threads(1)
    began = time.monotonic()
    prepare(system, data / "set", data / f"prepared-{system}") if stage == "prepare" else train(system, data)
    # not getrusage: its peak is never below that of the process that started this one
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    print(json.dumps({"peak_mb": round(peak, 1), "seconds": round(time.monotonic() - began, 1)}))


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--out", type=Path, default=Path("results/prepare-memory.json"))
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return child(given.child[0], given.child[1], Path(given.child[2]))
    # systems and counts may be measured one after another
    figures: dict[str, Any] = json.loads(given.out.read_text("utf-8"))["figures"] if given.out.is_file() else {}
    for faces in given.faces:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            write_set(folder / "set", faces)
            write_nano_base(folder / "base")
            for system in given.systems:
                for stage in ("prepare", "train"):
                    command = [sys.executable, __file__, "--child", system, stage, str(folder)]
                    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                    figures.setdefault(system, {}).setdefault(stage, {})[str(faces)] = json.loads(said)
                    print(system, stage, faces, said.strip(), flush=True)
                    settings = {"steps": STEPS, "batch": BATCH, "pixels": SIDE}
                    store_result(given.out, "python benchmarks/prepare_memory.py", figures, 0, settings)


if __name__ == "__main__":
    main()
