"""Faces made ready for training: codes, features and words as token ids, one safetensors file.

Legend: F faces, N image tokens, T turns of a conversation, W words of the longest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.errors import InputError
from limner.weights.tensors import load_tensors, save_tensors

FILE = "set.safetensors"

ABSENT = -1
"""Stands after the last word of a text, and for a text a face lacks."""

TEXTS = ("captions", "prompts", "questions", "answers")
SHOWN = {"shown_captions": "captions", "shown_prompts": "prompts"}
"""Texts about what the codes show; a set may lack them, and then faces are painted by the others."""
FOILS = ("foiled", "foils")
"""True prompts and their foils, one each (words/foils.py); a set may lack them, and a face may have none."""
NAMES = ("codes", "clip", "face", *TEXTS, "ask_long", "ask_short", "validation")


def pad_texts(texts: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Token ids of several texts per face to (F, most texts, most words), ``ABSENT`` where there is nothing."""
    most, longest = max(len(t) for t in texts), max((len(words) for t in texts for words in t), default=1)
    out = np.full((len(texts), most, max(longest, 1)), ABSENT, np.int32)
    for face, several in enumerate(texts):
        for k, words in enumerate(several):
            out[face, k, : len(words)] = words
    return torch.from_numpy(out)


def unpad(texts: Tensor) -> list[list[int]]:
    """(B, W) back to lists of token ids."""
    return [[word for word in row if word != ABSENT] for row in texts.tolist()]


def unpad_turns(questions: Tensor, answers: Tensor) -> list[list[tuple[list[int], list[int]]]]:
    """(B, T, W) each back to conversations; turns that a face lacks are left out."""
    return [
        [(q, a) for q, a in zip(unpad(asked), unpad(said), strict=True) if q]
        for asked, said in zip(questions, answers, strict=True)
    ]


class Prepared:
    """A prepared set. tensors: codes (F, N), clip (F, M, C), face (F, 1, C); captions, prompts, questions and answers
    (F, how many, W), shown_captions, shown_prompts, foiled and foils likewise where the set has them; ask_long,
    ask_short (how many, W): requests that captions and prompts answer; validation (F,) bool: faces never trained on;
    weights (F,): how often each is painted where rare looks are to be learnt too. header: what made them, and under
    ``model`` the sizes a model of them must have."""

    def __init__(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        self.tensors, self.header = dict(tensors), dict(header)
        texts = [name for name in (*TEXTS, *SHOWN, *FOILS) if name in self.tensors]
        self._counts = {name: (self.tensors[name] != ABSENT).any(2).sum(1).numpy() for name in texts}  # (F,) each

    @classmethod
    def open(cls, place: Path) -> Prepared:
        """Read a file, or the folder that ``prepare`` wrote; ``InputError`` if it is not a prepared set."""
        file = place / FILE if place.is_dir() else place
        tensors, header = load_tensors(file)
        missing = [name for name in NAMES if name not in tensors]
        if missing:
            raise InputError(f"{file} is not a prepared set: it has no '{missing[0]}'; prepare the set again")
        return cls(tensors, header)

    def save(self, file: Path) -> None:
        """Write the file, all or nothing."""
        save_tensors(file, self.tensors, self.header)

    def rows(self, validation: bool) -> np.ndarray:
        """Numbers of the faces of one part."""
        return np.flatnonzero(self.tensors["validation"].numpy() == validation)

    def chances(self, rows: np.ndarray) -> np.ndarray:
        """Probabilities of these faces by their weights, (len(rows),); ``InputError`` for a set without weights."""
        if "weights" not in self.tensors:
            raise InputError("this set does not say how rare its faces are: prepare it again, or leave out balanced")
        weights = self.tensors["weights"].numpy()[rows].astype(np.float64)
        return weights / weights.sum()

    def batch(
        self,
        rows: np.ndarray,
        rng: np.random.Generator,
        long: bool,
        turns: int = 1,
        painted: np.ndarray | None = None,
    ) -> dict[str, Tensor]:
        """Faces, each with a conversation of ``turns`` questions, and as many with one text to paint them from, under
        ``painted`` and ``texts``: the same faces, or those named; ``rng`` decides which words.

        long: texts are captions, and one turn asks for a caption; otherwise they are prompts, and one turn in four asks
        for a sentence. (A batch is of one kind, because then short texts wait for no long ones.)
        """
        index = torch.from_numpy(rows)
        picked = {name: self.tensors[name][index].float() for name in ("clip", "face")}
        picked["codes"] = self.tensors["codes"][index].long()
        texts, request = ("captions", "ask_long") if long else ("prompts", "ask_short")
        shown = rows if painted is None else painted
        picked["painted"] = self.tensors["codes"][torch.from_numpy(shown)].long()
        painted_by = f"shown_{texts}" if f"shown_{texts}" in self.tensors else texts
        picked["texts"] = self._drawn(painted_by, shown, rng)
        asked, said = [], []
        for row in rows.tolist():
            have = int(self._counts["questions"][row])
            which = torch.from_numpy(rng.permutation(have)[:turns])
            asked.append(self.tensors["questions"][row, which])
            said.append(self.tensors["answers"][row, which])
        questions, answers = _stacked(asked, turns), _stacked(said, turns)
        describe = rng.random(len(rows)) < (1.0 if long else 0.25)
        requests = self.tensors[request]
        chosen = requests[torch.from_numpy(rng.integers(len(requests), size=len(rows)))]  # (B, W)
        described = self._drawn(texts, rows, rng)
        place = rng.integers(turns, size=len(rows))
        for k in np.flatnonzero(describe).tolist():
            questions = _put(questions, k, int(place[k]), chosen[k])
            answers = _put(answers, k, int(place[k]), described[k])
        return {**picked, "questions": _cut(questions), "answers": _cut(answers), "texts": _cut(picked["texts"])}

    def foils(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        """A true prompt and its foil of each of these faces, which must have one (``with_foils``): foiled, foils
        (B, W), foiled_codes (B, N)."""
        index, which = torch.from_numpy(rows), self._which("foils", rows, rng)
        drawn = {name: _cut(self.tensors[name][index, which]) for name in FOILS}
        return {**drawn, "foiled_codes": self.tensors["codes"][index].long()}

    def with_foils(self, rows: np.ndarray) -> np.ndarray:
        """Those of the faces that have a foil; ``InputError`` for a set without foils."""
        if "foils" not in self._counts:
            raise InputError("this set has no foils: prepare it again, or leave out foils")
        return rows[self._counts["foils"][rows] > 0]

    def _drawn(self, name: str, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """One text of each face, (B, W)."""
        return self.tensors[name][torch.from_numpy(rows), self._which(name, rows, rng)]

    def _which(self, name: str, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """The number of one of each face's texts, (B,)."""
        return torch.from_numpy(rng.integers(1 << 30, size=len(rows)) % np.maximum(self._counts[name][rows], 1))


def _stacked(texts: list[Tensor], turns: int) -> Tensor:
    """Texts of each face (≤ turns, W) to (B, turns, W)."""
    out = torch.full((len(texts), turns, texts[0].shape[1]), ABSENT, dtype=torch.int32)
    for face, several in enumerate(texts):
        out[face, : len(several)] = several
    return out


def _put(texts: Tensor, face: int, turn: int, words: Tensor) -> Tensor:
    """(B, T, W) with ``words`` in one place, wider if they need it."""
    wider = len(words) - texts.shape[2]
    if wider > 0:
        texts = torch.nn.functional.pad(texts, (0, wider), value=ABSENT)
    texts[face, turn] = ABSENT
    texts[face, turn, : len(words)] = words
    return texts


def _cut(texts: Tensor) -> Tensor:
    """Without the columns that no text reaches."""
    longest = int((texts != ABSENT).flatten(0, -2).any(0).sum())
    return texts[..., : max(longest, 1)]
