"""Faces made ready for training: codes, features and words as token ids, in shards.

Of each row of a shard (see `limner.data.tensor_shards`):
    codes       int32   (n, N)
    clip, face  float16 (n, M, C)        feature tokens
    captions, prompts, questions, answers int32 (n, how many, W), and likewise, where the set has them, shown_captions,
                                         shown_prompts, foiled and foils: ABSENT where there is nothing; how many, and
                                         how long, differs between shards
    validation  bool    (n,)             held out: never trained on
    looks       int64   (n, S)           salient facts as numbers; absent in sets that are made by hand
And of all rows: validation; weights, how often each is painted where rare looks are to be learnt too; foils, how many a
face has; ask_long, ask_short (how many, W): requests that captions and prompts answer.

Legend: n faces of a shard, N image tokens, T turns of a conversation, W words of the longest, B batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.data.order import EpochOrder
from limner.data.sampling_weights import WeightedDraw
from limner.data.tensor_shards import TensorShards, finish, write_shard
from limner.errors import InputError

KIND = "a prepared set: make one with python -m limner.models.unif2ace.prepare"

ABSENT = -1
"""Stands after the last word of a text, and for a text a face lacks."""

TEXTS = ("captions", "prompts", "questions", "answers")
SHOWN = {"shown_captions": "captions", "shown_prompts": "prompts"}
"""Texts about what the codes show; a set may lack them, and then faces are painted by the others."""
FOILS = ("foiled", "foils")
"""True prompts and their foils, one each (words/foils.py); a set may lack them, and a face may have none."""
REQUESTS = ("ask_long", "ask_short")


def pad_texts(texts: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Token ids of several texts per face to (F, most texts, most words), ``ABSENT`` where there is nothing."""
    most, longest = max(1, *(len(t) for t in texts)), max((len(words) for t in texts for words in t), default=1)
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


class PreparedConversations:
    """A prepared set, opened; rows are read from disk when a batch asks for them. Its header has, under ``model``, the
    sizes a model of it must have."""

    def __init__(self, stored: TensorShards) -> None:
        self.stored = stored
        self.header: dict[str, Any] = stored.header
        with stored.shard(0) as shard:
            self.names = set(shard.names)

    @classmethod
    def open(cls, place: Path) -> PreparedConversations:
        """The folder that ``prepare`` wrote; ``InputError`` for any other."""
        return cls(TensorShards.read(place, KIND))

    @classmethod
    def write(
        cls, folder: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any], size: int = 4
    ) -> PreparedConversations:
        """Write a set that is in memory, ``size`` faces a shard; see above for its tensors."""
        apart = {name: tensors[name].numpy() for name in (*REQUESTS, "weights") if name in tensors}
        rows = {name: tensor for name, tensor in tensors.items() if name not in apart}
        counts = []
        for number, start in enumerate(range(0, len(rows["codes"]), size)):
            part = {name: tensor[start : start + size] for name, tensor in rows.items()}
            counts.append(len(part["codes"]))
            write_shard(folder, number, part, counts[-1], {})
        index = {"validation": rows["validation"].numpy(), **apart}
        if "foils" in rows:
            index["foils"] = count_texts(rows["foils"])
        finish(folder, header, counts, index)
        return cls.open(folder)

    def rows(self, validation: bool) -> np.ndarray:
        """Numbers of the faces of one part."""
        return np.flatnonzero(self.stored.index["validation"] == validation)

    def order(self, rows: np.ndarray, seed: int) -> EpochOrder:
        """The order in which ascending rows are visited."""
        return EpochOrder(self.stored.by_shard(rows), seed)

    def weighted(self, rows: np.ndarray) -> WeightedDraw:
        """These faces, to be drawn by their weights; ``InputError`` for a set without weights."""
        if "weights" not in self.stored.index:
            raise InputError("this set does not say how rare its faces are: prepare it again, or leave out balanced")
        return WeightedDraw(rows, self.stored.index["weights"][rows])

    def features(self, name: str, rows: np.ndarray) -> Tensor:
        """``clip`` or ``face`` of some faces, float32 (B, M, C)."""
        return self.stored.take([name], rows)[name].float()

    def texts(self, name: str, rows: np.ndarray) -> Tensor:
        """All of one kind of text of some faces, (B, most, W)."""
        return self._take((), (name,), rows)[name]

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
        texts, request = ("captions", "ask_long") if long else ("prompts", "ask_short")
        taken = self._take(("codes", "clip", "face"), ("questions", "answers", texts), rows)
        picked = {name: taken[name].float() for name in ("clip", "face")}
        picked["codes"] = taken["codes"].long()
        shown = rows if painted is None else painted
        painted_by = f"shown_{texts}" if f"shown_{texts}" in self.names else texts
        theirs = self._take(("codes",), (painted_by,), shown)
        picked["painted"] = theirs["codes"].long()
        picked["texts"] = _drawn(theirs[painted_by], rng)
        asked, said = [], []
        for have, questions, answers in zip(count_texts(taken["questions"]), taken["questions"], taken["answers"]):
            which = torch.from_numpy(rng.permutation(int(have))[:turns])
            asked.append(questions[which])
            said.append(answers[which])
        questions, answers = _stacked(asked, turns), _stacked(said, turns)
        describe = rng.random(len(rows)) < (1.0 if long else 0.25)
        describe |= count_texts(taken["questions"]) == 0  # a face without questions still has a text
        requests = torch.from_numpy(self.stored.index[request])
        chosen = requests[torch.from_numpy(rng.integers(len(requests), size=len(rows)))]  # (B, W)
        described = _drawn(taken[texts], rng)
        place = rng.integers(turns, size=len(rows))
        for k in np.flatnonzero(describe).tolist():
            questions = _put(questions, k, int(place[k]), chosen[k])
            answers = _put(answers, k, int(place[k]), described[k])
        return {**picked, "questions": _cut(questions), "answers": _cut(answers), "texts": _cut(picked["texts"])}

    def foils(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        """A true prompt and its foil of each of these faces, which must have one (``with_foils``): foiled, foils
        (B, W), foiled_codes (B, N)."""
        taken = self._take(("codes",), FOILS, rows)
        which = _which(count_texts(taken["foils"]), rng)
        drawn = {name: _cut(taken[name][torch.arange(len(rows)), which]) for name in FOILS}
        return {**drawn, "foiled_codes": taken["codes"].long()}

    def with_foils(self, rows: np.ndarray) -> np.ndarray:
        """Those of the faces that have a foil; ``InputError`` for a set without foils."""
        if "foils" not in self.stored.index:
            raise InputError("this set has no foils: prepare it again, or set foil_weight = 0")
        return rows[self.stored.index["foils"][rows] > 0]

    def _take(self, names: Sequence[str], texts: Sequence[str], rows: np.ndarray) -> dict[str, Tensor]:
        """Rows of tensors, and of texts, padded to the most and longest among them."""
        out: dict[str, Tensor] = self.stored.take(names, rows)
        several: dict[str, list[Tensor]] = {name: [torch.empty(0)] * len(rows) for name in texts}
        for number, places, inside in self.stored.places(rows):
            with self.stored.shard(number) as shard:
                for name in texts:
                    for place, text in zip(places.tolist(), shard.take(name, inside), strict=True):
                        several[name][place] = text
        return out | {name: join_texts([text[None] for text in found]) for name, found in several.items()}


def count_texts(texts: Tensor) -> np.ndarray:
    """How many texts each face has, (B,), of (B, most, W)."""
    return (texts != ABSENT).any(2).sum(1).numpy()


def join_texts(parts: Sequence[Tensor]) -> Tensor:
    """Texts (b, most, W) of several parts one after another, padded to the most and the longest of all."""
    most, longest = (max(part.shape[d] for part in parts) for d in (1, 2))
    pads = [(0, longest - part.shape[2], 0, most - part.shape[1]) for part in parts]
    return torch.cat([torch.nn.functional.pad(part, pad, value=ABSENT) for part, pad in zip(parts, pads)])


def _drawn(texts: Tensor, rng: np.random.Generator) -> Tensor:
    """One text of each face, (B, W), of (B, most, W)."""
    return texts[torch.arange(len(texts)), _which(count_texts(texts), rng)]


def _which(counts: np.ndarray, rng: np.random.Generator) -> Tensor:
    """The number of one of each face's texts, (B,)."""
    return torch.from_numpy(rng.integers(1 << 30, size=len(counts)) % np.maximum(counts, 1))


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
