"""LPIPS (AlexNet, version 0.1) → one safetensors file, for training codecs and for measuring. Not embedded.

    pip download --no-deps lpips==0.1.4
    python tools/convert/lpips_alex.py lpips-0.1.4-py3-none-any.whl alexnet-owt-7be5be79.pth lpips-alex.safetensors
    export LIMNER_LPIPS=lpips-alex.safetensors

The second file is torchvision's AlexNet (BSD-3), which `lpips` fetches at its first use; the heads are BSD-2. The
pickles are read once, here, as plain tensors; never in the package.
"""

from __future__ import annotations

import io
import sys
import zipfile

import torch

from limner.weights.tensors import save_tensors

INSIDE = "lpips/weights/v0.1/alex.pth"
CONVOLUTIONS = (0, 3, 6, 8, 10)  # where torchvision keeps them among AlexNet's features


def heads(wheel: str) -> dict[str, torch.Tensor]:
    """The five linear heads, (1, C, 1, 1) each."""
    with zipfile.ZipFile(wheel) as archive:
        state = torch.load(io.BytesIO(archive.read(INSIDE)), weights_only=True, map_location="cpu")
    return {f"heads.{index}.weight": state[f"lin{index}.model.1.weight"] for index in range(5)}


def convolutions(alexnet: str) -> dict[str, torch.Tensor]:
    """Weights and biases of AlexNet's five convolutions."""
    state = torch.load(alexnet, weights_only=True, map_location="cpu")
    return {
        f"features.{index}.{name}": state[f"features.{place}.{name}"]
        for index, place in enumerate(CONVOLUTIONS)
        for name in ("weight", "bias")
    }


if __name__ == "__main__":
    wheel, alexnet, target = sys.argv[1:]
    save_tensors(target, heads(wheel) | convolutions(alexnet), {"model": "lpips-alex-0.1", "input": "RGB in [-1, 1]"})
