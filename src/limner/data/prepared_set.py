"""A prepared set of faces with words: latents, region maps and text features, which batches are read from.

Of each row of a shard (see `limner.data.tensor_shards`):
    latents     float16 (n, C, h, w)  codec latents; several tensors where a codec's latents are several
    regions     uint8   (n, H, W)     region ids
    palette     float16 (n, C, h, w)  codec latents of the coloured region maps; only where asked for
    captions    int32   (n, P)        numbers in the shard's table of texts, P a face
    validation  bool    (n,)          held out
    looks       int64   (n, S)        salient facts as numbers (limner.data.sampling_weights)
The shard's table of its K different texts:
    words       uint8                 UTF-8, pieces of different length
    tokens      float16 (…, text)     features, as many as the text has tokens; absent where texts are encoded live
    pooled      float32 (K, text)     pooled features; likewise
And of all rows: validation, weights (float32, how often a face is drawn, mean 1).

Legend: N faces, C latent channels, h x w latent grid, T text tokens, K texts of a shard, B batch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.data.order import EpochOrder
from limner.data.tensor_shards import TensorShards

KIND = "a prepared set: make one with python -m limner.models.mditface.prepare"


class PreparedSet:
    """The set, opened; rows are read from disk when a batch asks for them."""

    def __init__(self, stored: TensorShards) -> None:
        self.stored = stored
        self.header: dict[str, Any] = stored.header
        self.names = [*stored.family("latents"), "regions", *stored.family("palette")]
        self.length = int(self.header["text_length"])
        self.live = bool(self.header["live"])

    @classmethod
    def open(cls, folder: str | Path) -> PreparedSet:
        """``InputError`` if the folder was not prepared, or not to the end."""
        return cls(TensorShards.read(Path(folder), KIND))

    def rows(self, validation: bool) -> np.ndarray:
        """Row numbers of one split, in order."""
        return np.flatnonzero(self.stored.index["validation"] == validation)

    def weights(self, rows: np.ndarray) -> np.ndarray:
        """How often these faces are drawn, where rare ones are drawn more often."""
        return self.stored.index["weights"][rows]

    def order(self, rows: np.ndarray, seed: int) -> EpochOrder:
        """The order in which ascending rows are visited."""
        return EpochOrder(self.stored.by_shard(rows), seed)

    def batch(self, rows: np.ndarray, choices: np.ndarray) -> dict[str, Tensor]:
        """Faces by row number; ``choices`` (B,) says which caption of each (any number, taken modulo P).

        latents float32 (B, C, h, w) and what else the codec gives, regions uint8 (B, H, W), tokens float32 (B, T,
        text), pooled float32 (B, text), keep bool (B, T); palette float32 (B, C, h, w) where the set has it. Of a set
        whose texts are encoded live: words uint8 (B, bytes of the longest), 0 after the last, instead of the three.
        """
        batch = self.stored.take(self.names, rows)
        batch = {name: value.float() if value.dtype == torch.float16 else value for name, value in batch.items()}
        choices = np.broadcast_to(choices, len(rows))
        words: list[Tensor] = [torch.empty(0)] * len(rows)
        tokens: list[Tensor] = [torch.empty(0)] * len(rows)
        pooled: list[Tensor] = [torch.empty(0)] * len(rows)
        for number, places, inside in self.stored.places(rows):
            with self.stored.shard(number) as shard:
                captions = shard.take("captions", inside).numpy()
                chosen = captions[np.arange(len(inside)), choices[places] % captions.shape[1]].tolist()
                if self.live:
                    _put(words, places, shard.pieces("words", chosen))
                else:
                    _put(tokens, places, shard.pieces("tokens", chosen))
                    _put(pooled, places, list(shard.take("pooled", chosen)))
        if self.live:
            return batch | {"words": torch.nn.utils.rnn.pad_sequence(words, batch_first=True)}
        lengths = torch.tensor([len(piece) for piece in tokens])
        padded = torch.zeros(len(rows), self.length, tokens[0].shape[1])
        for row, piece in enumerate(tokens):
            padded[row, : len(piece)] = piece.float()
        keep = torch.arange(self.length)[None] < lengths[:, None]
        return batch | {"tokens": padded, "pooled": torch.stack(pooled), "keep": keep}


def read_words(words: Tensor) -> list[str]:
    """The texts of a batch's ``words``."""
    return [bytes(row[row != 0].tolist()).decode("utf-8") for row in words.cpu()]


def _put(out: list[Tensor], places: np.ndarray, pieces: list[Tensor]) -> None:
    for place, piece in zip(places.tolist(), pieces, strict=True):
        out[place] = piece
