"""FORS, first half: the region assembler. What of the photo stays, as a picture with a hole and the hole's mask.

Legend: S side of an aligned picture, f spatial factor of the codec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from limner.codecs.continuous import KLCodec
from limner.errors import InputError
from limner.faces.geometry import warp
from limner.faces.image_tensors import to_model

from .masks import FACTORS_OF_PART, dilate, part_mask, unpack_mask
from .plan import ABSENT, CANVAS, MOTION, EditPlan
from .portrait import Portrait

GREY = 127
"""What a hole is filled with: the middle of the range."""


@dataclass(frozen=True, eq=False)
class Reference:
    """latents: (B, C, S/f, S/f) of the picture with its hole, a grey head in it where the plan asks for one. mask:
    (B, 1, S/f, S/f), 1 where something is painted."""

    latents: Tensor
    mask: Tensor

    @classmethod
    def joined(cls, every: Sequence[Reference]) -> Reference:
        """Several as one batch."""
        latents, masks = (torch.cat([getattr(each, name) for each in every]) for name in ("latents", "mask"))
        return cls(latents, masks)


def repaint_mask(plan: EditPlan, portraits: Mapping[str, Portrait], kept: np.ndarray | None = None) -> np.ndarray:
    """What the plan paints anew, (S, S) bool, grown by its dilation.

    A part is painted where the photo has it and where the photo it is taken from has it (glasses that are added); a
    head that moves also where the driver's head is, because both are aligned by their eyes. kept: (H, W) bool, other
    people's faces in the photo, which are not painted. ``InputError`` for parts that none of the photos shows.
    """
    canvas = portraits[CANVAS]
    mask = np.zeros(canvas.regions.shape, bool)
    for part in plan.repaint:
        mask |= part_area(plan, portraits, part)
    if plan.structure is not None:
        mask |= part_mask(portraits[plan.structure].regions, "head")
    hole = drawn_hole(plan, canvas)
    if hole is not None:
        mask |= hole
    if kept is not None:
        beside = ~dilate(warp(kept.astype(np.uint8), canvas.crop, canvas.size, nearest=True, border=0) > 0, 1)
        mask &= beside
    if not mask.any():
        raise InputError(f"nothing to edit: the photo shows no {' and no '.join(plan.repaint) or 'hole'}")
    mask = dilate(mask, plan.grown(canvas.size))
    return mask if kept is None else mask & beside


def part_area(plan: EditPlan, portraits: Mapping[str, Portrait], part: str) -> np.ndarray:
    """Where a plan paints a part, (S, S) bool, before it is grown."""
    sources = {name for name in plan.factors.values() if name not in (ABSENT, CANVAS)}
    drivers = {plan.factors[factor] for factor in MOTION if factor in plan.factors} & sources
    others = sorted({plan.factors.get(name, CANVAS) for name in FACTORS_OF_PART.get(part, ())} & sources - drivers)
    mask = np.any([part_mask(portraits[name].regions, part) for name in (CANVAS, *others)], 0)
    for name in drivers if part == "person" else ():
        mask |= part_mask(portraits[name].regions, "head")
    return mask


def drawn_hole(plan: EditPlan, canvas: Portrait) -> np.ndarray | None:
    """The plan's drawn mask as it lies in the portrait, (S, S) bool, before it is grown; None where it has none."""
    if plan.hole is None:
        return None
    hole = unpack_mask(plan.hole).astype(np.uint8)
    return warp(hole, canvas.crop, canvas.size, nearest=True, border=0) > 0


def with_hole(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A picture (..., S, S, 3) uint8 with grey where the mask (..., S, S) is."""
    return np.where(mask[..., None], np.uint8(GREY), picture)


def grey_head(picture: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """The head alone without its colours, (S, S, 3) uint8: structure for a head swap."""
    luminance = (picture @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)
    return with_hole(np.repeat(luminance[..., None], 3, -1), ~part_mask(regions, "head"))


def mask_cells(mask: np.ndarray, factor: int) -> Tensor:
    """Masks (B, S, S) at the grid of latents, (B, 1, S/f, S/f) float: 1 for a cell of which any pixel is painted."""
    return F.max_pool2d(torch.from_numpy(mask)[:, None].float(), factor)


def put_hole_fill(latents: Tensor, mask: Tensor, fill: Tensor) -> Tensor:
    """The latents of a fill in the hole of a reference; all (B, C, h, w), mask (B, 1, h, w)."""
    return torch.where(mask > 0, fill, latents)


@torch.no_grad()
def assemble_reference(
    plan: EditPlan, portraits: Mapping[str, Portrait], mask: np.ndarray, codec: KLCodec, hole_fill: bool = False
) -> Reference:
    """The reference of one edit, B = 1. mask: as ``repaint_mask`` gives it. hole_fill: as trained."""
    cells, canvas = mask_cells(mask[None], codec.factor), portraits[CANVAS]
    device = next(codec.parameters()).device

    def encode(picture: np.ndarray) -> Tensor:
        return codec.encode(to_model(picture[None]).to(device)).cpu()

    latents = encode(with_hole(canvas.picture, mask))
    for part, name, grey in plan.hole_fill():
        if not (hole_fill or part == "head"):
            continue
        other = portraits[name]
        fill = encode(grey_head(other.picture, other.regions) if grey else other.picture)
        where = cells
        if part not in ("head", "person"):
            grown = dilate(part_area(plan, portraits, part), plan.grown(canvas.size))
            where = cells * mask_cells(grown[None], codec.factor)
        latents = put_hole_fill(latents, where, fill)
    return Reference(latents, cells)
