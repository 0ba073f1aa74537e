"""Reading a built set that is larger than memory, in a shuffled order that can be taken up anywhere.

The files of a split are shuffled and dealt to `lanes` in turn. A lane reads its files one after another through a
shuffle buffer: of the rows in the buffer a random one goes out, and the next row of the file takes its place. The
order of the whole is one row of each lane in turn. It follows from the seed and the epoch alone: workers share the
lanes, so any number of them, up to `lanes`, gives the same rows at the same positions, and position p of an epoch can
be gone on from without reading what came before, since a lane's draws need only the numbers of rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from limner.data.places import Place, Remote, parquet
from limner.data.shards import FIELDS, as_arrays, rows_of, shard_files
from limner.errors import InputError

Row = dict[str, Any]
GROUP = 64  # rows a Parquet row group, see `write_shard`


class Stream:
    """The rows of a split, epoch after epoch, each once an epoch."""

    def __init__(
        self,
        folder: str | os.PathLike[str] | Remote,
        split: str = "train",
        columns: Sequence[str] | None = None,
        seed: int = 0,
        buffer: int = 1024,
        lanes: int = 16,
    ) -> None:
        """folder: a built set, here or in a store. columns: None for all. buffer: rows each lane holds back (0: files
        are shuffled, rows within them are not). lanes: the most workers there can be. Raises InputError.
        """
        if buffer < 0 or lanes < 1:
            raise InputError(f"buffer is {buffer} and lanes {lanes}: a buffer of 0 or more, and at least one lane")
        self.files = shard_files(folder, split)
        if not self.files:
            raise InputError(f"{folder} has no rows in the split {split}")
        self.columns = list(columns) if columns is not None else [name for name, _ in FIELDS]
        self.seed, self.buffer, self.lanes = seed, buffer, lanes
        self.counts = [rows_of(file) for file in self.files]

    def __len__(self) -> int:
        """Rows an epoch."""
        return sum(self.counts)

    def rows(self, epoch: int = 0, start: int = 0, worker: int = 0, workers: int = 1) -> Iterator[tuple[int, Row]]:
        """(position, row) from position `start` of an epoch on, in order; of several workers, this one's share.

        Worker w has the lanes w, w + workers, …. Rows have their arrays in shape, as `limner.data.shards.iterate` gives
        them. Raises InputError for more workers than lanes.
        """
        if not 0 <= worker < workers <= self.lanes:
            raise InputError(f"worker {worker} of {workers}: at most {self.lanes} workers, as many as there are lanes")
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.files))
        dealt = [order[lane :: self.lanes].tolist() for lane in range(self.lanes)]
        sizes = np.array([sum(self.counts[file] for file in files) for files in dealt])
        taken, turns = _turns(sizes, start)
        running = {
            lane: self._lane(dealt[lane], epoch, lane, int(taken[lane])) for lane in range(worker, self.lanes, workers)
        }
        for position, lane in enumerate(turns, start=start):
            if lane in running:
                yield position, next(running[lane])

    def _lane(self, files: list[int], epoch: int, lane: int, skip: int) -> Iterator[Row]:
        """A lane's rows after the first `skip`, which are drawn but not read."""
        rng = np.random.default_rng([self.seed, epoch, lane])
        places = [(file, row) for file in files for row in range(self.counts[file])]
        held: list[tuple[int, int] | Row] = list(places[: self.buffer + 1])
        upcoming = self.buffer + 1
        reader = _Reader(self.files, self.columns)
        for number in range(len(places)):
            if number == skip:
                held = [reader.read(*place) for place in held]  # type: ignore[misc]
            chosen = int(rng.integers(len(held)))
            out = held[chosen]
            if upcoming < len(places):
                held[chosen] = places[upcoming] if number < skip else reader.read(*places[upcoming])
                upcoming += 1
            else:
                held[chosen] = held[-1]
                held.pop()
            if number >= skip:
                assert isinstance(out, dict)
                yield out


class _Reader:
    """Single rows of Parquet files; keeps the row group it read last."""

    def __init__(self, files: Sequence[Place], columns: Sequence[str]) -> None:
        self.files, self.columns = files, columns
        self.at: tuple[int, int] | None = None
        self.group: list[Row] = []

    def read(self, file: int, row: int) -> Row:
        if self.at != (file, row // GROUP):
            with parquet(self.files[file]) as opened:
                self.group = opened.read_row_group(row // GROUP, columns=list(self.columns)).to_pylist()
            self.at = (file, row // GROUP)
        return as_arrays(self.group[row % GROUP])


def _turns(sizes: np.ndarray, start: int) -> tuple[np.ndarray, Iterator[int]]:
    """How many rows of each lane come before position `start`, and whose turn it is from there on.

    Lanes take turns in order; one that is empty is passed over.
    """
    taken = np.zeros_like(sizes)
    left = start
    while left and (open_lanes := np.flatnonzero(taken < sizes)).size:
        rounds = min(left // open_lanes.size, int((sizes - taken)[open_lanes].min()))
        if rounds == 0:
            taken[open_lanes[:left]] += 1
            first = int(open_lanes[left]) if left < open_lanes.size else 0
            return taken, _from(taken.copy(), sizes, first)
        taken[open_lanes] += rounds
        left -= rounds * open_lanes.size
    return taken, _from(taken.copy(), sizes, 0)


def _from(taken: np.ndarray, sizes: np.ndarray, first: int) -> Iterator[int]:
    counts, whole = taken.tolist(), sizes.tolist()
    lanes = range(first, len(whole))
    while True:
        moved = False
        for lane in lanes:
            if counts[lane] < whole[lane]:
                counts[lane] += 1
                moved = True
                yield lane
        if not moved and lanes.start == 0:
            return
        lanes = range(len(whole))
