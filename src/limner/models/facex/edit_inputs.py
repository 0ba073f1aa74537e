"""An edit between analysis and sampling: decomposed faces, tokens and reference.

Legend: S side of a portrait, N tokens of a face, D their width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limner.codecs.continuous import KLCodec
from limner.errors import InputError
from limner.faces.image_tensors import to_model, to_pictures
from limner.faces.picture import encode_png
from limner.provenance.manifest import Ingredient

from .blend import blend_back
from .decompose import Factors
from .detail_transfer import Detail
from .loading import Strength
from .masks import unpack_mask
from .motion import EXPRESSION
from .plan import CANVAS, MOTION, EditPlan
from .portrait import Portrait
from .reference import Reference
from .sample import InitLatents, first_step
from .sliders import direction, move
from .tones import toned, tones_of
from .warped_init import WarpedInit

MOVED = "the photo, moved"
"""Name of the photo whose motion the sliders moved, among those that tokens are picked from."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A photo (H, W, 3), its face, and the face taken apart. others: (H, W) bool, where other people's faces are."""

    photo: np.ndarray
    portrait: Portrait
    factors: Factors
    file: str
    face: int
    others: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class EditInputs:
    """Everything an edit is sampled from.

    tokens and negative: (1, N, D), what guidance goes to and away from. mask: (S, S) bool. init: the warped picture
    that sampling starts from; None for pure noise.
    """

    plan: EditPlan
    subjects: Mapping[str, Subject]
    seed: int
    tokens: Tensor
    negative: Tensor
    reference: Reference
    mask: np.ndarray
    init: WarpedInit | None = None

    @property
    def photo(self) -> np.ndarray:
        """The whole photo that is edited, (H, W, 3) uint8."""
        return self.subjects[CANVAS].photo

    def share(self, kept: float) -> float:
        """How much of the way from noise to picture is painted; kept: ``Strength.warp_strength``."""
        return 1.0 if self.init is None else 1 - kept * (1 - self.init.share)

    def blend(self, painted: np.ndarray) -> np.ndarray:
        """The whole photo (H, W, 3) with a painted crop (S, S, 3) in its place."""
        canvas = self.subjects[CANVAS]
        portrait, tones = canvas.portrait, tones_of(self.photo)
        if tones is not None:
            painted = toned(painted, tones)
        kept = kept_faces(self.plan, canvas.others)
        return blend_back(self.photo, painted, self.mask, portrait.crop, self.plan.grown(portrait.size), kept)


def kept_faces(plan: EditPlan, others: np.ndarray | None) -> np.ndarray | None:
    """Other people's faces (H, W) bool, but for what the plan's own drawn mask marks of them."""
    return others if others is None or plan.hole is None else others & ~unpack_mask(plan.hole)


def steps_of(batch: Sequence[EditInputs], steps: int, strength: Strength) -> int:
    """Sampling steps of a batch: fewer than requested if all edits start from warped inits."""
    return steps - min(first_step(each.share(strength.warp_strength), steps) for each in batch)


@dataclass(frozen=True, eq=False)
class BatchInit:
    """Initial latents of a batch besides noise, and the codec's error on each init; None without inits."""

    init: InitLatents | None
    details: tuple[Detail | None, ...]
    kept: float

    @classmethod
    @torch.no_grad()
    def of(cls, batch: Sequence[EditInputs], kept: float, codec: KLCodec) -> BatchInit:
        """Encode the inits of a batch, only where ``kept`` is above 0."""
        starts = [each.reference.latents for each in batch]
        details: list[Detail | None] = [None] * len(batch)
        weight = next(codec.parameters())
        for place, each in enumerate(batch):
            if each.init is not None and kept > 0:
                start = codec.encode(to_model(each.init.picture[None]).to(weight))
                starts[place] = start.to(starts[place])
                details[place] = Detail(each.init.picture, to_pictures(codec.decode(start))[0], each.init.seams)
        if all(each is None for each in details):
            return cls(None, tuple(details), kept)
        return cls(InitLatents(torch.cat(starts), tuple(each.share(kept) for each in batch)), tuple(details), kept)

    def finished(self, pictures: np.ndarray) -> np.ndarray:
        """Sampled pictures (B, S, S, 3) with the details of their inits restored."""
        return np.stack(
            [
                picture if detail is None else detail.restore(picture, self.kept)
                for picture, detail in zip(pictures, self.details, strict=True)
            ]
        )


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
    expression, pose, gaze = move(motion, plan.sliders).normalised()
    if (
        factors[CANVAS].expression.shape[1] != EXPRESSION
    ):  # coefficients, among which no slider of expression has a place
        if named := [name for name in plan.sliders if np.any(direction(name))]:
            raise InputError(
                f"the slider '{named[0]}' moves Limner's measures of expression, and this controller reads D3DFR's "
                "coefficients: reenact a photo that shows the expression"
            )
        expression = factors[plan.factors.get("expression", CANVAS)].expression[0].cpu().numpy()
        turned = factors[owner].pose[0].cpu().numpy().copy()
        turned[:3] += pose[:3] - motion.normalised()[1][:3]
        pose = turned
    moved = factors[CANVAS].with_motion(expression, pose, gaze)
    pointed = plan.model_copy(update={"factors": {**plan.factors, **dict.fromkeys(MOTION, MOVED)}})
    return {**factors, MOVED: moved}, pointed
