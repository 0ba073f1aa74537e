"""Pickled checkpoints → safetensors beside them, which is all that limner reads: Show-o, MAGVIT-v2, CLIP, Phi.

    python tools/convert/showo.py FOLDER… [--half]

Each FOLDER holds a `pytorch_model.bin`, as showlab and OpenAI publish them, or its shards and their index; the tensors,
names and all, become `model.safetensors`, which transformers reads too. A folder that has `pytorch_model.safetensors`
needs no conversion. Pickles are read with torch's `weights_only`, which runs no code.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from limner.errors import InputError
from limner.files import atomic_write
from limner.weights.tensors import write_tensors

PICKLED, WRITTEN = "pytorch_model.bin", "model.safetensors"


def convert(folder: Path, half: bool = False) -> Path:
    """Write a folder's checkpoint as safetensors, in float16 if ``half``; returns the file.

    ``InputError`` where there is none, and for a pickle of anything but tensors by name.
    """
    state: dict[str, torch.Tensor] = {}
    for file in _files(folder):
        state |= _read(file)
    ready = {}
    for name, tensor in state.items():
        shrunk = tensor.half() if half and tensor.is_floating_point() else tensor
        ready[name] = shrunk.clone(memory_format=torch.contiguous_format)  # shared storage is written once each
    with atomic_write(folder / WRITTEN) as temporary:
        write_tensors(temporary, ready, {"format": "pt"})  # what transformers asks for
    return folder / WRITTEN


def _files(folder: Path) -> list[Path]:
    """The pickle, or its shards."""
    index = folder / f"{PICKLED}.index.json"
    names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values())) if index.is_file() else [PICKLED]
    for name in names:
        if not (folder / name).is_file():
            raise InputError(f"{folder} holds no {name}: give the folder of a published checkpoint")
    return [folder / name for name in names]


def _read(file: Path) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise InputError(f"{file} is no pickle of tensors alone: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{file} holds more than tensors by name: save the model's state_dict alone")
    return state


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--half", action="store_true", help="in float16, half the size")
    given = parser.parse_args(arguments)
    for folder in given.folders:
        file = convert(folder, given.half)
        print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
