"""Checkpoints that survive `kill -9` at any moment.

A checkpoint is a folder `step-00001234/` of safetensors plus `state.json`. It is written under a temporary name, every
file is flushed to disk, the marker `complete.json` (sizes of all files) is written last, and then the folder is
renamed. Readers trust only folders whose marker matches; older ones go only when two good ones exist.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from limner.errors import InputError
from limner.files import make_folder, writing
from limner.training.optimizer import Optimizers
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
) -> Checkpoint:
    """Write everything a run needs to go on exactly: weights, averages, optimiser moments, all random states.

    `extra` must be JSON-able. Keeps the newest two checkpoints of `root`.
    """
    make_folder(root)
    final = root / f"step-{step:08d}"
    with writing(final):
        temporary = root / f"{UNFINISHED}{os.getpid()}-{final.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        moments, plain = _flatten(optimizers.state_dicts())
        write_tensors(temporary / "model.safetensors", _contiguous(model.state_dict()))
        write_tensors(temporary / "average.safetensors", _contiguous(average))
        write_tensors(temporary / "optimizer.safetensors", moments)
        write_tensors(temporary / "random.safetensors", _torch_states())
        state = {"step": step, "groups": plain, "python": random.getstate(), "numpy": _numpy_state(), **extra}
        (temporary / "state.json").write_text(json.dumps(state))
        sizes = {}
        for file in sorted(temporary.iterdir()):
            sizes[file.name] = file.stat().st_size
            _flush(file)
        (temporary / MARKER).write_text(json.dumps(sizes))
        _flush(temporary / MARKER)
        _flush(temporary)
        if final.exists():
            shutil.rmtree(final)
        os.replace(temporary, final)
        _flush(root)
    for old in find_checkpoints(root)[:-KEEP]:
        shutil.rmtree(old.path)
    return Checkpoint(path=final, step=step)


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
    checkpoint: Checkpoint, model: nn.Module, optimizers: Optimizers
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Restore `model`, `optimizers` and the global random states; returns (averages, state).

    Raises InputError when the checkpoint belongs to another architecture.
    """
    weights = load_file(checkpoint.path / "model.safetensors")
    expected = model.state_dict()
    for key in sorted(expected.keys() | weights.keys()):
        if key not in weights or key not in expected or weights[key].shape != expected[key].shape:
            raise InputError(
                f"{checkpoint.path} was made by another architecture (first difference: {key}); "
                "use the recipe it was made with, or start a new run folder with --run"
            )
    model.load_state_dict(weights)
    state = json.loads((checkpoint.path / "state.json").read_text())
    moments = load_file(checkpoint.path / "optimizer.safetensors")
    optimizers.load_state_dicts(_restore(moments, state["groups"]))
    _set_torch_states(load_file(checkpoint.path / "random.safetensors"))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    return load_file(checkpoint.path / "average.safetensors"), state


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
                moments[f"{part}.{index}.{name}"] = torch.as_tensor(value).detach().contiguous().clone()
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
