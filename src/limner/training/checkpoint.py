"""Checkpoints that survive `kill -9` at any moment.

A checkpoint is a folder `step-00001234/` of safetensors plus `state.json`. It is written under a temporary name, every
file is flushed to disk, the marker `complete.json` (sizes of all files) is written last, and then the folder is
renamed. Readers trust only folders whose marker matches; older ones go only when two good ones exist.

Weights, averages and moments are three files; where the model lies in pieces (FSDP), they are in the folder `pieces/`
instead, written by all processes. Either kind can be read by any number of processes.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from limner.errors import InputError
from limner.files import make_folder, writing
from limner.training.optimizer import Optimizers
from limner.training.ranks import ALONE, Ranks
from limner.training.sharded_checkpoint import (
    PIECES,
    read_checkpoint_shards,
    read_whole,
    spread,
    stored,
    write_checkpoint_shards,
)
from limner.weights.tensors import write_tensors

MARKER = "complete.json"
KEEP = 2
UNFINISHED = ".writing-"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where a good checkpoint lies and the step it was taken after."""

    path: Path
    step: int


def save_checkpoint(
    root: Path,
    step: int,
    model: nn.Module,
    average: dict[str, Tensor],
    optimizers: Optimizers,
    extra: dict[str, Any],
    ranks: Ranks = ALONE,
    leave_out: frozenset[str] = frozenset(),
) -> Checkpoint:
    """Write everything a run needs to go on exactly: weights, averages, optimiser moments, all random states.

    `extra` must be JSON-able. `leave_out`: weights that whoever reads the checkpoint has already. Keeps the newest two
    checkpoints of `root`. All processes of a run call this; those that hold nothing of their own only wait.
    """
    final = root / f"step-{step:08d}"
    temporary = root / f"{UNFINISHED}{final.name}"
    moments, plain = _flatten(optimizers.state_dicts())
    weights = _without(model.state_dict(), leave_out)
    tables = {"model": weights, "average": _without(average, leave_out), "optimizer": moments}
    if ranks.first:
        make_folder(root)
        with writing(final):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
    in_pieces = any(isinstance(value, DTensor) for value in weights.values())
    if in_pieces:
        ranks.wait()  # for the folder
        write_checkpoint_shards(
            temporary / PIECES, {f"{t}.{name}": v.detach() for t, table in tables.items() for name, v in table.items()}
        )
        ranks.wait()  # for everyone's pieces
    if ranks.first:
        state = {"step": step, "groups": plain, "python": random.getstate(), "numpy": _numpy_state(), **extra}
        with writing(final):
            for table, tensors in {} if in_pieces else tables.items():
                write_tensors(temporary / f"{table}.safetensors", _contiguous(tensors))
            write_tensors(temporary / "random.safetensors", _torch_states())
            (temporary / "state.json").write_text(json.dumps(state))
            _seal(temporary, final)
        for old in find_checkpoints(root)[:-KEEP]:
            shutil.rmtree(old.path)
    ranks.wait()
    return Checkpoint(path=final, step=step)


def _seal(temporary: Path, final: Path) -> None:
    """Flush every file, write the marker, take the final name."""
    sizes = {}
    for file in sorted(path for path in temporary.rglob("*") if path.is_file()):
        sizes[file.relative_to(temporary).as_posix()] = file.stat().st_size
        _flush(file)
    (temporary / MARKER).write_text(json.dumps(sizes))
    _flush(temporary / MARKER)
    _flush(temporary)
    if final.exists():
        shutil.rmtree(final)
    os.replace(temporary, final)
    _flush(final.parent)


def find_checkpoints(root: Path) -> list[Checkpoint]:
    """All complete checkpoints below `root`, oldest first; half-written ones are passed over.

    So is one that the run it belongs to removes while this looks at it.
    """
    found = []
    for path in sorted(root.glob("step-*")) if root.is_dir() else []:
        try:
            sizes = json.loads((path / MARKER).read_text())
            whole = all((path / name).stat().st_size == size for name, size in sizes.items())
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            continue
        if whole:
            found.append(Checkpoint(path=path, step=int(path.name.removeprefix("step-"))))
    return found


def load_checkpoint(
    checkpoint: Checkpoint, model: nn.Module, optimizers: Optimizers, leave_out: frozenset[str] = frozenset()
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Restore `model`, `optimizers` and the global random states; returns (averages, state).

    Whole or in pieces, as the model lies now; how it lay when the checkpoint was made does not matter. Raises
    InputError when the checkpoint belongs to another architecture.
    """
    weights = _without(model.state_dict(), leave_out)
    _check_architecture(checkpoint, weights)
    state = json.loads((checkpoint.path / "state.json").read_text())
    owners = [parameter for part in optimizers.parts for parameter in _parameters(part)]
    firsts = list(itertools.accumulate((len(_parameters(part)) for part in optimizers.parts), initial=0))

    def owner(name: str) -> Tensor:
        """The weight whose layout a stored tensor has."""
        table, key = name.split(".", 1)
        if table != "optimizer":
            return weights[key]
        part, index, _ = key.split(".")
        return owners[firsts[int(part)] + int(index)]

    if (checkpoint.path / PIECES).is_dir():
        found: dict[str, Tensor] = {}
        for name, (size, dtype) in stored(checkpoint.path / PIECES).items():
            like = owner(name).detach()
            found[name] = torch.zeros_like(like) if like.shape == size else torch.zeros(size, dtype=dtype)
        read_checkpoint_shards(checkpoint.path / PIECES, found)
    else:
        found = {
            f"{table}.{key}": value
            for table in ("model", "average", "optimizer")
            for key, value in load_file(checkpoint.path / f"{table}.safetensors").items()
        }
        found = {
            name: spread(value, owner(name)) if owner(name).shape == value.shape else value
            for name, value in found.items()
        }
    tables: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for name, value in found.items():
        table, key = name.split(".", 1)
        tables[table][key] = value
    model.load_state_dict(tables["model"], strict=not leave_out)
    optimizers.load_state_dicts(_restore(tables["optimizer"], state["groups"]))
    _set_torch_states(load_file(checkpoint.path / "random.safetensors"))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    return tables["average"], state


def load_ema(checkpoint: Checkpoint, model: nn.Module, leave_out: frozenset[str] = frozenset()) -> None:
    """Fill `model`, which lies whole in this process or on the meta device, with a checkpoint's averaged weights.

    What is left out stays as it is; on the meta device it stays empty, which is enough to export what was trained.
    """
    _check_architecture(checkpoint, _without(model.state_dict(), leave_out))
    pieces = checkpoint.path / PIECES
    tensors = read_whole(pieces, "average.") if pieces.is_dir() else load_file(checkpoint.path / "average.safetensors")
    on_meta = any(parameter.is_meta for parameter in model.parameters())
    model.load_state_dict(tensors, strict=not leave_out, assign=on_meta)


def _without(table: dict[str, Tensor], names: frozenset[str]) -> dict[str, Tensor]:
    return {name: value for name, value in table.items() if name not in names}


def _check_architecture(checkpoint: Checkpoint, expected: dict[str, Tensor]) -> None:
    """Raise InputError when names or shapes of the weights are not those of `expected`."""
    if (checkpoint.path / PIECES).is_dir():
        shapes = {name: tuple(size) for name, (size, _) in stored(checkpoint.path / PIECES).items()}
        found = {name.removeprefix("model."): shape for name, shape in shapes.items() if name.startswith("model.")}
    else:
        with safe_open(checkpoint.path / "model.safetensors", framework="pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    for key in sorted(expected.keys() | found.keys()):
        if key not in found or key not in expected or found[key] != tuple(expected[key].shape):
            raise InputError(
                f"{checkpoint.path} was made by another architecture (first difference: {key}); "
                "use the config it was made with, or start a new run with --run"
            )


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def clear_unfinished(root: Path) -> None:
    """Remove what processes that were killed in the middle of a save left below `root`."""
    for folder in root.glob(f"{UNFINISHED}*"):
        shutil.rmtree(folder)


def _torch_states() -> dict[str, Tensor]:
    """PyTorch's random states: `torch` of the CPU and, where there are GPUs, `cuda.0`, `cuda.1`, …"""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), **{f"cuda.{index}": state for index, state in enumerate(gpus)}}


def _set_torch_states(states: dict[str, Tensor]) -> None:
    """The inverse of `_torch_states`; states of GPUs that this machine does not have are passed over."""
    torch.set_rng_state(states["torch"])
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if f"cuda.{index}" in states:
            torch.cuda.set_rng_state(states[f"cuda.{index}"], index)


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().contiguous().clone() for key, value in tensors.items()}


def _numpy_state() -> list[Any]:
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return [kind, np.asarray(keys).tolist(), position, has_gauss, cached]


def _flatten(states: list[dict[str, Any]]) -> tuple[dict[str, Tensor], list[Any]]:
    """Tensors by part, parameter and name; and the groups' plain settings."""
    moments: dict[str, Tensor] = {}
    for part, state in enumerate(states):
        for index, entry in state["state"].items():
            for name, value in entry.items():
                moments[f"{part}.{index}.{name}"] = torch.as_tensor(value).detach()
    return moments, [state["param_groups"] for state in states]


def _restore(moments: dict[str, Tensor], groups: list[Any]) -> list[dict[str, Any]]:
    states: list[dict[str, Any]] = [{"state": {}, "param_groups": plain} for plain in groups]
    for key, value in moments.items():
        part, index, name = key.split(".", 2)
        states[int(part)]["state"].setdefault(int(index), {})[name] = value
    return states


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
