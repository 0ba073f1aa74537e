"""An edit between its two halves: faces read and taken apart, tokens and reference ready to be sampled.

Legend: S side of a portrait, N tokens of a face, D their width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from limner.faces.picture import encode_png
from limner.provenance.manifest import Ingredient

from .blend import blend_back
from .decompose import Factors
from .detail import Detail
from .loading import Strength
from .plan import CANVAS, MOTION, EditPlan
from .portrait import Portrait
from .reference import Reference
from .sliders import move

MOVED = "the photo, moved"
"""Name of the photo whose motion the sliders moved, among those that tokens are picked from."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A photo (H, W, 3), its face, and the face taken apart."""

    photo: np.ndarray
    portrait: Portrait
    factors: Factors
    file: str
    face: int


@dataclass(frozen=True, eq=False)
class Prepared:
    """An edit ready to be sampled: tokens (1, N, D), those of its foil, reference, mask (S, S), and what it is made
    from."""

    plan: EditPlan
    subjects: Mapping[str, Subject]
    seed: int
    tokens: Tensor
    foil: Tensor
    reference: Reference
    mask: np.ndarray
    detail: Detail | None = None

    @property
    def photo(self) -> np.ndarray:
        """The whole photo that is edited, (H, W, 3) uint8."""
        return self.subjects[CANVAS].photo

    def detailed(self, painted: np.ndarray, strength: Strength) -> np.ndarray:
        """A painted crop (S, S, 3) with what the codec lost of its draft given back."""
        return painted if self.detail is None else self.detail.given_back(painted, strength.draft)

    def blend(self, painted: np.ndarray) -> np.ndarray:
        """The whole photo (H, W, 3) with a painted crop (S, S, 3) in its place."""
        return blend_back(self.photo, painted, self.mask, self.subjects[CANVAS].portrait.crop)


def steps_of(batch: Sequence[Prepared], steps: int, strength: Strength) -> int:
    """Steps that a batch takes: fewer than asked for where all of it starts from drafts."""
    drafts = Reference.joined([each.reference for each in batch]).drafts(strength.draft)
    return steps if drafts is None else steps - min(drafts.steps(steps))


def ingredients(subjects: Mapping[str, Subject]) -> tuple[Ingredient, ...]:
    """The photos an edit was made from, for its manifest; the edited one as its parent."""
    return tuple(
        Ingredient(subject.file, encode_png(subject.photo), "image/png", edited=name == CANVAS)
        for name, subject in subjects.items()
    )


def moved_by_sliders(
    plan: EditPlan, portraits: Mapping[str, Portrait], factors: dict[str, Factors]
) -> tuple[dict[str, Factors], EditPlan]:
    """Sliders as one more photo: that of whoever moves, after the sliders. Each factor of motion comes from it."""
    owner = plan.factors.get("pose", CANVAS)
    motion = portraits[owner].motion
    for name in ("expression", "gaze"):
        other = plan.factors.get(name, CANVAS)
        motion = type(motion)(**{**vars(motion), name: getattr(portraits[other].motion, name)})
    moved = factors[CANVAS].with_motion(*move(motion, plan.sliders).normalised())
    pointed = plan.model_copy(update={"factors": {**plan.factors, **dict.fromkeys(MOTION, MOVED)}})
    return {**factors, MOVED: moved}, pointed
