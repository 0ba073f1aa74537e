"""The features of the empty prompt, beside a prepared set: what stands in for dropped words of models that have learned
no stand-in of their own, such as FLUX.1."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from limner.errors import InputError
from limner.weights.tensors import load_tensors, save_tensors
from limner.words.encoder import TextEncoder

FILE = "empty_prompt.safetensors"


class EmptyPrompt(NamedTuple):
    """Text tokens (T, D) and the pooled vector (D',) of no words."""

    tokens: Tensor
    pooled: Tensor


def write_empty_prompt(folder: Path, encoder: TextEncoder, length: int) -> None:
    """Encode no words as the set's captions are encoded, and keep them in its folder."""
    with torch.no_grad():
        found = encoder.encode([""], length)
    tensors = {"tokens": found.tokens[0].cpu(), "pooled": found.pooled[0].cpu()}
    save_tensors(folder / FILE, tensors, {"length": length})


def read_empty_prompt(folder: Path) -> EmptyPrompt:
    """Inverse of `write_empty_prompt`; InputError for a set that was prepared without."""
    if not (folder / FILE).is_file():
        raise InputError(
            f"{folder} holds no features of the empty prompt, which dropping words needs: prepare it again"
        )
    tensors, _ = load_tensors(folder / FILE)
    return EmptyPrompt(tensors["tokens"], tensors["pooled"])
