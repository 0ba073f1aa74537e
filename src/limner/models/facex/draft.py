"""A draft: the edit as warping alone would do it, for the painter to start from.

Meshes say where every point of a face goes: the photo's own where it moves, another's where it gives the face or a
part. The pictures are pulled along and pasted into the hole, and sampling starts from that with much noise on it
(SDEdit, Meng et al., arXiv 2108.01073) instead of noise alone. Our choice, not the paper's: because what warping gets
right, who it is and how fine a texture, a small painter gets wrong, and what warping gets wrong, edges, teeth and
light, it paints.

Legend: S side of a portrait, P points of a mesh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from limner.faces.geometry import similarity, warp
from limner.faces.motion import HeadPose, head_pose, in_head_axes, iris_centres, rotation_of
from limner.faces.shape import ShapeModel

from .masks import FACTORS_OF_PART, dilate, part_mask
from .plan import ABSENT, CANVAS, EditPlan
from .portrait import Portrait
from .sliders import move
from .unseen import smoothed_over

SHARES = {"person": 0.6, "face": 0.3, "part": 0.15, "gaze": 0.35}
"""How much of the way from noise to picture is still painted; what is moved furthest decides."""
GRID = 64
"""Side of the grid on which warps are computed."""
IRIS = 0.6
"""Centimetres from an iris' middle to its rim: how far around it is taken along."""
ANCHORS = 8
"""Points along each side of a picture that stay where they are."""
AROUND = 0.06
"""Share of a side around a part in which points say where it goes."""
FEWEST = 12
"""Points from which they can."""
SOFT = 0.04
"""Share of a side over which shifts blend into each other."""


@dataclass(frozen=True, eq=False)
class Draft:
    """picture: (S, S, 3) uint8, the photo with the draft in its hole. share: of the way that is left, below 1."""

    picture: np.ndarray
    share: float


def draw_draft(plan: EditPlan, portraits: Mapping[str, Portrait], mask: np.ndarray, shapes: ShapeModel) -> Draft | None:
    """The draft of a plan; None for one that has nothing to warp: a drawn hole, a head in grey, something erased, the
    person in another style. mask: (S, S) bool, what is painted."""
    canvas = portraits[CANVAS]
    if plan.hole is not None or plan.structure is not None or any(each.mesh is None for each in portraits.values()):
        return None
    motions = {"pose", "expression", "gaze"} & plan.factors.keys()
    moves = "person" in plan.repaint and bool(plan.sliders or motions)
    given = {part: _giver(plan, part) for part in plan.repaint if part != "person"}
    if not (moves or given) or any(name in (CANVAS, ABSENT) for name in given.values()) or "head" in given:
        return None
    mesh = moved_mesh(plan, portraits, shapes) if moves else _mesh(canvas)
    target = Points(mesh, moved_gaze(plan, portraits))
    picture = canvas.picture if not moves else pull(canvas.picture, points_of(canvas), target, shapes)
    kinds = set()
    if moves:
        kinds.add("person" if motions or plan.sliders.keys() - {"gaze_x", "gaze_y"} else "gaze")
    for part, name in given.items():
        other = portraits[name]
        if part == "face":
            both = pull(np.dstack([other.picture, _area(other, part)]), points_of(other), target, shapes)
            pulled, there = both[..., :3], both[..., 3]
        else:
            pulled, there = put(other, part, mesh)
        inside = there > 127
        mine = part_mask(canvas.regions, part)
        if part == "face":
            pulled = recoloured(pulled, inside, canvas.picture, mine)
        picture = np.where(inside[..., None], pulled, picture)
        if not moves:  # where the photo has the part and its giver has none: skin goes on, other parts are gone
            beyond = smoothed_over(picture, ~inside if part == "face" else mine & ~inside)
            picture = np.where((mine & ~inside)[..., None], beyond, picture)
        kinds.add("face" if part == "face" else "part")
    return Draft(np.where(mask[..., None], picture, canvas.picture), max(SHARES[kind] for kind in kinds))


def moved_mesh(plan: EditPlan, portraits: Mapping[str, Portrait], shapes: ShapeModel) -> np.ndarray:
    """Where the photo's mesh (P, 3) goes: its own shape, with the expression and pose of whom the plan names, and the
    sliders of pose. (Sliders of expression have no direction in the shape model: the painter moves those.)"""
    own = shapes.decompose(_mesh(portraits[CANVAS]))
    rest = in_head_axes(_mesh(portraits[CANVAS]), own.pose) - shapes.shape_of(own.identity, own.expression)
    poser, actor = (
        shapes.decompose(_mesh(portraits[plan.factors.get(name, CANVAS)])) for name in ("pose", "expression")
    )
    turned = rotation_of(
        poser.pose.yaw + plan.sliders.get("yaw", 0.0),
        poser.pose.pitch + plan.sliders.get("pitch", 0.0),
        poser.pose.roll,
    )
    pose = HeadPose(rotation=turned, scale=poser.pose.scale, centre=poser.pose.centre)
    shape = shapes.shape_of(own.identity, actor.expression) + rest
    return shape @ (pose.rotation.T * pose.scale) + pose.centre


def moved_gaze(plan: EditPlan, portraits: Mapping[str, Portrait]) -> np.ndarray:
    """Where the edited face looks, (2,) degrees: as whom the plan names, and along with the sliders."""
    return move(portraits[plan.factors.get("gaze", CANVAS)].motion, plan.sliders).gaze


class Points(NamedTuple):
    """What warps follow: a mesh (P, 3) and where its eyes look, (2,) degrees."""

    mesh: np.ndarray
    gaze: np.ndarray


def points_of(portrait: Portrait) -> Points:
    """A portrait's own."""
    return Points(_mesh(portrait), portrait.motion.gaze)


def pull(picture: np.ndarray, source: Points, target: Points, shapes: ShapeModel) -> np.ndarray:
    """A picture (S, S, C) uint8 with the points of ``source`` brought to those of ``target`` that can be seen.

    Between points and beyond them the shift is their mean weighed by distance⁻⁴ (Shepard 1968); the picture's border
    stays, and irises go where their gaze is, taking their neighbourhood along. Our choice over triangles: because eyes,
    mouth and hair have none.
    """
    side, seen = picture.shape[0], shapes.topology.normals(target.mesh)[:, 2] < 0
    edge = (np.arange(ANCHORS) + 0.5) * side / ANCHORS
    ends = np.concatenate([np.stack([edge, np.full(ANCHORS, end)], 1) for end in (0, side)])
    ends = np.concatenate([ends, ends[:, ::-1]])
    points = np.concatenate([target.mesh[seen, :2], ends])
    shifts = np.concatenate([(source.mesh - target.mesh)[seen, :2], np.zeros_like(ends)])

    def shift(places: np.ndarray) -> np.ndarray:
        """(N, 1, 2) to (N, 2)."""
        weights = 1 / (((places - points) ** 2).sum(-1) + (SOFT * side) ** 2) ** 2  # (N, points)
        return weights @ shifts / weights.sum(1, keepdims=True)

    at = (np.arange(GRID) + 0.5) * side / GRID
    places = np.stack(np.meshgrid(at, at), -1).reshape(-1, 1, 2)
    field = shift(places)
    poses = [head_pose(each.mesh, shapes.topology) for each in (source, target)]
    before, after = (iris_centres(*each, pose) for each, pose in zip((source, target), poses))  # (2, 2) each
    near = np.exp(-((places - after) ** 2).sum(-1) / (2 * (IRIS * poses[1].scale) ** 2))  # (GRID², 2)
    field += near @ (before - after - shift(after[:, None]))
    field = field.reshape(1, GRID, GRID, 2)
    smooth = F.interpolate(
        torch.from_numpy(field).permute(0, 3, 1, 2).float(), size=(side, side), mode="bilinear", align_corners=False
    )[0]
    middles = torch.arange(side) + 0.5
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    grid = (torch.stack([x + smooth[0], y + smooth[1]], -1) / side * 2 - 1)[None]
    pulled = F.grid_sample(
        torch.from_numpy(picture).permute(2, 0, 1)[None].float(), grid, padding_mode="border", align_corners=False
    )
    return pulled[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


def put(portrait: Portrait, part: str, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A portrait (S, S, 3) turned, scaled and shifted so that the points in and around a part lie on a mesh (P, 3), and
    where the part is in it, (S, S); both uint8. (A part keeps its shape: that is what it is taken for.)"""
    mesh, area = _mesh(portrait), _area(portrait, part)
    around = dilate(area > 0, round(AROUND * portrait.size))
    places = np.clip(mesh[:, :2].astype(int), 0, portrait.size - 1)
    near = around[places[:, 1], places[:, 0]]
    if near.sum() < FEWEST:
        near[:] = True
    matrix = similarity(mesh[near, :2], target[near, :2])
    return warp(portrait.picture, matrix, portrait.size, border="edge"), warp(area, matrix, portrait.size, border=0)


def recoloured(picture: np.ndarray, inside: np.ndarray, like: np.ndarray, where: np.ndarray) -> np.ndarray:
    """A picture with its channels scaled to the means of another's (von Kries), each inside its mask: a face in the
    light of the photo."""
    if not (inside.any() and where.any()):
        return picture
    mine, theirs = picture[inside].astype(np.float32).mean(0), like[where].astype(np.float32).mean(0)
    gain = np.clip(theirs / np.maximum(mine, 1.0), 0.5, 2.0)
    return np.clip(picture * gain, 0, 255).round().astype(np.uint8)


def _giver(plan: EditPlan, part: str) -> str:
    """Whose a part is after the plan."""
    return plan.factors.get("identity" if part in ("face", "head") else FACTORS_OF_PART[part][0], CANVAS)


def _area(portrait: Portrait, part: str) -> np.ndarray:
    """Where a part is, (S, S) uint8, 255 inside."""
    return part_mask(portrait.regions, part).astype(np.uint8) * 255


def _mesh(portrait: Portrait) -> np.ndarray:
    assert portrait.mesh is not None
    return portrait.mesh
