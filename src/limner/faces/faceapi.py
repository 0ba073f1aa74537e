"""Weights of the face-api networks: eight bits a value, as published, with a scale and an offset a tensor."""

from __future__ import annotations

import os

from torch import Tensor

from limner.errors import InputError
from limner.weights.store import locate
from limner.weights.tensors import load_tensors

# What the networks take off the channels of an RGB picture in 0..255 before they divide it by 255.
CHANNEL_MEANS = (122.782, 117.001, 104.298)


def load_affine(source: str) -> dict[str, Tensor]:
    """Tensors of a registry entry or file, float32: value = uint8 * scale + offset where the config has a pair for
    them.

    Raises InputError when a pair is missing for an eight-bit tensor.
    """
    path = locate(source)
    tensors, config = load_tensors(path if path.is_file() else os.path.join(path, "model.safetensors"))
    pairs = config.get("quantisation", {})
    for key, value in tensors.items():
        if not value.is_floating_point() and key not in pairs:
            raise InputError(f"{path}: tensor '{key}' has eight bits but no scale; fetch the file again")
    return {key: value * pairs[key][0] + pairs[key][1] if key in pairs else value for key, value in tensors.items()}
