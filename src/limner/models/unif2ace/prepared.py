"""Faces made ready for training: codes, features and words as token ids, one safetensors file.

Legend: F faces, N image tokens, P captions of a face, Q questions of a face, W words of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.errors import InputError
from limner.weights.tensors import load_tensors, save_tensors

ABSENT = -1
"""Stands after the last word of a text, and for a caption or question a face lacks."""

NAMES = ("codes", "clip", "face", "captions", "questions", "answers", "validation")


def pad_texts(texts: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Token ids of several texts per face to (F, most texts, most words), ``ABSENT`` where there is nothing."""
    most, longest = max(len(t) for t in texts), max(len(words) for t in texts for words in t)
    out = torch.full((len(texts), most, max(longest, 1)), ABSENT)
    for face, several in enumerate(texts):
        for k, words in enumerate(several):
            out[face, k, : len(words)] = torch.tensor(list(words), dtype=torch.long)
    return out


def unpad(texts: Tensor) -> list[list[int]]:
    """(B, W) back to lists of token ids."""
    return [[word for word in row if word != ABSENT] for row in texts.tolist()]


class Prepared:
    """A prepared set. tensors: codes (F, N), clip (F, M, C), face (F, 1, C), captions (F, P, W), questions and answers
    (F, Q, W), validation (F,) bool: faces never trained on. header: what made them."""

    def __init__(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
        self.tensors, self.header = tensors, header

    @classmethod
    def open(cls, file: Path) -> Prepared:
        """Read a file; ``InputError`` if it is not a prepared set."""
        tensors, header = load_tensors(file)
        missing = [name for name in NAMES if name not in tensors]
        if missing:
            raise InputError(f"{file} is not a prepared set: it has no '{missing[0]}'")
        return cls(tensors, header)

    def save(self, file: Path) -> None:
        """Write the file, all or nothing; words take as many bits as they need."""
        small = {name: t.to(torch.int32) if t.dtype == torch.int64 else t for name, t in self.tensors.items()}
        save_tensors(file, small, self.header)

    def rows(self, validation: bool) -> np.ndarray:
        """Numbers of the faces of one part."""
        return np.flatnonzero(self.tensors["validation"].numpy() == validation)

    def batch(self, rows: np.ndarray, choices: np.ndarray) -> dict[str, Tensor]:
        """Faces, each with one caption and one question: ``choices`` (B,) modulo how many it has decides which."""
        index = torch.from_numpy(rows)
        picked = {name: self.tensors[name][index] for name in ("clip", "face")}
        picked["codes"] = self.tensors["codes"][index].long()
        for one, others in (("captions", ()), ("questions", ("answers",))):
            have = (self.tensors[one][index] != ABSENT).any(2).sum(1).clamp(min=1)  # (B,)
            which = torch.from_numpy(choices) % have
            for name in (one, *others):
                picked[name] = self.tensors[name][index, which].long()
        return picked
