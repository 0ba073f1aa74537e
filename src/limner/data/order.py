"""The shuffled order in which the rows of a sharded set are visited, epoch after epoch.

The shards are shuffled and dealt to `lanes` in turn. Within a lane a shuffle buffer mixes rows: of the rows in the
buffer a random one comes next, and the next row of the shard takes its place. The order of the whole is one row of each
lane in turn. It follows from the seed, the epoch and the numbers of rows alone. So any process can continue at any
position without reading what came before, and rows that are read at about the same time lie in a few shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

BUFFER, LANES = 1024, 16


def deal(count: int, lanes: int, seed: int, epoch: int) -> list[list[int]]:
    """The numbers of `count` shards in a shuffled order, dealt to lanes in turn."""
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return [order[lane::lanes].tolist() for lane in range(lanes)]


def buffered(count: int, buffer: int, seed: int, epoch: int, lane: int) -> np.ndarray:
    """The order (count,) in which the rows of one lane leave a shuffle buffer of that size; 0: as they come."""
    held = np.minimum(buffer + 1, count - np.arange(count))
    draws = np.random.default_rng([seed, epoch, lane]).integers(held).tolist() if count else []
    waiting = list(range(min(count, buffer + 1)))
    order = np.empty(count, np.int64)
    upcoming = len(waiting)
    for number, drawn in enumerate(draws):
        order[number] = waiting[drawn]
        if upcoming < count:
            waiting[drawn] = upcoming
            upcoming += 1
        else:
            waiting[drawn] = waiting[-1]
            waiting.pop()
    return order


def turns(sizes: Sequence[int]) -> np.ndarray:
    """Which lane each position takes its row from, (sum of sizes,). Lanes take turns; an empty one is passed over."""
    rounds = np.concatenate([np.arange(size) for size in sizes]) if len(sizes) else np.empty(0, np.int64)
    lanes = np.repeat(np.arange(len(sizes)), sizes)
    return lanes[np.lexsort((lanes, rounds))]


class EpochOrder:
    """Which row comes at which position, each row once an epoch. Eight bytes a row and epoch are held for it."""

    def __init__(self, shards: Sequence[np.ndarray], seed: int, buffer: int = BUFFER, lanes: int = LANES) -> None:
        """shards: the row numbers of each shard that take part, in the order they lie in."""
        self.shards = [rows for rows in shards if len(rows)]
        self.seed, self.buffer, self.lanes = seed, buffer, lanes
        self.epoch = lru_cache(maxsize=2)(self._epoch)  # a pure function; a batch may lie in two epochs

    def __len__(self) -> int:
        """Rows an epoch."""
        return sum(map(len, self.shards))

    def rows(self, step: int, batch_size: int) -> np.ndarray:
        """The row numbers of batch `step` (0, 1, …), (batch_size,): positions step·batch_size and following."""
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        epochs, places = np.divmod(positions, len(self))
        return np.array([self.epoch(epoch)[place] for epoch, place in zip(epochs.tolist(), places.tolist())])

    def _epoch(self, epoch: int) -> np.ndarray:
        """All row numbers in the order of one epoch."""
        mixed = []
        for lane, dealt in enumerate(deal(len(self.shards), self.lanes, self.seed, epoch)):
            rows = np.concatenate([self.shards[shard] for shard in dealt]) if dealt else np.empty(0, np.int64)
            mixed.append(rows[buffered(len(rows), self.buffer, self.seed, epoch, lane)])
        lanes = turns([len(rows) for rows in mixed])
        order = np.empty(len(lanes), np.int64)
        for lane, rows in enumerate(mixed):
            order[lanes == lane] = rows
        return order
