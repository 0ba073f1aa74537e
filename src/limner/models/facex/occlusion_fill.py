"""Measurements of a photo that exclude what a drawn hole covers.

Without this, the conditions would leak the content under the hole: its textures, its share of the identity, the gaze of
hidden eyes.

Legend: S side of an aligned picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from limner.faces.geometry import warp
from limner.faces.reader import FaceReader
from limner.faces.record import Face
from limner.faces.regions import Region

from .masks import GROUPS, dilate, groups_of, part_mask
from .motion import SIZE, motion_of
from .plan import ABSENT, MOTION, EditPlan
from .portrait import Portrait

COVERED = 0.6
"""Share of a region's pixels from which its texture counts as not known."""


@dataclass(frozen=True, eq=False)
class Visible:
    """portrait: what factors are taken from. unknown: those that cannot be known, dropped. hole: (S, S) bool, what of
    the picture is not seen but smoothed over, where a hole was drawn."""

    portrait: Portrait
    unknown: tuple[str, ...] = ()
    hole: np.ndarray | None = None

    def known(self, plan: EditPlan) -> EditPlan:
        """The plan with what is unknown of the photo dropped, unless another photo gives it."""
        return plan.model_copy(update={"factors": {**dict.fromkeys(self.unknown, ABSENT), **plan.factors}})


def visible_rest(plan: EditPlan, portrait: Portrait, hole: np.ndarray | None, reader: FaceReader) -> Visible:
    """The photo as the plan may know it.

    hole: (S, S) bool, the drawn mask in the portrait, None where nothing was drawn. A region that it covers is not
    known; identity, motion, mesh, irises and light are read again from the picture with the hole smoothed over, and
    dropped where that shows no face. A beard that is to go leaves the skin above it (our choice: because a beard is a
    texture of the skin, and its wearer is who he is without it).
    """
    regions, hidden = portrait.regions, np.zeros(portrait.regions.shape, bool)
    if plan.factors.get("skin") is None and "beard" in plan.repaint:
        hidden |= part_mask(regions, "beard") & (regions == Region.SKIN)
    if hole is None:
        return Visible(_without(portrait, hidden)) if hidden.any() else Visible(portrait)
    hole = dilate(hole, 1)  # pixels at its edge were averaged with some inside
    hidden |= hole
    unknown = [name for name, hid in zip(GROUPS, covered(hidden, groups_of(regions)), strict=True) if hid]
    smooth = smoothed_over(portrait.picture, hole)
    face = _read_again(smooth, reader)
    seen = _without(replace(portrait, picture=smooth), hidden)
    if face is None:
        return Visible(replace(seen, mesh=None, irises=None), (*unknown, *MOTION, "light"), hole)
    motion, mesh = motion_of(face.landmarks, face.expression, face.gaze, reader.topology), face.landmarks
    there = {"mesh": mesh * (portrait.size / SIZE), "irises": face.irises[:, 0] * (portrait.size / SIZE)}
    read = replace(seen, motion=motion, light=np.asarray(face.light, np.float32), **there)
    return Visible(read, tuple(unknown), hole)


def covered(hidden: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Regions too hidden for their texture to be known, (12,) bool. hidden: (S, S) bool; groups: (S, S)."""
    there = np.bincount(groups.ravel(), minlength=len(GROUPS))
    gone = np.bincount(groups[hidden], minlength=len(GROUPS))
    return gone > COVERED * there


def smoothed_over(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """A picture (S, S, C) uint8 with a hole (S, S) bool filled from its surroundings, coarse to fine (our choice:
    because the networks that look at it never saw a grey patch)."""
    smooth = carried_on(picture, hole).round().clip(0, 255).astype(np.uint8)
    return np.where(hole[..., None], smooth, picture)


def carried_on(values: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Values (S, S, C) in a hole (S, S) bool as their surroundings have them, (S, S, C) float32.

    Each level is the mean of what is known in 2 x 2 cells of the finer one; what stays unknown takes the coarser
    level's value.
    """
    known = torch.from_numpy(~hole)[None, None].float()
    sums = torch.from_numpy(values).permute(2, 0, 1)[None].float() * known
    levels = [(sums, known)]
    while min(sums.shape[2:]) > 1:
        sums, known = (F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False) for x in (sums, known))
        levels.append((sums, known))
    filled = sums / known.clamp_min(1e-6)
    for sums, known in reversed(levels[:-1]):
        coarse = F.interpolate(filled, size=sums.shape[2:], mode="bilinear", align_corners=False)
        filled = torch.where(known > 0, sums / known.clamp_min(1e-6), coarse)
    return filled[0].permute(1, 2, 0).numpy()


def _read_again(picture: np.ndarray, reader: FaceReader) -> Face | None:
    if len(picture) != SIZE:
        picture = warp(picture, np.array([[1.0, 0, 0], [0, 1, 0]]) * (SIZE / len(picture)), SIZE)
    return reader.read_crops(picture[None], recognise=False)[0]


def _without(portrait: Portrait, hidden: np.ndarray) -> Portrait:
    """The portrait with hidden pixels in no region of the person."""
    return replace(portrait, regions=np.where(hidden, np.uint8(Region.BACKGROUND), portrait.regions))
