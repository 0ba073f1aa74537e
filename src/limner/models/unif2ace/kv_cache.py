"""Keys and values of what was read already: a value, made once per prompt or picture and read by every later step.

Legend: B batch, H heads, S columns read so far, E head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from limner.errors import InputError

from .config import Group, UniF2aceConfig

CHUNK = 64  # columns of spare room, so that decoding a token does not copy what was read before


class KVCache:
    """``length`` columns of every layer's keys and values, (B, H, S, E) each.

    A value: ``extended`` gives another cache and never changes what an earlier one shows. The two may share memory, of
    which each reads its own columns; a second extension of the same cache gets memory of its own.
    """

    def __init__(
        self, config: UniF2aceConfig, group: Group, length: int, slabs: list[Tensor], filled: list[int]
    ) -> None:
        self.config, self.length = config, length
        self.group: Group = group
        self._slabs = slabs  # per layer (2, B, H, room, E)
        self._filled = filled  # columns of the slabs that some cache shows; shared by all that share the slabs

    @classmethod
    def empty(cls, config: UniF2aceConfig, group: Group, batch: int, like: Tensor) -> KVCache:
        """Nothing read yet; memory of the type and on the device of ``like``."""
        slab = like.new_empty(2, batch, config.heads, 0, config.head_size)
        return cls(config, group, 0, [slab] * config.layers, [0])

    @property
    def batch(self) -> int:
        """B."""
        return self._slabs[0].shape[1]

    def check(self, config: UniF2aceConfig, group: Group, batch: int) -> None:
        """``InputError`` unless a model of that configuration can go on from here with that group and batch."""
        if config != self.config or group != self.group:
            raise InputError(f"this cache was made by another model or for {self.group}, not {group}: make it again")
        if batch != self.batch:
            raise InputError(f"this cache holds {self.batch} rows, the tokens {batch}: choose its rows with rows()")

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer, (B, H, S, E) each."""
        keys, values = self._slabs[index][:, :, :, : self.length].unbind()
        return keys, values

    def rows(self, index: Tensor) -> KVCache:
        """The chosen rows of the batch, in that order and as often as they are named. index: (b,) of row numbers."""
        slabs = [slab[:, index, :, : self.length] for slab in self._slabs]
        return KVCache(self.config, self.group, self.length, slabs, [self.length])

    def without_first(self, columns: int) -> KVCache:
        """All columns but the first so many; ``columns`` at most ``length``."""
        assert 0 <= columns <= self.length
        slabs = [slab[:, :, :, columns : self.length] for slab in self._slabs]
        return KVCache(self.config, self.group, self.length - columns, slabs, [self.length - columns])

    def joined(self, other: KVCache) -> KVCache:
        """The rows of both, these first. ``InputError`` where the two do not belong together."""
        other.check(self.config, self.group, other.batch)
        assert self.length == other.length
        slabs = [
            torch.cat([a[:, :, :, : self.length], b[:, :, :, : self.length]], dim=1)
            for a, b in zip(self._slabs, other._slabs)
        ]
        return KVCache(self.config, self.group, self.length, slabs, [self.length])

    def extended(self, columns: int) -> KVCache:
        """A cache of that many more columns, for a model's forward pass to write into before anyone reads them."""
        length = self.length + columns
        slabs, filled = self._slabs, self._filled
        if filled[0] != self.length or length > slabs[0].shape[3]:
            room = length + (CHUNK if self.length else 0)
            slabs, filled = [self._moved(slab, room) for slab in slabs], [0]
        filled[0] = length
        return KVCache(self.config, self.group, length, slabs, filled)

    def _moved(self, slab: Tensor, room: int) -> Tensor:
        new = slab.new_empty(*slab.shape[:3], room, slab.shape[4])
        new[:, :, :, : self.length] = slab[:, :, :, : self.length]
        return new

    def write(self, index: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put the last columns of layer ``index`` in their place; returns all keys and values of it."""
        assert not (torch.is_grad_enabled() and keys.requires_grad), "caches are for inference: use torch.no_grad()"
        start = self.length - keys.shape[2]
        slab = self._slabs[index]
        slab[0, :, :, start : self.length], slab[1, :, :, start : self.length] = keys, values
        return self.layer(index)
