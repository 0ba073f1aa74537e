"""Sharded safetensors folders in the hub's layout, read by rows.

A process that holds a piece of a tensor reads that piece and nothing else, so that several processes can fill one model
without any of them holding it whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

from limner.errors import InputError


class Shards:
    """The tensors of `folder/name`, or of the files that `folder/name.index.json` lists; headers alone are read first.

    Raises InputError naming the file: an index that lists a file that is not there, a truncated file, an index that
    names tensors its files do not hold.
    """

    def __init__(self, folder: str | os.PathLike[str], name: str) -> None:
        self.folder, self.name = Path(folder), name
        self._files: dict[str, Any] = {}
        self._place: dict[str, str] = {}
        listed: dict[str, str] = {}
        index = self.folder / f"{name}.index.json"
        if index.is_file():
            listed = read_index(index)
        for file in sorted(set(listed.values())) or [name]:
            self._files[file] = handle = _open(self.folder / file, listed_in=index.name if listed else None)
            self._place |= dict.fromkeys(handle.keys(), file)
        for tensor, file in listed.items():
            if self._place.get(tensor) != file:
                raise InputError(f"{index} says that {file} holds '{tensor}', which it does not: fetch both again")

    def names(self) -> list[str]:
        """All tensors' names."""
        return list(self._place)

    def shape(self, name: str) -> tuple[int, ...]:
        """Sizes of a tensor."""
        return tuple(self._slice(name).get_shape())

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows [start, stop) of a tensor, in the type it is stored in; a vector's rows are its entries."""
        return self._slice(name)[start:stop]

    def whole(self, name: str) -> Tensor:
        """A whole tensor, in the type it is stored in."""
        return self._files[self._place[name]].get_tensor(name)

    def files(self) -> list[Path]:
        """The files the tensors are in."""
        return [self.folder / name for name in self._files]

    def type_of(self, name: str) -> str:
        """The number type a tensor is stored in, by safetensors' name for it: F32, BF16, F16 …"""
        return str(self._slice(name).get_dtype())

    def types(self) -> dict[str, int]:
        """How many tensors there are of each stored number type, as `type_of` names it."""
        found: dict[str, int] = {}
        for name in self._place:
            kind = self.type_of(name)
            found[kind] = found.get(kind, 0) + 1
        return found

    def _slice(self, name: str) -> Any:
        return self._files[self._place[name]].get_slice(name)


def read_index(index: Path) -> dict[str, str]:
    """Tensor → file, from an index file. Raises InputError for a file that is no index."""
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {str(tensor): str(file) for tensor, file in listed.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} is not an index of safetensors files: fetch it again") from error


def _open(file: Path, listed_in: str | None) -> Any:
    if not file.is_file():
        hint = f"{listed_in} lists it: fetch it again" if listed_in else "give a folder that holds it"
        raise InputError(f"{file} is missing; {hint}")
    try:
        return safe_open(file, framework="pt")
    except SafetensorError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file} is truncated or not a safetensors file ({reason}): fetch it again") from error


def local_rows(tensor: Tensor) -> tuple[Tensor, int, int]:
    """This process's part of a tensor that is whole or cut along its first axis, and which rows of the whole it is.

    The part shares the tensor's memory. `ValueError` for a tensor cut in another way.
    """
    if not isinstance(tensor, DTensor):
        return tensor, 0, tensor.shape[0]
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    if any(not placement.is_replicate() and placement != Shard(0) for placement in tensor.placements):
        raise ValueError(
            f"placements={tensor.placements}: only tensors cut along their first axis can be filled by rows"
        )
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return tensor.to_local(), offset[0], offset[0] + shape[0]


@torch.no_grad()
def fill_rows(target: Tensor, shards: Shards, sources: Sequence[str]) -> None:
    """Fill a tensor, or this process's piece of it, with the rows of `sources` one after the other.

    A source vector gives a matrix one row. The caller has checked that the shapes fit; values are cast to the target's
    type.
    """
    local, start, stop = local_rows(target)
    first = 0
    for name in sources:
        shape = shards.shape(name)
        vector = len(shape) == target.ndim - 1
        last = first + (1 if vector else shape[0])
        low, high = max(start, first), min(stop, last)
        if low < high:
            if vector:
                local[low - start].copy_(shards.rows(name, 0, shape[0]))
            else:
                local[low - start : high - start].copy_(shards.rows(name, low - first, high - first))
        first = last
