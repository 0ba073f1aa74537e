"""Batches of pairs from a pair set: two pictures, A and B, of one person with different motion or light.

A pair set is the folder that `limner data pairs` writes. Any two pictures of a person whose identity vectors are close
and whose motion differs are a pair, in both orders. The pairs of a batch are a function of (seed, step) alone, as the
training loop asks; people, not pairs, are drawn evenly, so that someone with many pictures does not count more.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from limner.data.pair_factors import motion_change
from limner.data.shards import read_shards, shard_files, stack
from limner.errors import InputError
from limner.faces.picture import read_picture, read_region_map

VECTORS = ("landmarks", "pose", "gaze", "expression", "light", "identity", "factors")
_WANTED = ("id", "person", "image", "regions", *VECTORS)

Batch = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class PairSet:
    """Pictures of people, opened. One row a picture, N in all.

    ids: (N,) names. people: (N,) who is in a row's picture, numbered. vectors: column → (N, …) float32: landmarks
    (468, 3), pose (3,), gaze (2,), expression (44,), light (27,), identity (128,), factors (15,). pairs: (P, 2) rows
    of A and B. starts: (people with pairs + 1,) where each person's pairs begin.
    """

    ids: tuple[str, ...]
    people: np.ndarray
    vectors: Mapping[str, np.ndarray]
    pairs: np.ndarray
    starts: np.ndarray
    images: pa.ChunkedArray
    regions: pa.ChunkedArray

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        split: str | None = "train",
        limit: float = 0.5,
        differs: float = 0.5,
    ) -> PairSet:
        """The pairs of one split (None: all) of a pair set.

        limit: identity distance under which two pictures show the same person. differs: standard deviations by which at
        least one motion factor must differ. Raises InputError for a folder that is no pair set, and when no pair fits.
        """
        if not is_pair_set(folder):
            raise InputError(f"{folder} is no pair set: make one with `limner data pairs --out FOLDER`")
        table = read_shards(folder, _WANTED, split)
        vectors = {name: stack(table[name]) for name in VECTORS}
        vectors["landmarks"] = vectors["landmarks"].reshape(-1, 468, 3)
        _, people = np.unique(table["person"].to_pylist(), return_inverse=True)
        pairs = _find_pairs(people, vectors, limit, differs)
        if not len(pairs):
            raise InputError(
                f"{folder} has no pairs in split {split}: make more (`limner data pairs`), or widen limits"
            )
        starts = np.flatnonzero(np.r_[True, np.diff(people[pairs[:, 0]]) != 0, True])
        return cls(
            ids=tuple(table["id"].to_pylist()),
            people=people,
            vectors=vectors,
            pairs=pairs,
            starts=starts,
            images=pa.chunked_array(table["image"]),
            regions=pa.chunked_array(table["regions"]),
        )

    def __len__(self) -> int:
        """How many pairs there are, each order counted."""
        return len(self.pairs)

    def draw(self, seed: int, step: int, size: int) -> np.ndarray:
        """The rows (size, 2) of A and B of batch `step`: a function of (seed, step)."""
        rng = np.random.default_rng([seed, step])
        person = rng.integers(len(self.starts) - 1, size=size)
        first, count = self.starts[person], np.diff(self.starts)[person]
        return self.pairs[first + (rng.random(size) * count).astype(int)]

    def rows(self, rows: np.ndarray) -> Batch:
        """Pictures by row: image (B, 256, 256, 3) uint8, regions (B, 256, 256) uint8, row (B,) and the vectors."""
        images = [read_picture(self.images[int(row)]["bytes"].as_py()) for row in rows]
        regions = [read_region_map(self.regions[int(row)]["bytes"].as_py()) for row in rows]
        vectors = {name: values[rows] for name, values in self.vectors.items()}
        return {"row": np.asarray(rows), "image": np.stack(images), "regions": np.stack(regions), **vectors}

    def batch(self, seed: int, step: int, size: int) -> tuple[Batch, Batch]:
        """Batch `step`: A and B, each as `rows` gives them."""
        drawn = self.draw(seed, step, size)
        return self.rows(drawn[:, 0]), self.rows(drawn[:, 1])


def is_pair_set(folder: str | os.PathLike[str]) -> bool:
    """Whether a built set was made by `limner data pairs`. Raises InputError when it is no built set."""
    files = shard_files(folder)
    return not files or "factors" in pq.read_schema(files[0]).names


def _find_pairs(people: np.ndarray, vectors: Mapping[str, np.ndarray], limit: float, differs: float) -> np.ndarray:
    """All (A, B) with A ≠ B, (P, 2), person after person."""
    found: list[np.ndarray] = []
    order = np.argsort(people, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(people[order])) + 1):
        if len(rows) < 2:
            continue
        identity, factors = vectors["identity"][rows], vectors["factors"][rows]
        distance = np.linalg.norm(identity[:, None] - identity[None], axis=2)
        change = motion_change(factors[:, None], factors[None])
        a, b = np.nonzero((distance < limit) & (change >= differs))  # the diagonal has no change
        found.append(np.stack([rows[a], rows[b]], 1))
    return np.concatenate(found) if found else np.empty((0, 2), int)
