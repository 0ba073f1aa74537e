"""A mask, encoded once: the keys and values that every step of every picture reads.

A ``MaskCache`` is a value. It knows the model, the mask and the number type it was made from, refuses another model,
and can be saved, sliced and repeated; nothing about a mask is ever kept inside a module.

Legend: B batch, L layers, M mask tokens, H heads, E head size.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from limner.errors import InputError
from limner.weights.fingerprint import weights_hash
from limner.weights.tensors import load_tensors, save_tensors

from .transformer import MaskFeatures, MDiT

FORMAT = "limner mask cache 1"


@dataclass(frozen=True)
class MaskCache:
    """Per layer, K_M after normalisation and rotation, and V_M (B, H, M, E); log counts where tokens were merged."""

    features: MaskFeatures
    model: str
    """Fingerprint of the model that made it."""
    masks: tuple[str, ...]
    """Hash of each row's mask; ``none`` for the null mask."""

    @property
    def batch(self) -> int:
        """Rows in the cache."""
        return self.features.keys[0].shape[0]

    @property
    def tokens(self) -> int:
        """Mask tokens a dynamic query reads, after merging."""
        return self.features.keys[0].shape[2]

    @property
    def dtype(self) -> torch.dtype:
        """Number type of keys and values."""
        return self.features.keys[0].dtype

    def features_for(self, model: MDiT) -> MaskFeatures:
        """The features, if ``model`` is the one that made them; ``InputError`` otherwise."""
        if fingerprint(model) != self.model:
            raise InputError("this mask cache was made by another model (or other weights, or another number type): "
                             "encode the mask again with this one")  # fmt: skip
        return self.features

    def _map(self, change, masks: tuple[str, ...]) -> MaskCache:
        keys, values, counts = self.features
        made = MaskFeatures(
            tuple(change(k) for k in keys),
            tuple(change(v) for v in values),
            None if counts is None else torch.stack([change(c) for c in counts]),
        )
        return replace(self, features=made, masks=masks)

    def __getitem__(self, rows: slice) -> MaskCache:
        """Some rows of the batch, without copying."""
        return self._map(lambda x: x[rows], self.masks[rows])

    def expand(self, batch: int) -> MaskCache:
        """One row, seen ``batch`` times, without copying; ``ValueError`` if there are several rows already."""
        if self.batch != 1:
            raise ValueError(f"this cache holds {self.batch} masks: only one mask can be expanded to {batch}")
        return self._map(lambda x: x.expand(batch, *x.shape[1:]), self.masks * batch)

    def repeat(self, count: int) -> MaskCache:
        """Each row ``count`` times in a row."""
        return self._map(lambda x: x.repeat_interleave(count, 0), tuple(m for m in self.masks for _ in range(count)))

    def save(self, path: str | Path) -> None:
        """Write as safetensors, with the model's fingerprint and the masks' hashes in the header."""
        keys, values, counts = self.features
        tensors = {"keys": torch.stack(keys), "values": torch.stack(values)}  # (L, B, H, M, E)
        if counts is not None:
            tensors["counts"] = counts  # (L, B, M)
        save_tensors(path, tensors, {"format": FORMAT, "model": self.model, "masks": list(self.masks)})

    @classmethod
    def load(cls, path: str | Path) -> MaskCache:
        """Inverse of ``save``; ``InputError`` if the file is something else."""
        tensors, header = load_tensors(path)
        if header.get("format") != FORMAT or not {"keys", "values"} <= set(tensors):
            raise InputError(f"{path}: not a mask cache; make one with encode_mask(...).save(PATH)")
        keys, values = tuple(tensors["keys"].unbind()), tuple(tensors["values"].unbind())
        features = MaskFeatures(keys, values, tensors.get("counts"))
        return cls(features, header["model"], tuple(header["masks"]))


@torch.no_grad()
def encode_mask(model: MDiT, mask: Tensor | None, grid: tuple[int, int] | None = None) -> MaskCache:
    """Run the static path once.

    mask: as for ``MDiT.embed_mask``: uint8 region ids (B, H, W), or codec latents of the palette picture
    (B, C, h, w), or None for the null mask, then of ``grid`` rows and columns of tokens (8 x 8 unless told).
    """
    if mask is None:
        grid = grid or (8, 8)
        masks: tuple[str, ...] = ("none",)
    else:
        step = model.config.token_pixels if model.mask_in is not None else model.config.patch
        grid = (mask.shape[-2] // step, mask.shape[-1] // step)
        masks = tuple(mask_hash(row) for row in mask)
    features = model.static_path(model.embed_mask(mask, grid=grid), grid)
    return MaskCache(features, fingerprint(model), masks)


def join(caches: list[MaskCache]) -> MaskCache:
    """One batch of several caches of one model, for branches that see different masks.

    Where merging left different numbers of tokens, the shorter are filled up with keys whose log count is -inf, which
    no query reads.
    """
    if len({cache.model for cache in caches}) != 1:
        raise InputError("mask caches of different models cannot be joined: encode them again with one model")
    longest = max(cache.tokens for cache in caches)
    plain = all(cache.features.counts is None and cache.tokens == longest for cache in caches)
    layers = range(len(caches[0].features.keys))
    keys = tuple(torch.cat([_fill(c.features.keys[i], 2, longest, 0.0) for c in caches]) for i in layers)
    values = tuple(torch.cat([_fill(c.features.values[i], 2, longest, 0.0) for c in caches]) for i in layers)
    counts = None
    if not plain:
        counts = torch.cat([_fill(_counts(c), 2, longest, -torch.inf) for c in caches], dim=1)
    masks = tuple(mask for cache in caches for mask in cache.masks)
    return MaskCache(MaskFeatures(keys, values, counts), caches[0].model, masks)


def _counts(cache: MaskCache) -> Tensor:
    if cache.features.counts is not None:
        return cache.features.counts
    keys = cache.features.keys
    return torch.zeros(len(keys), cache.batch, cache.tokens, device=keys[0].device)


def _fill(x: Tensor, dim: int, length: int, value: float) -> Tensor:
    shape = [*x.shape[:dim], length - x.shape[dim], *x.shape[dim + 1 :]]
    return torch.cat([x, x.new_full(shape, value)], dim=dim)


def mask_hash(mask: Tensor) -> str:
    """SHA-256 (16 hex digits) of one mask's type, shape and values."""
    head = f"{mask.dtype} {tuple(mask.shape)} ".encode()
    raw = mask.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(head + raw).hexdigest()[:16]


def fingerprint(model: MDiT) -> str:
    """What a cache remembers of its model: ``weights_hash``, remembered until a weight is replaced or written to."""
    state = tuple((p.data_ptr(), p._version) for p in model.parameters())
    known = getattr(model, "_fingerprint", None)
    if known is not None and known[0] == state:
        return known[1]
    result = weights_hash(model, json.dumps(model.config.to_dict(), sort_keys=True))
    object.__setattr__(model, "_fingerprint", (state, result))
    return result
