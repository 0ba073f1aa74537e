"""A prepared set on disk: shards of tensors, one safetensors file for a few faces, of which single rows are read.

    shards/00000.safetensors   tensors whose first dimension is the shard's rows; or tables that rows refer to
    index.safetensors          a few numbers for every row: validation, weights, …
    prepared.json              what made the set, and the rows of each shard; written last

A table of pieces of different length is stored as one tensor NAME of all pieces, one after another, and NAME.ends,
where each piece ends. A codec's latents may be one tensor or several (a tuple, a dict): they are stored as NAME, or as
NAME.KEY each.

Nothing but the index is held in memory, so memory does not grow with the pictures. Legend: N rows of the set, n of a
shard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.errors import InputError
from limner.files import write_json_atomic
from limner.weights.tensors import load_tensors, opened, save_tensors

HEADER, INDEX, SHARDS = "prepared.json", "index.safetensors", "shards"
FORMAT = 2
"""Of the folder; 1 was one array, or one file, for the whole set."""


def shard_file(folder: Path, number: int) -> Path:
    """Where a shard lies."""
    return folder / SHARDS / f"{number:05d}.safetensors"


def flatten(name: str, value: Tensor | Sequence[Tensor] | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A tensor, or a tuple or dict of tensors, as named tensors: NAME, or NAME.KEY each."""
    if isinstance(value, Tensor):
        return {name: value}
    items = value.items() if isinstance(value, Mapping) else ((str(place), part) for place, part in enumerate(value))
    return {f"{name}.{key}": part for key, part in items}


def pack(name: str, pieces: Sequence[Tensor]) -> dict[str, Tensor]:
    """Pieces of different length (their first dimension) as a table. At least one piece."""
    ends = torch.tensor([len(piece) for piece in pieces], dtype=torch.int64).cumsum(0)
    return {name: torch.cat(list(pieces)), f"{name}.ends": ends}


class Shard:
    """One shard, opened: its rows and tables are read when asked for."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.names: list[str] = sorted(handle.keys())

    def whole(self, name: str) -> Tensor:
        """A tensor with all its rows."""
        return self.handle.get_tensor(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a whole tensor, without reading it."""
        return tuple(self.handle.get_slice(name).get_shape())

    def take(self, name: str, rows: Sequence[int]) -> Tensor:
        """Rows of a tensor, one or more, in the order given, with memory of their own."""
        stored = self.handle.get_slice(name)
        first = stored[rows[0] : rows[0] + 1]
        out = first.new_empty(len(rows), *first.shape[1:])
        for place, row in enumerate(rows):
            out[place] = stored[row : row + 1][0]  # not torch.cat, which autocast would change
        return out

    def pieces(self, name: str, numbers: Sequence[int]) -> list[Tensor]:
        """Pieces of a table, by number."""
        ends, stored = [0, *self.whole(f"{name}.ends").tolist()], self.handle.get_slice(name)
        return [stored[ends[number] : ends[number + 1]].clone() for number in numbers]

    def family(self, name: str) -> list[str]:
        """The names that ``flatten`` gave a value: NAME, or NAME.KEY each."""
        return [each for each in self.names if each == name or each.startswith(f"{name}.")]


class TensorShards:
    """A prepared set, opened."""

    def __init__(self, folder: Path, header: dict[str, Any], index: dict[str, np.ndarray]) -> None:
        self.folder, self.header, self.index = folder, header, index
        self.starts = np.concatenate([[0], np.cumsum(header["shards"])]).astype(np.int64)

    @classmethod
    def read(cls, folder: Path, kind: str) -> TensorShards:
        """Open a folder that is whole. ``InputError`` "FOLDER is not ``kind``" for any other."""
        header = read_header(folder, kind)
        if header.get("format") != FORMAT:
            raise InputError(f"{folder} was prepared by another version of limner: prepare the set again")
        index = load_tensors(folder / INDEX)[0]
        return cls(folder, header, {name: tensor.numpy() for name, tensor in index.items()})

    def __len__(self) -> int:
        """N."""
        return int(self.starts[-1])

    @contextmanager
    def shard(self, number: int) -> Iterator[Shard]:
        """Open one shard. ``InputError`` for a damaged one."""
        with opened(shard_file(self.folder, number)) as handle:
            yield Shard(handle)

    def places(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray, list[int]]]:
        """For each shard that rows lie in: its number, the places of those rows among ``rows``, their numbers in it."""
        shards = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(shards).tolist():
            places = np.flatnonzero(shards == number)
            yield number, places, (rows[places] - self.starts[number]).tolist()

    def take(self, names: Sequence[str], rows: np.ndarray) -> dict[str, Tensor]:
        """Rows (B,) of tensors by number, in the order given. The tensors have one shape a row in all shards."""
        out: dict[str, Tensor] = {}
        for number, places, inside in self.places(rows):
            with self.shard(number) as shard:
                for name in names:
                    part = shard.take(name, inside)
                    if name not in out:
                        out[name] = part.new_empty(len(rows), *part.shape[1:])
                    out[name][torch.from_numpy(places)] = part
        return out

    def column(self, name: str) -> Tensor:
        """All rows of a tensor: for small ones, and for small sets."""
        return torch.cat(list(columns(self.folder, len(self.header["shards"]), name)))

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one row of a tensor."""
        with self.shard(0) as shard:
            return shard.shape(name)[1:]

    def family(self, name: str) -> list[str]:
        """The names of a value that may be several tensors; see ``flatten``."""
        with self.shard(0) as shard:
            return shard.family(name)

    def by_shard(self, rows: np.ndarray) -> list[np.ndarray]:
        """Ascending row numbers, cut where shards end: for ``EpochOrder``."""
        return np.split(rows, np.searchsorted(rows, self.starts[1:-1]))


def columns(folder: Path, shards: int, name: str) -> Iterator[Tensor]:
    """A tensor of every shard, shard after shard."""
    for number in range(shards):
        with opened(shard_file(folder, number)) as handle:
            yield handle.get_tensor(name).clone()


def write_shard(folder: Path, number: int, tensors: Mapping[str, Tensor], rows: int, facts: Mapping[str, Any]) -> None:
    """Write one shard, all or nothing. facts: what made it, compared by ``shard_rows``."""
    save_tensors(shard_file(folder, number), tensors, {"rows": rows, "made": facts})


def shard_rows(folder: Path, number: int, facts: Mapping[str, Any] | None = None) -> int | None:
    """The rows of a shard; None where there is none, or one made otherwise than ``facts`` say."""
    file = shard_file(folder, number)
    if not file.is_file():
        return None
    try:
        with opened(file) as handle:
            stored = json.loads((handle.metadata() or {}).get("config", "{}"))
    except InputError:
        return None  # cut short by a crash of the machine: made again
    if facts is not None and stored.get("made") != json.loads(json.dumps(dict(facts))):
        return None
    return stored["rows"]


def finish(folder: Path, header: Mapping[str, Any], shards: Sequence[int], index: Mapping[str, np.ndarray]) -> None:
    """Make the folder a whole set: its index, then its header. shards: the rows of each."""
    for file in (folder / SHARDS).glob("*.safetensors"):
        if int(file.stem) >= len(shards):
            file.unlink()  # of an earlier, longer set
    save_tensors(folder / INDEX, {name: torch.from_numpy(np.asarray(array)) for name, array in index.items()}, {})
    counts = {"rows": int(sum(shards)), "shards": [int(count) for count in shards], "format": FORMAT}
    write_json_atomic(folder / HEADER, {**header, **counts})


def read_header(folder: Path, kind: str) -> dict[str, Any]:
    """The header of a folder that is whole. ``InputError`` "FOLDER is not ``kind``" for any other."""
    if not (folder / HEADER).is_file():
        raise InputError(f"{folder} is not {kind}")
    return json.loads((folder / HEADER).read_text(encoding="utf-8"))
