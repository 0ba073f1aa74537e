"""Reading a built set that is larger than memory, in a shuffled order that can be taken up anywhere.

The order is that of `limner.data.order`: files are dealt to `lanes`, and a lane reads its files one after another
through a shuffle buffer. Workers share the lanes, so any number of them, up to `lanes`, gives the same rows at the same
positions, and an epoch can be continued at any position without reading what came before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from limner.data.order import BUFFER, LANES, buffered, deal, turns
from limner.data.shards import FIELDS, as_arrays, rows_of, shard_files
from limner.data.storage import Place, Remote, parquet
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
        buffer: int = BUFFER,
        lanes: int = LANES,
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
        dealt = deal(len(self.files), self.lanes, self.seed, epoch)
        lanes = turns([sum(self.counts[file] for file in files) for files in dealt])
        taken = np.bincount(lanes[:start], minlength=self.lanes).tolist()
        running = {
            lane: self._lane(dealt[lane], epoch, lane, taken[lane]) for lane in range(worker, self.lanes, workers)
        }
        for position, lane in enumerate(lanes[start:].tolist(), start=start):
            if lane in running:
                yield position, next(running[lane])

    def _lane(self, files: list[int], epoch: int, lane: int, skip: int) -> Iterator[Row]:
        """A lane's rows after the first `skip`, which are not read. Rows are read in the order they lie in."""
        places = [(file, row) for file in files for row in range(self.counts[file])]
        order = buffered(len(places), self.buffer, self.seed, epoch, lane)
        gone = np.zeros(len(places), bool)
        gone[order[:skip]] = True
        reader, held, upcoming = _Reader(self.files, self.columns), {}, 0
        for number, chosen in enumerate(order[skip:].tolist(), start=skip):
            for place in range(upcoming, min(len(places), number + self.buffer + 1)):
                if not gone[place]:
                    held[place] = reader.read(*places[place])
            upcoming = max(upcoming, number + self.buffer + 1)
            yield held.pop(chosen)


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
