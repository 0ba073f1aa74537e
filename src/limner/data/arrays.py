"""A prepared set on disk: a folder of arrays, one .npy each, and a header that is written last.

So a folder that has its header is whole; big arrays are read row by row, and never all at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from limner.errors import InputError
from limner.files import make_folder, write_json_atomic

HEADER = "prepared.json"
Item = TypeVar("Item")


def groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items, ``size`` at a time, the last group with what is left."""
    group: list[Item] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


class ArrayFolder:
    """Arrays being written, a few rows at a time. A folder that was whole is not any more until ``finish``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.arrays: dict[str, np.ndarray] = {}
        make_folder(folder)
        (folder / HEADER).unlink(missing_ok=True)

    def create(self, name: str, dtype: type | np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """A new array on disk, to be written into."""
        file = self.folder / f"{name}.npy"
        self.arrays[name] = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
        return self.arrays[name]

    def write(self, made: Mapping[str, np.ndarray], start: int, rows: int) -> None:
        """Rows from ``start`` on of several arrays, which have so many ``rows`` in the end; created at their first."""
        for name, value in made.items():
            if name not in self.arrays:
                self.create(name, value.dtype, (rows, *value.shape[1:]))
            self.arrays[name][start : start + len(value)] = value

    def finish(self, header: Mapping[str, Any]) -> None:
        """Write the header: the folder is whole."""
        write_json_atomic(self.folder / HEADER, dict(header))


def read_header(folder: Path, otherwise: str) -> dict[str, Any]:
    """The header of a folder that is whole. ``InputError`` "FOLDER is not ``otherwise``" for any other."""
    if not (folder / HEADER).is_file():
        raise InputError(f"{folder} is not {otherwise}")
    return json.loads((folder / HEADER).read_text(encoding="utf-8"))


def read_array(folder: Path, name: str, on_disk: bool = True) -> np.ndarray:
    """An array of a folder. on_disk: it stays there until rows are asked for. ``InputError`` for a damaged one."""
    try:
        return np.load(folder / f"{name}.npy", mmap_mode="r" if on_disk else None, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / name}.npy is no whole array of numbers: prepare the set again") from error


def take(array: np.ndarray, rows: np.ndarray) -> Tensor:
    """Rows by number, in the order given, as a tensor of their own."""
    order = np.argsort(rows, kind="stable")  # ascending reads are kinder to a disk
    out = np.empty((len(rows), *array.shape[1:]), array.dtype)
    out[order] = array[rows[order]]
    return torch.from_numpy(out)
