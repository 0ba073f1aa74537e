"""Checking a checkpoint's parts in order: files, number types, sizes, hashes, a forward pass."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch

from limner.errors import InputError
from limner.weights.registry import hash_file
from limner.weights.shards import Shards

from .parts import Part

FLOATS = {"F64", "F32", "F16", "BF16"}


@dataclass(kw_only=True)
class Finding:
    """What was found of one part. `problem` is None where all is as expected, else one line."""

    checkpoint: str
    part: str
    problem: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    """Weight file to the first 16 hex digits of its sha256, or "" where hashes were not asked for."""
    gigabytes: float = 0.0
    parameters: int = 0
    types: dict[str, int] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    """Of the forward pass."""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


def examine(
    checkpoint: str,
    part: Part,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    hashes: bool = True,
    any_size: bool = False,
) -> Finding:
    """Check one part of a checkpoint in `folder`; what is wrong stands in the finding, the first thing of it.

    hashes: read every weight file once for its sha256. any_size: accept other sizes and number types than the published
    ones, for checkpoints of one's own in the same layout.
    """
    found = Finding(checkpoint=checkpoint, part=part.name)
    began = time.perf_counter()
    try:
        shards = _files(part, folder, found, hashes)
        _types(part, shards, found, any_size)
        _sizes(part, shards, found, folder, any_size)
        found.figures = part.forward(folder, device, dtype)
    except (InputError, ValueError) as error:
        found.problem = str(error).splitlines()[0]
    found.seconds = round(time.perf_counter() - began, 2)
    return found


def _files(part: Part, folder: Path, found: Finding, hashes: bool) -> Shards:
    place = folder / part.name
    if not place.is_dir():
        raise InputError(f"{place} is missing")
    if part.name != "." and not (place / "config.json").is_file():
        raise InputError(f"{place / 'config.json'} is missing")
    present = [name for name in part.weights if (place / name).is_file() or (place / f"{name}.index.json").is_file()]
    if not present:
        raise InputError(f"{place} holds no {' or '.join(part.weights)}")
    shards = Shards(place, present[0])
    for file in shards.files():
        found.files[f"{part.name}/{file.name}".removeprefix("./")] = hash_file(file)[:16] if hashes else ""
    found.gigabytes = round(sum(file.stat().st_size for file in shards.files()) / 1e9, 3)
    return shards


def _types(part: Part, shards: Shards, found: Finding, any_size: bool) -> None:
    found.types = shards.types()
    floats = {kind for kind in found.types if kind in FLOATS}
    unknown = {kind for kind in found.types if kind not in FLOATS and not kind.startswith(("I", "U", "BOOL"))}
    allowed = FLOATS if any_size else set(part.types)
    if wrong := sorted(unknown | (floats - allowed)):
        raise InputError(
            f"{part.name}: tensors are stored as {', '.join(wrong)}; the published ones as {' or '.join(part.types)}"
        )


def _sizes(part: Part, shards: Shards, found: Finding, folder: Path, any_size: bool) -> None:
    shapes = {name: shards.shape(name) for name in shards.names() if shards.type_of(name) in FLOATS}
    found.parameters = sum(prod(shape) for shape in shapes.values())
    for name, shape in (part.names(folder) if part.names is not None else {}).items():
        if name not in shapes:
            raise InputError(f"{part.name}: tensor '{name}' is missing")
        if shapes[name] != shape:
            raise InputError(f"{part.name}: tensor '{name}' is {list(shapes[name])}, config.json says {list(shape)}")
    if not any_size and part.parameters is not None and found.parameters != part.parameters:
        raise InputError(
            f"{part.name}: {found.parameters:,} parameters; the published checkpoint has {part.parameters:,}"
        )
