"""The warped init: the edit as landmark warping alone would make it, as the starting point of sampling.

Meshes define where every point of a face goes: the photo's own mesh where it moves, another photo's mesh where it gives
the face or a region. The pictures are warped accordingly and pasted into the hole. Sampling starts from the result with
noise added (SDEdit, Meng et al., arXiv 2108.01073) instead of from pure noise. Our choice, not the paper's: warping
preserves identity and fine texture, which a small model loses; the model repairs edges, teeth and light, which warping
gets wrong.

Legend: S side of a portrait, P points of a mesh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from limner.faces.expression_solver import lids_along, likeliest
from limner.faces.geometry import similarity, warp
from limner.faces.motion import HeadPose, head_pose, in_head_axes, iris_centres, rotation_of, turn
from limner.faces.shape import ShapeModel
from limner.faces.topology import Topology

from .landmark_warp import CLOSED, DARK, Points, fill_mouth, opening, pull
from .masks import FACTORS_OF_PART, dilate, part_mask
from .occlusion_fill import smoothed_over
from .plan import ABSENT, CANVAS, MOTION, EditPlan
from .portrait import Portrait
from .relight import lit_as, recoloured
from .sliders import move

RENDER_VERSION = 8
"""Version of warping and blending, stored in recipes. Increase it with every change that alters the picture of a given
plan and seed, including changes of the shape model."""
SHARES = {"head": 0.3, "person": 0.3, "expression": 0.3, "face": 0.1, "part": 0.1, "gaze": 0.05}
"""Share of the noise schedule that is still sampled, by what moves most."""
A_DEGREE = 0.01
"""What each degree that a head turns adds to that of a person, because it uncovers what no photo shows …"""
MOST = 0.6
"""… up to this."""
WHOLE = ("face", "head")
"""Parts that come in the photo's light and follow a mesh …"""
PULLED = (*WHOLE, "hair")
"""… as hair does; others keep their shape, which is what they are taken for."""
SET_IN = ("brows", "eyes", "nose", "glasses", "beard")
"""Parts that come with the skin around them and run into the photo's own."""
BRIGHTER = (0.8, 1.25)
"""How much darker or brighter a head may become in it. Its colours stay: what is skin's and what is light's cannot be
told apart, and a head brings its own skin."""
AROUND = 0.06
"""Share of a side around a part in which points say where it goes."""
RIM = 0.03
"""Share of a side of that skin: less than a part's hole is grown by."""
FRINGE = 0.02
"""Share of a side by which a head that goes is grown: single hairs are not in its region."""
SEAM = 0.012
"""Share of a side on both sides of an edge that pasting made."""
FEWEST = 12
"""Points from which they can."""
FURTHER = np.array([1.25, 1.9])
"""How much further irises go in their eyes than their gaze says, across and down. Our choice: because warped photos
of other people followed the sliders best; what lies between lids that stay hides some of an iris' way."""


@dataclass(frozen=True, eq=False)
class WarpedInit:
    """picture: (S, S, 3) uint8, the photo with the warped content in its hole. share: of the noise schedule that is
    sampled, below 1. seams: (S, S) bool, edges made by pasting a face or a head, which no photo shows. (Smaller
    regions consist mostly of such edges.)"""

    picture: np.ndarray
    share: float
    seams: np.ndarray


def draw_warped_init(
    plan: EditPlan, portraits: Mapping[str, Portrait], mask: np.ndarray, shapes: ShapeModel
) -> WarpedInit | None:
    """The warped init of a plan; None for one that has nothing to warp: a drawn hole (see ``mirror_inpaint``),
    something erased, the person in another style (whose colours would stay). mask: (S, S) bool, what is painted."""
    canvas = portraits[CANVAS]
    if plan.hole is not None or any(each.mesh is None for each in portraits.values()):
        return None
    motions = plan.factors.keys() & set(MOTION)
    moves = "person" in plan.repaint and bool(plan.sliders or motions)
    parts = sorted((part for part in plan.repaint if part != "person"), key=lambda part: part not in WHOLE)
    given = {part: _giver(plan, part) for part in parts}  # faces first: what else is given lies upon them
    if not (moves or given) or any(name in (CANVAS, ABSENT) for name in given.values()):
        return None
    mesh = moved_mesh(plan, portraits, shapes) if moves else _mesh(canvas)
    target = home = Points(mesh, moved_irises(plan, portraits, mesh, shapes.topology))
    own = points_of(canvas, shapes.topology)
    picture = canvas.picture if not moves else pull(canvas.picture, own, home, shapes.topology)
    seams = np.zeros(mask.shape, bool)
    kinds = {_moved(name) for name in (*motions, *plan.sliders)} if moves else set()
    whole = given.keys() & set(WHOLE)
    for part, name in given.items():
        other, mine = portraits[name], _area(canvas, part)
        if part in WHOLE:
            face, faces = (part_mask(each.regions, "face") for each in (canvas, other))
            lit = recoloured(other.picture, faces, canvas.picture, face, BRIGHTER if part == "head" else None)
            other = replace(other, picture=lit)
            worn = mesh if part == "face" else moved_mesh(plan, portraits, shapes, name)
            target = Points(worn, moved_irises(plan, portraits, worn, shapes.topology, name))
        masks = _rimmed(other, part) if part in SET_IN else _area(other, part)
        pulled, inside = bring(other, part, masks, target, shapes.topology)
        if part in SET_IN:
            pulled, inside = set_in(pulled, inside, part, picture, None if moves or whole else canvas.regions)
        if part in WHOLE and not inside.any():
            return None  # whoever gives it shows none
        if part == "head":  # all of the photo's own goes, wherever it went, and nothing of it colours what comes there
            old = mine if not moves else np.maximum(mine, pull(mine[..., None], own, home, shapes.topology)[..., 0])
            picture = smoothed_over(picture, dilate(old > 127, round(FRINGE * canvas.size)))
        picture = np.where(inside[..., None], pulled, picture)
        if part in WHOLE:
            seams |= seam(inside)
        gone = (mine > 127) & ~inside  # where the photo has the part and its giver has none
        if part != "head" and not moves:  # skin goes on, other parts are gone
            beyond = smoothed_over(picture, ~inside if part == "face" else gone)
            picture = np.where(gone[..., None], beyond, picture)
        kinds.add(part if part in WHOLE else "part")
    if moves or whole:
        picture = opened(picture, plan, portraits, target, shapes)
    share = max(SHARES[kind] for kind in kinds)
    if "person" in kinds:
        degrees = turn(*(head_pose(each, shapes.topology) for each in (_mesh(canvas), mesh)))
        share = max(share, min(SHARES["person"] + A_DEGREE * degrees, MOST))
    return WarpedInit(np.where(mask[..., None], picture, canvas.picture), share, seams)


def opened(
    picture: np.ndarray, plan: EditPlan, portraits: Mapping[str, Portrait], target: Points, shapes: ShapeModel
) -> np.ndarray:
    """A warped picture (S, S, 3) with the inside of the mouth where the warped face had it closed: that of the photo
    that gives the expression if its mouth is open, else dark, for the model to add teeth."""
    names = [plan.factors.get(factor, CANVAS) for factor in ("identity", "expression")]
    face, actor = (portraits[name] for name in names)
    gaps = [opening(mesh, shapes.topology) for mesh in (_mesh(face), target.mesh, _mesh(actor))]
    if gaps[0] > CLOSED or gaps[1] <= CLOSED:
        return picture
    if gaps[2] <= CLOSED:
        return fill_mouth(picture, target.mesh, np.array(DARK))
    inside = pull(actor.picture, points_of(actor, shapes.topology), target, shapes.topology)
    return fill_mouth(picture, target.mesh, inside)


def moved_mesh(
    plan: EditPlan, portraits: Mapping[str, Portrait], shapes: ShapeModel, owner: str = CANVAS
) -> np.ndarray:
    """Where the owner's mesh (P, 3) goes: its own shape, with the expression and pose of whom the plan names, and the
    sliders (those of expression as the likeliest movement that shows what they ask for, see ``movement``)."""
    own = shapes.decompose(_mesh(portraits[owner]))
    rest = in_head_axes(_mesh(portraits[owner]), own.pose) - shapes.shape_of(own.identity, own.expression)
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
    acts = portraits[plan.factors.get("expression", CANVAS)].motion
    change = move(acts, plan.sliders).expression - acts.expression
    step = likeliest(shapes, shape, change.astype(np.float64))
    shape = shapes.shape_of(own.identity, actor.expression + step) + rest
    mesh = shape @ (pose.rotation.T * pose.scale) + pose.centre
    up = plan.sliders.get("gaze_y", 0.0)
    if not up:
        return mesh
    gaze = moved_gaze(plan, portraits)
    before, after = (iris_centres(mesh, each, pose) for each in (gaze - [0, up], gaze))
    return lids_along(mesh, FURTHER * (after - before))


def moved_gaze(plan: EditPlan, portraits: Mapping[str, Portrait]) -> np.ndarray:
    """Where the edited face looks, (2,) degrees: as whom the plan names, and along with the sliders."""
    return move(portraits[plan.factors.get("gaze", CANVAS)].motion, plan.sliders).gaze


def moved_irises(
    plan: EditPlan, portraits: Mapping[str, Portrait], mesh: np.ndarray, topology: Topology, owner: str = CANVAS
) -> np.ndarray:
    """Where the owner's irises (2, 2) are when the face has a mesh (P, 3) and looks as the plan says: as far from where
    their own gaze alone would put them as in the owner's photo, and moved as the gaze is: along with the head, and in
    it ``FURTHER``."""
    whose, pose = portraits[owner], head_pose(mesh, topology)
    own = head_pose(_mesh(whose), topology)
    off = points_of(whose, topology).irises - iris_centres(_mesh(whose), whose.motion.gaze, own)
    along = whose.motion.gaze + np.array([pose.yaw - own.yaw, pose.pitch - own.pitch])
    before, after = (iris_centres(mesh, gaze, pose) for gaze in (along, moved_gaze(plan, portraits)))
    return before + off * (pose.scale / own.scale) + FURTHER * (after - before)


def points_of(portrait: Portrait, topology: Topology) -> Points:
    """A portrait's own; irises that were not measured, where its gaze puts them."""
    mesh, irises = _mesh(portrait), portrait.irises
    if irises is None:
        irises = iris_centres(mesh, portrait.motion.gaze, head_pose(mesh, topology))
    return Points(mesh, irises)


def bring(
    portrait: Portrait, part: str, masks: np.ndarray, target: Points, topology: Topology
) -> tuple[np.ndarray, np.ndarray]:
    """A portrait (S, S, 3) uint8 with a part of it brought to a mesh, and masks of it (S, S[, 3]) uint8 likewise, as
    bool: all of it pulled along (``PULLED``), or turned, scaled and shifted so that the points in and around the part
    lie there."""
    size = portrait.size
    if part in PULLED:
        both = pull(np.dstack([portrait.picture, masks]), points_of(portrait, topology), target, topology)
        return both[..., :3], both[..., 3:].reshape(masks.shape) > 127
    matrix = placed(portrait, part_mask(portrait.regions, part), target.mesh)
    return warp(portrait.picture, matrix, size, border="edge"), warp(masks, matrix, size, border=0) > 127


def placed(portrait: Portrait, area: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity (2, 3) that brings the points in and around an area (S, S) bool onto a mesh (P, 3)."""
    mesh = _mesh(portrait)
    around = dilate(area, round(AROUND * portrait.size))
    places = np.clip(mesh[:, :2].astype(int), 0, portrait.size - 1)
    near = around[places[:, 1], places[:, 0]]
    if near.sum() < FEWEST:
        near[:] = True
    return similarity(mesh[near, :2], target[near, :2])


def set_in(
    brought: np.ndarray, masks: np.ndarray, part: str, picture: np.ndarray, regions: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """What was brought, in the light that a picture (S, S, 3) has on the skin there, and where it goes, (S, S) bool.

    masks: (S, S, 3) bool, those of ``_rimmed`` that came along. regions: (S, S) of the picture, if known: its own
    glasses stay upon what is set in, and skin comes upon skin.
    """
    itself, rim, skin = np.moveaxis(masks, -1, 0)
    if regions is not None:
        shaded, bare = shade(regions), part_mask(regions, "skin")
        if part != "glasses":
            itself, bare = itself & ~part_mask(regions, "glasses"), bare & ~shaded
        rim, skin = rim & (bare | part_mask(regions, part)), skin & bare & ~shaded
    inside = itself | rim
    return lit_as(brought, picture, ~skin | inside), inside


def seam(inside: np.ndarray) -> np.ndarray:
    """Where what is pasted into a mask (S, S) bool meets what it lies upon, (S, S) bool."""
    pixels = max(1, round(SEAM * len(inside)))
    return dilate(inside, pixels) & dilate(~inside, pixels)


def _moved(name: str) -> str:
    """What a factor of motion or a slider moves."""
    return "person" if name in ("pose", "yaw", "pitch") else "gaze" if name.startswith("gaze") else "expression"


def _giver(plan: EditPlan, part: str) -> str:
    """Whose a part is after the plan."""
    return plan.factors.get("identity" if part in ("face", "head") else FACTORS_OF_PART[part][0], CANVAS)


def _area(portrait: Portrait, part: str) -> np.ndarray:
    """Where a part is, (S, S) uint8, 255 inside."""
    return part_mask(portrait.regions, part).astype(np.uint8) * 255


def _rimmed(portrait: Portrait, part: str) -> np.ndarray:
    """Where a part is, the skin around it that comes along, and all skin, (S, S, 3) uint8 likewise; skin that glasses
    shade comes along with them alone."""
    itself, skin = part_mask(portrait.regions, part), part_mask(portrait.regions, "skin")
    lit = skin & ~shade(portrait.regions)
    rim = dilate(itself, round(RIM * portrait.size)) & (skin if part == "glasses" else lit)
    return np.dstack([itself, rim, lit]).astype(np.uint8) * 255


def shade(regions: np.ndarray) -> np.ndarray:
    """Glasses and where they shade the skin around them, (S, S) bool."""
    return dilate(part_mask(regions, "glasses"), round(RIM * len(regions) / 3))


def _mesh(portrait: Portrait) -> np.ndarray:
    assert portrait.mesh is not None
    return portrait.mesh
