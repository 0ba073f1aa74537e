"""Texts to vectors: what every text encoder gives, and the small one that is in the package.

B texts, T tokens, D width.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from limner.errors import InputError
from limner.weights.store import locate
from limner.weights.tensors import check_keys, load_tensors
from limner.words.bert import Bert, BertConfig, pool

LENGTH = 32  # tokens of a prompt in the nano models, the two marks around it included
_BATCH = 64


@dataclass(frozen=True)
class TextFeatures:
    """Encoded texts.

    tokens: (B, T, D) float32, zero where there is no token; mask: (B, T) bool, True where there is one;
    pooled: (B, D') float32, one vector for the whole text.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor


class TextEncoder(Protocol):
    """Anything that turns texts into TextFeatures. Frozen: no gradient, no hidden state."""

    @property
    def width(self) -> int:
        """D, the width of a token vector."""
        ...

    def encode(self, texts: Sequence[str], length: int | None = None) -> TextFeatures:
        """Encode texts; T is `length` (longer texts are cut, shorter ones padded), or the longest text's for None."""
        ...


class MiniLM:
    """all-MiniLM-L6-v2: token features are the last hidden states (D = 384), pooled is its sentence embedding."""

    def __init__(self, model: Bert, tokenizer_file: str | os.PathLike[str], device: str | torch.device = "cpu") -> None:
        from tokenizers import Tokenizer

        self.model = model.eval().requires_grad_(False).to(device)
        self._tokenizer = Tokenizer.from_file(os.fspath(tokenizer_file))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._limit = model.config.max_position_embeddings

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] = "minilm",
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> MiniLM:
        """From a registry name or a folder with model.safetensors and tokenizer.json.

        `dtype` is what it computes in (torch.float32 or torch.bfloat16); features are float32 in any case.
        Raises InputError when files are missing or belong to another model.
        """
        folder = Path(locate(source))
        tokenizer_file = folder / "tokenizer.json"
        if not tokenizer_file.is_file():
            raise InputError(f"{folder} holds no tokenizer.json: give a folder with it and model.safetensors")
        tensors, stored = load_tensors(folder / "model.safetensors")
        names = {field.name for field in fields(BertConfig)}
        with torch.device("meta"):
            model = Bert(BertConfig(**{key: value for key, value in stored.items() if key in names}))
        check_keys(tensors, model.state_dict(), where=str(folder / "model.safetensors"))
        model.load_state_dict({key: value.to(dtype) for key, value in tensors.items()}, assign=True)
        return cls(model, tokenizer_file, device)

    @property
    def width(self) -> int:
        """D = 384."""
        return self.model.config.hidden_size

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, the two marks around it included."""
        return [len(found.ids) for found in self._tokenizer.encode_batch(list(texts))]

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], length: int | None = LENGTH) -> TextFeatures:
        """Encode texts; see TextEncoder. A cut text keeps its end mark.

        Texts run in batches of similar length. Raises InputError for a `length` outside 2..512.
        """
        if length is not None and not 2 <= length <= self._limit:
            raise InputError(f"length {length} is outside 2..{self._limit} tokens: choose a length in that range")
        ids = [found.ids for found in self._tokenizer.encode_batch(list(texts))]
        cut = self._limit if length is None else length
        ids = [row if len(row) <= cut else [*row[: cut - 1], row[-1]] for row in ids]
        size = length or max((len(row) for row in ids), default=0)
        weight = self.model.embeddings.word_embeddings.weight
        tokens = torch.zeros(len(ids), size, self.width, device=weight.device)  # (B, T, D)
        mask = torch.zeros(len(ids), size, dtype=torch.bool, device=weight.device)  # (B, T)
        pooled = torch.zeros(len(ids), self.width, device=weight.device)  # (B, D)
        order = sorted(range(len(ids)), key=lambda k: len(ids[k]))
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            longest = max(len(ids[k]) for k in rows)
            batch = torch.zeros(len(rows), longest, dtype=torch.long)
            for row, k in enumerate(rows):
                batch[row, : len(ids[k])] = torch.tensor(ids[k])
            lengths = torch.tensor([len(ids[k]) for k in rows])
            present = (torch.arange(longest) < lengths[:, None]).to(weight.device)  # (b, t)
            found = self.model(batch.to(weight.device), present).float()  # (b, t, D)
            tokens[rows, :longest] = found * present.unsqueeze(-1)
            mask[rows, :longest] = present
            pooled[rows] = pool(found, present)
        return TextFeatures(tokens, mask, pooled)
