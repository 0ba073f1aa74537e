"""Show-o's pickled checkpoints, and its MAGVIT-v2's → safetensors beside them, which is all that limner reads.

    python tools/convert/showo.py FOLDER… [--half]

Each FOLDER holds a `pytorch_model.bin`, as showlab publishes them; its tensors, names and all, become
`model.safetensors`. The pickle is read with torch's `weights_only`, which runs no code.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from limner.errors import InputError
from limner.weights.tensors import save_tensors

PICKLED, WRITTEN = "pytorch_model.bin", "model.safetensors"


def convert(folder: Path, half: bool = False) -> Path:
    """Write a folder's checkpoint as safetensors, in float16 if ``half``; returns the file.

    ``InputError`` where there is none, and for a pickle of anything but tensors by name.
    """
    file = folder / PICKLED
    if not file.is_file():
        raise InputError(f"{folder} holds no {PICKLED}: give the folder of a published checkpoint")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise InputError(f"{file} is no pickle of tensors alone: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{file} holds more than tensors by name: save the model's state_dict alone")
    save_tensors(folder / WRITTEN, state, {}, dtype=torch.float16 if half else None)
    return folder / WRITTEN


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
