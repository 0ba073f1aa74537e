"""InceptionV3's weights for FID → safetensors.

    python tools/convert/inception.py weights-inception-2015-12-05-6726825d.pth --out inception.safetensors

The file is torch-fidelity's or pytorch-fid's conversion of the TensorFlow Inception of 2015-12-05 (Apache-2.0). The
pickle is read with torch's `weights_only`, which runs no code.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from limner.errors import InputError
from limner.evaluation.inception import Inception
from limner.weights.tensors import check_keys, save_tensors


def convert(file: Path, out: Path) -> None:
    """Write the network's tensors to `out`. Raises InputError for a file of another network."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, FileNotFoundError) as error:
        raise InputError(f"{file} is no pickle of tensors alone: {str(error).splitlines()[0]}") from error
    with torch.device("meta"):
        wanted = Inception().state_dict()
    for name, tensor in wanted.items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, torch.zeros(tensor.shape, dtype=tensor.dtype))
    check_keys(state, wanted, where=str(file))
    save_tensors(out, state, {"source": file.name})


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    convert(given.file, given.out)
    print(f"{given.out}: {given.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
