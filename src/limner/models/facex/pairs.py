"""A prepared set of faces, several a person: everything frozen networks have to say about them, computed once.

Of each row of a shard (see `limner.data.tensor_shards`):
    latents    float16 (n, C, h, w)      codec latents, what is to be painted
    structure  float16 (n, C, h, w)      latents of the head in grey
    reference  float16 (n, K, C, h, w)   latents of the picture with the hole of each task in TASKS
    masks      uint8   (n, K, h, w)      those holes at the latents' grid
    parts      uint8   (n,)              the part that task "part" leaves out, of PARTS_SWAPPED
    hidden     bool    (n, G)            regions that the hole of task "hole" covers
    identity, level0 …, groups, expression, pose, gaze, light     see `decompose.Factors`
    person     int64   (n,)              whose face: a hash of the name
    validation bool    (n,)              held out
And of all rows: person, validation.

Legend: n faces of a shard, K tasks, C latent channels, h x w latent grid, G = 12 regions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.data.order import EpochOrder
from limner.data.tensor_shards import TensorShards

from .assemble import NOWHERE
from .decompose import Factors
from .masks import GROUPS
from .plan import FACTORS, EditPlan
from .reference import put_hole_fill

TASKS = ("head", "face", "person", "part", "hole")
PARTS_SWAPPED = ("lips", "brows", "eyes", "nose", "hair", "worn", "beard")
FACTOR_ARRAYS = ("identity", "groups", "expression", "pose", "gaze", "light")
KIND = "a prepared set of pairs: python -m limner.models.facex.prepare makes one"
DRAFTED = (("head", "face"), ("person", "part"))
"""Tasks whose holes are filled with the source in grey, and in colour: what ``EditPlan.hole_fill`` shows. (In
reenactment that is the photo; here, where tasks are seen from the target picture, it is the source.)"""
SOURCE, TARGET = 0, 1
"""Places of the two pictures of a pair among those that tokens are picked from."""


def plan_of(task: str, part: str = "lips") -> EditPlan:
    """The plan a task trains, with the picture to be painted as the photo and the person's other one as "source".

    "person" is reenactment seen from the picture it should lead to: all of the person from the source, motion, light
    and background from the photo.
    """
    if task in ("head", "face"):
        return EditPlan.swap("source", head=task == "head")
    if task == "person":
        names = ("identity", *(name for name in GROUPS if name != "background"))
        return EditPlan(factors=dict.fromkeys(names, "source"), repaint=("person",))
    if task == "part":
        return EditPlan.regions("source", [part])
    return EditPlan(repaint=("face",))  # a hole: every factor is the photo's own


def choice_table() -> np.ndarray:
    """Which picture each factor comes from, (K, parts, F) int8, in the order of TASKS, PARTS_SWAPPED and FACTORS."""
    table = np.full((len(TASKS), len(PARTS_SWAPPED), len(FACTORS)), TARGET, np.int8)
    for k, task in enumerate(TASKS):
        for p, part in enumerate(PARTS_SWAPPED):
            factors = plan_of(task, part).factors
            table[k, p] = [SOURCE if factors.get(name) == "source" else TARGET for name in FACTORS]
    return table


class PreparedPairSet:
    """The set, opened; rows are read from disk when a batch asks for them."""

    def __init__(self, stored: TensorShards) -> None:
        self.stored = stored
        self.header: dict[str, Any] = stored.header
        self.levels = tuple(f"level{k}" for k in range(len(stored.header["level_widths"])))
        # rows by split and person, so that a person's faces are next to each other
        validation, person = stored.index["validation"], stored.index["person"]
        self._sorted = np.lexsort((np.arange(len(person)), person, validation))
        key = np.stack([validation[self._sorted].astype(np.int64), person[self._sorted]])
        begins = np.flatnonzero(np.any(np.diff(key, axis=1, prepend=key[:, :1] - 1) != 0, axis=0))
        sizes = np.diff(np.append(begins, len(person)))
        self._first, self._size = np.empty(len(person), np.int64), np.empty(len(person), np.int64)
        self._first[self._sorted], self._size[self._sorted] = np.repeat(begins, sizes), np.repeat(sizes, sizes)

    @classmethod
    def open(cls, folder: str | Path) -> PreparedPairSet:
        """``InputError`` if the folder was not prepared, or not to the end."""
        return cls(TensorShards.read(Path(folder), KIND))

    def rows(self, validation: bool) -> np.ndarray:
        """Rows of one split whose person has another row in it, in order."""
        return np.flatnonzero((self.stored.index["validation"] == validation) & (self._size > 1))

    def order(self, rows: np.ndarray, seed: int) -> EpochOrder:
        """The order in which ascending rows are visited."""
        return EpochOrder(self.stored.by_shard(rows), seed)

    def partners(self, rows: np.ndarray, chances: np.ndarray) -> np.ndarray:
        """Another row of the same person for each row; chances: (B,) in [0, 1) decide which."""
        found = []
        for row, chance in zip(rows, chances):
            mine = self._sorted[self._first[row] : self._first[row] + self._size[row]]
            others = mine[mine != row]
            found.append(others[int(chance * len(others))])
        return np.array(found)

    def factors(self, rows: np.ndarray) -> Factors:
        """The faces of some rows taken apart."""
        taken = self._take((*FACTOR_ARRAYS, *self.levels), rows)
        return Factors(levels=tuple(taken.pop(name) for name in self.levels), **taken)

    def batch(
        self, sources: np.ndarray, targets: np.ndarray, tasks: np.ndarray, hole_fill: np.ndarray | None = None
    ) -> dict[str, Tensor]:
        """Pairs, the task of each, and whether its hole shows a draft where the paper has none, (B,) each.

        latents (B, C, h, w); reference (B, C, h, w) with the source's grey head in the hole for head swaps; with
        hole_fill also for face swaps, and the source as it is for persons and parts; mask
        (B, 1, h, w); choice (B, F); and both pictures' factors as ``source.NAME`` and ``target.NAME``.
        """
        index = np.arange(len(targets))
        taken = self._take(("latents", "masks", "reference", "parts", "hidden"), targets)
        masks = taken["masks"][index, tasks][:, None]  # (B, 1, h, w)
        reference = taken["reference"][index, tasks]
        grey, colour = (np.isin(tasks, [TASKS.index(name) for name in names]) for names in DRAFTED)
        if hole_fill is None:
            hole_fill = np.zeros(len(tasks), bool)
        grey = (tasks == TASKS.index("head")) | (grey & hole_fill)
        for name, rows in (("structure", grey), ("latents", colour & hole_fill)):
            if rows.any():
                hole = torch.from_numpy(rows)[:, None, None, None] & (masks > 0)
                reference = put_hole_fill(reference, hole, self.take(name, sources))
        choice = choice_table()[tasks, taken["parts"].numpy()].copy()
        textures = [FACTORS.index(name) for name in GROUPS]
        hidden = taken["hidden"].numpy() & (tasks == TASKS.index("hole"))[:, None]
        choice[:, textures] = np.where(hidden, NOWHERE, choice[:, textures])
        batch = {
            "latents": taken["latents"],
            "reference": reference,
            "mask": masks.float(),
            "choice": torch.from_numpy(choice).long(),
        }
        for name, rows in (("source", sources), ("target", targets)):
            batch |= pack_factors(name, self.factors(rows))
        return batch

    def take(self, name: str, rows: np.ndarray) -> Tensor:
        """Rows of one tensor, float32 where it is stored in float16."""
        return self._take((name,), rows)[name]

    def _take(self, names: tuple[str, ...], rows: np.ndarray) -> dict[str, Tensor]:
        found = self.stored.take(names, rows)
        return {name: value.float() if value.dtype == torch.float16 else value for name, value in found.items()}


def pack_factors(prefix: str, factors: Factors) -> dict[str, Tensor]:
    """Factors as entries of a batch."""
    packed = {f"{prefix}.{name}": getattr(factors, name) for name in FACTOR_ARRAYS}
    return packed | {f"{prefix}.level{k}": level for k, level in enumerate(factors.levels)}


def unpack_factors(prefix: str, batch: dict[str, Tensor]) -> Factors:
    """Inverse of ``pack_factors``."""
    count = sum(key.startswith(f"{prefix}.level") for key in batch)
    levels = tuple(batch[f"{prefix}.level{k}"] for k in range(count))
    return Factors(levels=levels, **{name: batch[f"{prefix}.{name}"] for name in FACTOR_ARRAYS})
