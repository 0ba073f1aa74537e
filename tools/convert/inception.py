"""InceptionV3's weights for FID → safetensors.

    python tools/convert/inception.py [weights-inception-2015-12-05-6726825d.pth] --out inception.safetensors

Without a file the one in torch.hub's cache is taken, where torch-fidelity and torchmetrics put it. It is
torch-fidelity's conversion of the TensorFlow Inception of 2015-12-05 (Apache-2.0); pytorch-fid's serves too. The pickle
is read with torch's `weights_only`, which runs no code.
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

NAME = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{NAME}"


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


def cached() -> Path:
    """The published file in torch.hub's cache. Raises InputError where it is not."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / NAME
    if not file.is_file():
        raise InputError(f"{file} is not there: download it from {URL}, or name the file")
    return file


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="default: in torch.hub's cache")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    convert(given.file or cached(), given.out)
    print(f"{given.out}: {given.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
