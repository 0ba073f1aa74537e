"""From shards of pairs to a prepared set: factors, latents, and what each task leaves of a picture, computed once.

    python -m limner.models.facex.prepare PAIRS… --out FOLDER [--regions efficientnet | codec | clip --tower FOLDER …]
    torchrun --nproc-per-node 8 -m limner.models.facex.prepare …     # the same, by eight processes

A set of pairs is a built set (see `limner.data.shards`) in which a person has several rows. Faces are prepared a few at
a time, each portion into a shard of its own (`limner.data.preparing`).
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limner.codecs.continuous import KLCodec
from limner.data.pictures import fit
from limner.data.preparing import Portion, Share, device_of, join, portions, write_shards
from limner.data.tensor_shards import Shard, columns, finish, shard_file
from limner.errors import InputError
from limner.faces.image_tensors import to_model
from limner.faces.reconstruction import EXPRESSION
from limner.faces.topology import Topology
from limner.weights.tensors import opened

from .config import PRESETS, REGION_ENCODERS, ControlConfig
from .decompose import Decomposer
from .encoders import load_decomposer
from .masks import dilate, groups_of, part_mask
from .motion import motion_of
from .occlusion_fill import covered
from .pairs import FACTOR_ARRAYS, PARTS_SWAPPED, TASKS, PreparedPairSet
from .portrait import Portrait
from .reference import grey_head, mask_cells, with_hole

COLUMNS = ["person", "image", "regions", "landmarks", "expression", "gaze", "light"]
DILATIONS = {"head": (0.02, 0.1), "face": (0.02, 0.08), "person": (0.02, 0.15), "part": (0.02, 0.06), "hole": (0, 0.02)}
"""Shares of the side that a hole is grown by, drawn anew for each: so that its outline says little about the face."""


@dataclass(frozen=True, eq=False)
class Row:
    """What of a shard's row is needed."""

    portrait: Portrait
    person: str
    validation: bool


def read_rows(file: Path, split: str, start: int, stop: int, size: int) -> Iterator[Row]:
    """Faces of one file of a set of pairs, ``size`` pixels wide. Raises InputError for smaller pictures."""
    from limner.data.shards import read_range

    topology = Topology.load()
    for row in read_range(file, start, stop, COLUMNS):
        yield Row(portrait_of_row(row, size, topology), row["person"], split == "validation")


def portrait_of_row(row: dict[str, Any], size: int, topology: Topology) -> Portrait:
    """A row of a shard, which is aligned already, as a portrait of side ``size``."""
    picture, regions = fit(row, size)
    motion = motion_of(row["landmarks"], row["expression"], row["gaze"], topology)
    return Portrait(picture, regions, motion, row["light"], np.eye(2, 3))


def draw_hole(task: str, portrait: Portrait, random: np.random.Generator) -> tuple[np.ndarray, int]:
    """What a task paints in a picture, (S, S) bool, and the number of the part for task "part"."""
    side, part = portrait.size, 0
    if task == "hole":
        centre, radii = random.uniform(0.25, 0.75, 2) * side, random.uniform(0.08, 0.25, 2) * side
        rows, columns = np.mgrid[:side, :side]
        mask = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 <= 1
    elif task == "part":
        masks = [part_mask(portrait.regions, name) for name in PARTS_SWAPPED]
        there = [number for number, found in enumerate(masks) if found.any()] or [0]
        part = int(random.choice(there))
        mask = masks[part]
    else:
        mask = part_mask(portrait.regions, task)
    return dilate(mask, round(float(random.uniform(*DILATIONS[task])) * side)), part


def prepare(
    given: Sequence[Portion[Row]],
    out: Path,
    codec: KLCodec,
    decomposer: Decomposer,
    facts: dict[str, Any],
    batch: int = 8,
    seed: int = 0,
    share: Share = Share(),  # noqa: B008 (frozen)
    report: Callable[[int, int], None] = lambda done, total: None,
) -> PreparedPairSet | None:
    """Write a prepared set to ``out``; None from all processes but the first.

    given: of sets of pairs (``limner.data.preparing.portions``). facts: codec, encoders; goes into the header. Raises
    ``InputError`` if no person has two faces.
    """
    if not given:
        raise InputError("there are no faces in these sets: make pairs with `limner data pairs`")

    def make(rows: list[Row], first: int) -> tuple[dict[str, torch.Tensor], int]:
        return make_shard(rows, first, codec, decomposer, batch, seed), len(rows)

    counts = write_shards(given, out, make, {**facts, "seed": seed}, share, report)
    if not share.first:
        return None
    names = ("person", "validation")
    index = {name: np.concatenate([part.numpy() for part in columns(out, len(counts), name)]) for name in names}
    persons = len(np.unique(index["person"]))
    if persons == len(index["person"]):
        raise InputError("no person has two faces in these shards: make pairs with `limner data pairs`")
    with opened(shard_file(out, 0)) as handle:
        shard = Shard(handle)
        levels = [name for name in shard.names if name.startswith("level")]
        widths = [shard.shape(f"level{k}")[2 if decomposer.pooled else 1] for k in range(len(levels))]
        _, tokens, width = shard.shape("identity")
    sizes = {"persons": persons, "level_widths": widths, "pooled": decomposer.pooled}
    sizes |= {"identity_tokens": tokens, "identity_width": width, "tasks": list(TASKS)}
    finish(out, {**facts, **sizes}, counts, index)
    return PreparedPairSet.open(out)


def make_shard(
    rows: Sequence[Row], first: int, codec: KLCodec, decomposer: Decomposer, batch: int, seed: int
) -> dict[str, torch.Tensor]:
    """The tensors of one shard (see `pairs`). first: number of its first row in the set, which decides its holes."""
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(rows), batch):
        for name, value in _encode(list(rows[start : start + batch]), first + start, codec, decomposer, seed).items():
            parts.setdefault(name, []).append(value)
    tensors = {name: torch.from_numpy(np.concatenate(several)) for name, several in parts.items()}
    tensors["person"] = torch.tensor([_number(row.person) for row in rows])
    tensors["validation"] = torch.tensor([row.validation for row in rows])
    return tensors


def _number(person: str) -> int:
    """A number that stands for a person; of 1 M people two share one with a chance of 1 in 10 M."""
    return int.from_bytes(hashlib.sha256(person.encode()).digest()[:8], "big", signed=True)


@torch.no_grad()
def _encode(group: list[Row], first: int, codec: KLCodec, decomposer: Decomposer, seed: int) -> dict[str, np.ndarray]:
    """All arrays of a few rows but for whose they are."""
    portraits = [row.portrait for row in group]
    pictures = np.stack([portrait.picture for portrait in portraits])
    holes, parts = np.zeros((len(TASKS), *pictures.shape[:3]), bool), np.zeros(len(group), np.uint8)
    for number, portrait in enumerate(portraits):
        for k, task in enumerate(TASKS):
            random = np.random.default_rng([seed, first + number, k])
            holes[k, number], part = draw_hole(task, portrait, random)
            parts[number] = part if task == "part" else parts[number]
    made = {"latents": _latents(codec, pictures), "parts": parts}
    made["structure"] = _latents(codec, np.stack([grey_head(p.picture, p.regions) for p in portraits]))
    made["reference"] = np.stack([_latents(codec, with_hole(pictures, hole)) for hole in holes], 1)
    made["masks"] = np.stack([mask_cells(hole, codec.factor)[:, 0].numpy().astype(np.uint8) for hole in holes], 1)
    maps = groups_of(np.stack([portrait.regions for portrait in portraits]))
    made["hidden"] = np.stack([covered(hole, map) for hole, map in zip(holes[TASKS.index("hole")], maps, strict=True)])
    factors = decomposer.decompose(portraits)
    small = {name: getattr(factors, name).numpy() for name in FACTOR_ARRAYS}
    made |= small | {"identity": small["identity"].astype(np.float16)}
    return made | {f"level{k}": level.numpy().astype(np.float16) for k, level in enumerate(factors.levels)}


def _latents(codec: KLCodec, pictures: np.ndarray) -> np.ndarray:
    device = next(codec.parameters()).device
    return codec.encode(to_model(pictures).to(device)).half().cpu().numpy()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="python -m limner.models.facex.prepare", description=__doc__)
    parser.add_argument("pairs", nargs="+", type=Path, help="folders of shards in which a person has several rows")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--codec", default="kl-codec-nano", help="registry name or folder of a codec")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures the base paints")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="nano", help="identity encoder to start from")
    parser.add_argument("--regions", choices=REGION_ENCODERS, help="encoder of region textures; default: the preset's")
    parser.add_argument("--tower", help="folder of the vision transformer, for clip, dino, farl and mae")
    parser.add_argument("--identity", help="ArcFace's weights, for the preset full")
    parser.add_argument("--motion", help="D3DFR-style regressor (.safetensors, .onnx); default: Limner's own measures")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    given = parser.parse_args(arguments)
    preset = dict(PRESETS[given.preset])
    regions = given.regions or preset.get("region_encoder", ControlConfig().region_encoder)
    pooled = regions in ("efficientnet", "codec")
    motion = {"motion_encoder": "d3dfr", "expression": EXPRESSION} if given.motion else {}
    config = ControlConfig(**{**preset, "region_encoder": regions, "adapter_width": 0 if pooled else 256, **motion})

    def report(done: int, total: int) -> None:
        print(f"\rshards {done}/{total}", end="" if done < total else "\n", file=sys.stderr, flush=True)

    with join() as share:
        device = device_of(given.device)
        codec = KLCodec.load(given.codec).to(device)
        facts = {
            "codec": given.codec,
            "size": given.size,
            "region_encoder": regions,
            "identity_encoder": config.identity_encoder,
            "motion_encoder": config.motion_encoder,
        }
        silent = lambda done, total: None  # noqa: E731
        prepare(
            portions(given.pairs, partial(read_rows, size=given.size)),
            given.out,
            codec,
            load_decomposer(config, codec, given.identity, given.tower, device, given.motion),
            facts,
            share=share,
            report=report if share.first else silent,
        )


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
