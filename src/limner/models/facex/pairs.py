"""A prepared set of faces, several a person: everything frozen networks have to say about them, computed once.

    latents.npy    float16 (N, C, h, w)      codec latents, what is to be painted
    structure.npy  float16 (N, C, h, w)      latents of the head in grey
    reference.npy  float16 (N, K, C, h, w)   latents of the picture with the hole of each task in TASKS
    masks.npy      uint8   (N, K, h, w)      those holes at the latents' grid
    parts.npy      uint8   (N,)              the part that task "part" leaves out, of PARTS_SWAPPED
    hidden.npy     bool    (N, G)            regions that the hole of task "hole" covers
    identity.npy, level0.npy …, groups.npy, expression.npy, pose.npy, gaze.npy, light.npy     see `decompose.Factors`
    person.npy     int32   (N,)              whose face
    validation.npy bool    (N,)              held out
    prepared.json                            codec, encoders, sizes; written last, so a folder that has it is whole

Legend: N faces, K tasks, C latent channels, h x w latent grid, G = 12 regions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.data.arrays import read_array, read_header, take

from .assemble import NOWHERE
from .decompose import Factors
from .masks import GROUPS
from .plan import FACTORS, EditPlan
from .reference import put_draft

TASKS = ("head", "face", "person", "part", "hole")
PARTS_SWAPPED = ("lips", "brows", "eyes", "nose", "hair", "worn", "beard")
FACTOR_ARRAYS = ("identity", "groups", "expression", "pose", "gaze", "light")
ARRAYS = ("latents", "structure", "reference", "masks", "parts", "hidden", "person", "validation", *FACTOR_ARRAYS)
DRAFTED = (("head", "face"), ("person", "part"))
"""Tasks whose draft is the source in grey, and as it is: what ``EditPlan.drafts`` shows of whoever gives the part. (Who
reenacts is the photo there, and the source here, where tasks are seen from the picture they lead to.)"""
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


@dataclass(frozen=True)
class PreparedPairs:
    """The folder, opened; big arrays stay on disk until rows are asked for."""

    header: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @classmethod
    def open(cls, folder: str | Path) -> PreparedPairs:
        """``InputError`` if the folder was not prepared, or not to the end."""
        folder = Path(folder)
        header = read_header(folder, "a prepared set of pairs: python -m limner.models.facex.prepare makes one")
        names = (*ARRAYS, *(f"level{k}" for k in range(len(header["level_widths"]))))
        return cls(header, {name: read_array(folder, name) for name in names})

    def rows(self, validation: bool) -> np.ndarray:
        """Rows of one split whose person has another row in it, in order."""
        rows = np.flatnonzero(self.arrays["validation"] == validation)
        _, inverse, counts = np.unique(self.arrays["person"][rows], return_inverse=True, return_counts=True)
        return rows[counts[inverse] > 1]

    def partners(self, rows: np.ndarray, chances: np.ndarray) -> np.ndarray:
        """Another row of the same person for each row; chances: (B,) in [0, 1) decide which."""
        person = self.arrays["person"]
        found = []
        for row, chance in zip(rows, chances):
            others = np.flatnonzero(
                (person == person[row]) & (self.arrays["validation"] == self.arrays["validation"][row])
            )
            others = others[others != row]
            found.append(others[int(chance * len(others))])
        return np.array(found)

    def factors(self, rows: np.ndarray) -> Factors:
        """The faces of some rows taken apart."""
        taken = {name: self._take(name, rows) for name in FACTOR_ARRAYS}
        levels = tuple(self._take(f"level{k}", rows) for k in range(len(self.header["level_widths"])))
        return Factors(levels=levels, **taken)

    def batch(
        self, sources: np.ndarray, targets: np.ndarray, tasks: np.ndarray, drafts: np.ndarray | None = None
    ) -> dict[str, Tensor]:
        """Pairs, the task of each, and whether its hole shows a draft where the paper has none, (B,) each.

        latents (B, C, h, w); reference (B, C, h, w) with the source's grey head in the hole for head swaps; with
        drafts also for face swaps, and the source as it is for persons and parts; mask
        (B, 1, h, w); choice (B, F); and both pictures' factors as ``source.NAME`` and ``target.NAME``.
        """
        index = np.arange(len(targets))
        masks = self._take("masks", targets)[index, tasks][:, None]  # (B, 1, h, w)
        reference = self._take("reference", targets)[index, tasks]
        grey, colour = (np.isin(tasks, [TASKS.index(name) for name in names]) for names in DRAFTED)
        if drafts is None:
            drafts = np.zeros(len(tasks), bool)
        grey = (tasks == TASKS.index("head")) | (grey & drafts)
        for name, rows in (("structure", grey), ("latents", colour & drafts)):
            if rows.any():
                hole = torch.from_numpy(rows)[:, None, None, None] & (masks > 0)
                reference = put_draft(reference, hole, self._take(name, sources))
        choice = choice_table()[tasks, self.arrays["parts"][targets]].copy()
        textures = [FACTORS.index(name) for name in GROUPS]
        hidden = self.arrays["hidden"][targets] & (tasks == TASKS.index("hole"))[:, None]
        choice[:, textures] = np.where(hidden, NOWHERE, choice[:, textures])
        batch = {
            "latents": self._take("latents", targets),
            "reference": reference,
            "mask": masks.float(),
            "choice": torch.from_numpy(choice).long(),
        }
        for name, rows in (("source", sources), ("target", targets)):
            batch |= pack_factors(name, self.factors(rows))
        return batch

    def _take(self, name: str, rows: np.ndarray) -> Tensor:
        tensor = take(self.arrays[name], rows)
        return tensor.float() if tensor.dtype == torch.float16 else tensor


def pack_factors(prefix: str, factors: Factors) -> dict[str, Tensor]:
    """Factors as entries of a batch."""
    packed = {f"{prefix}.{name}": getattr(factors, name) for name in FACTOR_ARRAYS}
    return packed | {f"{prefix}.level{k}": level for k, level in enumerate(factors.levels)}


def unpack_factors(prefix: str, batch: dict[str, Tensor]) -> Factors:
    """Inverse of ``pack_factors``."""
    count = sum(key.startswith(f"{prefix}.level") for key in batch)
    levels = tuple(batch[f"{prefix}.level{k}"] for k in range(count))
    return Factors(levels=levels, **{name: batch[f"{prefix}.{name}"] for name in FACTOR_ARRAYS})
