"""Drafts: meshes pull pictures to where they should be, each part from its giver, and sampling starts from there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from limner.aliases import PICTURE_RECIPE
from limner.errors import InputError
from limner.evaluation.edit_measurement import gaze_of
from limner.faces.geometry import transform_points, warp
from limner.faces.landmarks import LIDS
from limner.faces.motion import gaze_direction, head_pose, iris_centres
from limner.faces.reader import FaceReader
from limner.faces.record import Face
from limner.faces.regions import Region
from limner.faces.shape import ShapeModel
from limner.models.facex.edit_inputs import BatchInit
from limner.models.facex.engine import FaceX
from limner.models.facex.landmark_warp import DARK, Points, opening, pull, visible
from limner.models.facex.masks import dilate, part_mask
from limner.models.facex.plan import EditPlan
from limner.models.facex.portrait import Portrait, portrait_of
from limner.models.facex.reference import repaint_mask
from limner.models.facex.relight import recoloured
from limner.models.facex.sliders import move
from limner.models.facex.warped_init import (
    SHARES,
    draw_warped_init,
    moved_gaze,
    moved_irises,
    moved_mesh,
    points_of,
    seam,
)


@pytest.fixture(scope="module")
def shapes() -> ShapeModel:
    return ShapeModel.load()


@pytest.fixture(scope="module")
def hers(photo: np.ndarray, face: Face, reader: FaceReader) -> Portrait:
    return portrait_of(photo, face, 256, reader.topology)


@pytest.fixture(scope="module")
def turned(hers: Portrait) -> Portrait:
    """Her picture, turned by 15 degrees in its plane, shrunk and moved: another place for every point."""
    c, s = 0.85 * np.cos(np.radians(15)), 0.85 * np.sin(np.radians(15))
    matrix = np.array([[c, -s, 50.0], [s, c, -10.0]])
    mesh = mesh_of(hers).copy()
    mesh[:, :2] = transform_points(mesh, matrix)[:, :2]
    mesh[:, 2] *= 0.85
    picture, regions = warp(hers.picture, matrix, 256), warp(hers.regions, matrix, 256, nearest=True, border=0)
    assert hers.irises is not None
    return replace(hers, picture=picture, regions=regions, mesh=mesh, irises=transform_points(hers.irises, matrix))


def mesh_of(portrait: Portrait) -> np.ndarray:
    assert portrait.mesh is not None
    return portrait.mesh


def test_a_portrait_keeps_its_mesh_in_its_own_pixels(photo: np.ndarray, face: Face, reader: FaceReader, hers) -> None:
    small = portrait_of(photo, face, 64, reader.topology)
    assert np.allclose(mesh_of(small) * 4, mesh_of(hers), atol=1e-3)
    eyes = mesh_of(hers)[[33, 263], :2]
    assert (np.abs(eyes.mean(0) - [128, 115]) < 14).all() and 40 < np.diff(eyes[:, 0])[0] < 110


def test_pulled_points_land_where_the_mesh_says(hers: Portrait, turned: Portrait, shapes: ShapeModel) -> None:
    back = pull(turned.picture, points_of(turned, shapes.topology), points_of(hers, shapes.topology), shapes.topology)
    inside = part_mask(hers.regions, "nose") | part_mask(hers.regions, "lips") | part_mask(hers.regions, "eyes")
    off, before = (np.abs(each.astype(int) - hers.picture)[inside].mean() for each in (back, turned.picture))
    assert off < 9 < 25 < before
    still = pull(hers.picture, points_of(hers, shapes.topology), points_of(hers, shapes.topology), shapes.topology)
    assert np.abs(still.astype(int) - hers.picture).max() <= 1, "nothing moves, nothing changes"
    assert np.abs(back[:2].astype(int) - turned.picture[:2]).mean() < 6, "the border stays"


def test_points_near_each_other_part_ways(hers: Portrait, shapes: ShapeModel) -> None:
    """An opened mouth: lips that touch are pulled apart, each exactly to where its points go."""
    opened = mesh_of(hers).copy()
    below = opened[:, 1] > opened[13, 1] + 0.5
    near = np.linalg.norm(opened[:, :2] - opened[14, :2], axis=1) < 30
    opened[below & near, 1] += 8
    places = np.indices((256, 256)).transpose(1, 2, 0)[..., ::-1].astype(np.uint8)  # each pixel says where it was
    said = pull(
        np.ascontiguousarray(places),
        points_of(hers, shapes.topology),
        Points(opened, points_of(hers, shapes.topology).irises),
        shapes.topology,
    )
    seen = shapes.topology.normals(opened)[:, 2] < 0
    at = opened[seen, :2].astype(int)
    off = np.linalg.norm(said[at[:, 1], at[:, 0]] - mesh_of(hers)[seen, :2], axis=1)
    assert np.median(off) < 1.2 and np.quantile(off, 0.9) < 1.6


def test_sliders_of_expression_move_the_draft(hers: Portrait, reader: FaceReader, shapes: ShapeModel) -> None:
    """A draft with an open mouth, or a sadder one, is read again as that, and its mouth is not the lips' skin."""
    whole, found = np.ones((256, 256), bool), {}
    for name, value in (("smile", -0.9), ("smile", 0.5), ("mouth", 0.8)):
        warped = draw_warped_init(EditPlan(sliders={name: value}, repaint=("person",)), {"photo": hers}, whole, shapes)
        assert warped is not None and warped.share == SHARES["expression"]
        (read,) = reader.read_crops(warped.picture[None], recognise=False)
        assert read is not None
        change = read.expression - hers.motion.expression
        asked = move(hers.motion, {name: value}).expression - hers.motion.expression
        found[name, value] = float(change @ asked / (asked @ asked))
    assert min(found.values()) > 0.3, found


def test_an_open_mouth_shows_the_actors_teeth_or_darkness(hers: Portrait, shapes: ShapeModel) -> None:
    """Her closed mouth where another's is open shows what that one's does; with a slider alone, darkness."""
    shut = mesh_of(hers).copy()
    shut[14] = shut[13] + [0, 0.5, 0]
    closed = replace(hers, mesh=shut)
    wide = mesh_of(hers).copy()
    wide[[14, 87, 317, 178, 402, 88, 318], 1] += 14
    green = replace(hers, picture=np.full_like(hers.picture, (0, 200, 0)), mesh=wide)
    assert opening(shut, shapes.topology) < 0.25 < opening(wide, shapes.topology)
    middle = ((wide[13] + wide[14])[:2] / 2).astype(int)
    whole = np.ones((256, 256), bool)
    swapped = draw_warped_init(EditPlan.swap("other"), {"photo": green, "other": closed}, whole, shapes)
    assert swapped is not None and swapped.picture[middle[1], middle[0]].tolist() == [0, 200, 0]
    plan = EditPlan.motion(mouth=1.0)
    alone = draw_warped_init(plan, {"photo": closed}, whole, shapes)
    mesh = moved_mesh(plan, {"photo": closed}, shapes)
    x, y = ((mesh[13] + mesh[14])[:2] / 2).astype(int)
    assert alone is not None and np.abs(alone.picture[y, x].astype(int) - DARK).max() < 12


def test_a_mesh_turns_by_its_sliders_and_acts_like_its_driver(
    hers: Portrait, turned: Portrait, shapes: ShapeModel
) -> None:
    own = head_pose(mesh_of(hers), shapes.topology)
    moved = head_pose(moved_mesh(EditPlan.motion(yaw=12, pitch=-7), {"photo": hers}, shapes), shapes.topology)
    assert abs(moved.yaw - own.yaw - 12) < 0.1 and abs(moved.pitch - own.pitch + 7) < 0.1
    smiling = mesh_of(turned).copy()
    smiling[[61, 291], 1] -= 6  # the corners of the mouth
    driver = replace(turned, mesh=smiling)
    led = moved_mesh(EditPlan.reenact("driver"), {"photo": hers, "driver": driver}, shapes)
    one, two = shapes.decompose(led), shapes.decompose(smiling)
    assert np.allclose(one.expression, two.expression, atol=0.05)
    assert np.allclose(one.identity, shapes.decompose(mesh_of(hers)).identity, atol=0.05), "still her"
    assert abs(one.pose.roll - two.pose.roll) < 0.5 and np.linalg.norm(one.pose.centre - two.pose.centre) < 1


def test_eyes_look_where_the_sliders_say(hers: Portrait, reader: FaceReader, shapes: ShapeModel) -> None:
    """The draft of a gaze, read again, looks there; nothing but the eyes has moved."""
    whole = np.ones((256, 256), bool)
    looks, opened = {}, {}
    for name, value in (("gaze_x", -20.0), ("gaze_x", 20.0), ("gaze_y", -15.0), ("gaze_y", 15.0)):
        plan = EditPlan(sliders={name: value}, repaint=("person",))
        assert np.allclose(
            moved_gaze(plan, {"photo": hers}) - hers.motion.gaze, [value * (name[-1] == c) for c in "xy"]
        )
        warped = draw_warped_init(plan, {"photo": hers}, whole, shapes)
        assert warped is not None and warped.share == SHARES["gaze"]
        (read,) = reader.read_crops(warped.picture[None], recognise=False)
        assert read is not None
        looks[name, value] = gaze_of(reader, warped.picture, read)
        mesh = moved_mesh(plan, {"photo": hers}, shapes)
        opened[name, value] = (mesh - mesh_of(hers))[[159, 386], 1]
        far = np.linalg.norm(np.indices((256, 256)).transpose(1, 2, 0) + 0.5 - [118, 128], axis=-1) > 60
        change = np.abs(warped.picture.astype(int) - hers.picture)[far]
        assert change.mean() < 0.5 and change.max() <= 16, "pixels shifted by less than their own width"
    assert looks["gaze_x", 20.0][0] - looks["gaze_x", -20.0][0] > 12
    assert looks["gaze_y", 15.0][1] - looks["gaze_y", -15.0][1] > 8
    assert (opened["gaze_y", 15.0] < -3).all() and (opened["gaze_y", -15.0] > 3).all(), "upper lids go along"
    assert np.allclose(opened["gaze_x", 20.0], 0, atol=0.01)


def test_irises_start_from_where_they_are_seen(hers: Portrait, turned: Portrait, shapes: ShapeModel) -> None:
    assert hers.irises is not None and hers.motion is turned.motion
    both = {"photo": hers, "other": turned}
    squint = hers.irises + np.array([3.0, -2.0])
    away = replace(hers, irises=squint)  # they squint: gaze alone would put them elsewhere
    still = moved_irises(EditPlan(), {"photo": away}, mesh_of(hers), shapes.topology)
    assert np.allclose(still, squint, atol=1e-6)
    assert turned.irises is not None  # the same gaze in another place
    scale = np.linalg.norm(np.diff(turned.irises, axis=0)) / np.linalg.norm(np.diff(hers.irises, axis=0))
    there = moved_irises(EditPlan(), {"photo": away}, mesh_of(turned), shapes.topology)
    home = moved_irises(EditPlan(), both, mesh_of(turned), shapes.topology)
    assert np.allclose(there - home, scale * np.array([3.0, -2.0]), atol=0.3)
    looking = moved_irises(
        EditPlan(sliders={"gaze_x": 20.0}, repaint=("person",)), both, mesh_of(hers), shapes.topology
    )
    moved = (looking - hers.irises) / head_pose(mesh_of(hers), shapes.topology).scale
    assert (moved[:, 0] > 0.45).all() and (np.abs(moved[:, 1]) < 0.05).all(), "centimetres"


def test_what_lies_between_the_lids_goes_along_further_than_they(hers: Portrait, shapes: ShapeModel) -> None:
    own = points_of(hers, shapes.topology)
    rows, columns = np.indices((256, 256))
    places = np.dstack([columns, rows, columns]).astype(np.uint8)
    up = pull(places, own, Points(own.mesh, own.irises - np.array([0.0, 4.0])), shapes.topology).astype(int)
    moved = up[..., 1] - rows
    x, y = own.irises[0].round().astype(int)
    lid = int(own.mesh[LIDS[0][0], 1].round()) - 2
    assert moved[y - 4, x] == pytest.approx(4, abs=1) and 1 <= moved[lid, x] < moved[y - 4, x]
    assert np.abs(up[..., 0] - columns)[y, x - 20 : x + 20].max() <= 1, "nothing goes sideways"


def test_irises_stay_in_a_head_that_turns(hers: Portrait, shapes: ShapeModel) -> None:
    """In head axes they are where they were; a gaze of its own takes them further than it says."""
    own = head_pose(mesh_of(hers), shapes.topology)
    for plan in (EditPlan.motion(pitch=15), EditPlan.motion(pitch=-15), EditPlan.motion(yaw=20)):
        mesh = moved_mesh(plan, {"photo": hers}, shapes)
        pose = head_pose(mesh, shapes.topology)
        turned = replace(
            hers, mesh=mesh, irises=None, motion=replace(hers.motion, gaze=moved_gaze(plan, {"photo": hers}))
        )
        there = moved_irises(plan, {"photo": hers}, mesh, shapes.topology)
        still = points_of(turned, shapes.topology).irises
        before = points_of(replace(hers, irises=None), shapes.topology).irises
        off = points_of(hers, shapes.topology).irises - before
        assert np.allclose(there - still, off * pose.scale / own.scale, atol=0.25), plan


def test_irises_lie_where_their_gaze_is_read_from(hers: Portrait, shapes: ShapeModel) -> None:
    pose = head_pose(mesh_of(hers), shapes.topology)
    middles = iris_centres(mesh_of(hers), np.array([12.0, -8.0]), pose)
    irises = np.repeat(middles[:, None], 5, 1)
    assert np.allclose(gaze_direction(mesh_of(hers), irises, pose), [12, -8], atol=1e-6)


def is_green(picture: np.ndarray) -> np.ndarray:
    """Where a picture is more (0, 200, 0) than anything a portrait shows."""
    return (picture[..., 1].astype(int) - picture[..., [0, 2]].max(-1)) > 60


def test_a_mouth_comes_with_what_is_between_its_lips(hers: Portrait, turned: Portrait, shapes: ShapeModel) -> None:
    regions = turned.regions.copy()
    regions[regions == Region.LOWER_LIP] = Region.MOUTH
    green = replace(turned, picture=np.full_like(turned.picture, (0, 200, 0)), regions=regions)
    portraits, plan = {"photo": hers, "other": green}, EditPlan.regions("other", ["lips"])
    warped = draw_warped_init(plan, portraits, repaint_mask(plan, portraits), shapes)
    assert warped is not None and is_green(warped.picture)[part_mask(hers.regions, "lips")].mean() > 0.8


@pytest.mark.parametrize("part", ["lips", "nose", "brows"])
def test_a_part_lies_upon_a_face_that_is_given_too(
    hers: Portrait, turned: Portrait, shapes: ShapeModel, part: str
) -> None:
    green = replace(turned, picture=np.full_like(turned.picture, (0, 200, 0)))
    portraits = {"photo": hers, "other": turned, "third": green}
    plan = EditPlan.swap("other") + EditPlan.regions("third", [part])
    warped = draw_warped_init(plan, portraits, np.ones((256, 256), bool), shapes)
    where = part_mask(hers.regions, part)
    assert warped is not None
    if part != "lips":  # in the photo's light, so hardly green
        alone = draw_warped_init(EditPlan.regions("third", [part]), portraits, where, shapes)
        assert alone is not None and np.abs(warped.picture.astype(int) - alone.picture)[where].mean() < 12
    else:
        assert is_green(warped.picture)[where].mean() > 0.7


def test_whoever_shows_no_face_gives_none(hers: Portrait, turned: Portrait, shapes: ShapeModel) -> None:
    nobody = replace(turned, regions=np.zeros_like(turned.regions))
    portraits = {"photo": hers, "other": nobody}
    assert draw_warped_init(EditPlan.swap("other"), portraits, np.ones((256, 256), bool), shapes) is None


def test_a_head_that_goes_leaves_nothing_of_its_colour(hers: Portrait, turned: Portrait, shapes: ShapeModel) -> None:
    """Another's head, half as large: the room around it is the background's, without the old hair's."""
    head = part_mask(hers.regions, "head")
    black = np.where(head[..., None], 0, np.uint8(200)).astype(np.uint8)
    bald = np.where(part_mask(turned.regions, "hair"), Region.BACKGROUND, turned.regions)
    portraits = {"photo": replace(hers, picture=black), "other": replace(turned, regions=bald)}
    plan = EditPlan.swap("other", head=True)
    warped = draw_warped_init(plan, portraits, repaint_mask(plan, portraits), shapes)
    assert warped is not None
    gone = part_mask(hers.regions, "hair")
    gone[100:] = False  # above the face
    assert warped.picture[gone].mean() > 150


def test_a_draft_says_where_it_was_pasted(hers: Portrait, turned: Portrait, shapes: ShapeModel) -> None:
    inside = np.zeros((256, 256), bool)
    inside[:, 128:] = True
    assert np.flatnonzero(seam(inside)[0]).tolist() == list(range(125, 131))
    flat = replace(turned, picture=np.full_like(turned.picture, (120, 90, 80)))
    portraits, whole = {"photo": hers, "other": flat}, np.ones((256, 256), bool)
    swapped = draw_warped_init(EditPlan.swap("other"), portraits, whole, shapes)
    moved = draw_warped_init(EditPlan.motion(yaw=10), portraits, whole, shapes)
    assert swapped is not None and moved is not None and not moved.seams.any()
    jumps, own = (np.abs(np.diff(each.picture.astype(int), axis=1)).sum(-1) for each in (swapped, hers))
    at = swapped.seams[:, 1:]
    assert swapped.seams.mean() < 0.1 and (jumps - own)[at].mean() > (jumps - own)[~at].mean() + 3


def test_points_behind_the_nose_are_hidden(hers: Portrait, shapes: ShapeModel) -> None:
    mesh = moved_mesh(EditPlan.motion(yaw=45), {"photo": hers}, shapes)
    facing, seen = shapes.topology.normals(mesh)[:, 2] < 0, visible(mesh, shapes.topology)
    assert not (seen & ~facing).any() and 10 < (facing & ~seen).sum() < 90
    frontal = visible(mesh_of(hers), shapes.topology)
    assert (shapes.topology.normals(mesh_of(hers))[:, 2] < 0).sum() - frontal.sum() < 20
    hidden = mesh[facing & ~seen]
    assert hidden[:, 2].mean() > mesh[seen, 2].mean(), "they lie further away than what hides them"


def test_each_part_comes_from_its_giver_in_its_place(hers: Portrait, turned: Portrait, shapes: ShapeModel) -> None:
    green = replace(turned, picture=np.full_like(turned.picture, (0, 200, 0)))
    portraits = {"photo": hers, "other": green}
    plan = EditPlan.regions("other", ["lips"])
    mask = repaint_mask(plan, portraits)
    warped = draw_warped_init(plan, portraits, mask, shapes)
    lips = part_mask(hers.regions, "lips")
    assert warped is not None and warped.share == SHARES["part"]
    assert is_green(warped.picture)[lips].mean() > 0.8
    assert np.array_equal(warped.picture[~mask], hers.picture[~mask])
    swapped = draw_warped_init(EditPlan.swap("other"), {"photo": hers, "other": turned}, np.ones_like(mask), shapes)
    assert swapped is not None and swapped.share == SHARES["face"]
    features = lips | part_mask(hers.regions, "eyes")
    assert np.abs(swapped.picture.astype(int) - hers.picture)[features].mean() < 12, "it is her own face, put back"
    hair = part_mask(hers.regions, "hair")
    assert (swapped.picture != hers.picture).any(-1)[hair].mean() < 0.02
    moved = draw_warped_init(EditPlan.motion(yaw=20), {"photo": hers}, np.ones_like(mask), shapes)
    assert moved is not None and moved.share == pytest.approx(0.5, abs=0.01), "a hundredth for each degree"
    assert not np.array_equal(moved.picture, hers.picture)
    far = draw_warped_init(EditPlan.motion(yaw=45), {"photo": hers}, np.ones_like(mask), shapes)
    assert far is not None and far.share == 0.6
    both = EditPlan.swap("other") + EditPlan.motion(yaw=20)
    together = draw_warped_init(both, {"photo": hers, "other": turned}, np.ones_like(mask), shapes)
    assert together is not None and together.share == moved.share, "what is moved furthest decides"


@pytest.mark.parametrize(
    "plan",
    [
        EditPlan.erase(["hair"]),
        EditPlan.animate(),
        EditPlan.inpaint(np.ones((4, 4), bool)),
        EditPlan.regions("other", ["lips"]) + EditPlan.erase(["hair"]),
    ],
    ids=str,
)
def test_what_warping_cannot_do_has_no_draft(plan: EditPlan, hers: Portrait, shapes: ShapeModel) -> None:
    portraits = {"photo": hers, "other": hers}
    assert draw_warped_init(plan, portraits, np.ones((256, 256), bool), shapes) is None


def test_a_head_comes_with_its_hair_as_the_photo_moves(hers: Portrait, turned: Portrait, shapes: ShapeModel) -> None:
    """Another's head: her shape and hair, in the place, pose and light of the photo's; what it uncovers is smooth."""
    dim = replace(turned, picture=(turned.picture * 0.7).astype(np.uint8))
    portraits = {"photo": dim, "other": hers}
    plan = EditPlan.swap("other", head=True)
    mask = repaint_mask(plan, portraits)
    warped = draw_warped_init(plan, portraits, mask, shapes)
    assert warped is not None and warped.share == SHARES["head"]
    assert np.array_equal(warped.picture[~mask], dim.picture[~mask])
    face = part_mask(dim.regions, "nose") | part_mask(dim.regions, "lips")
    assert np.abs(warped.picture.astype(int) - dim.picture)[face].mean() < 20, "it is her own head, dimmed and put back"
    hair = part_mask(dim.regions, "hair")
    assert np.abs(warped.picture.astype(int) - dim.picture)[hair].mean() < 30
    bald = replace(hers, regions=np.where(part_mask(hers.regions, "hair"), np.uint8(0), hers.regions))
    bare = draw_warped_init(plan, {"photo": dim, "other": bald}, mask, shapes)
    assert bare is not None
    rough = lambda picture: np.abs(np.diff(picture.astype(int), axis=0))[hair[1:]].mean()  # noqa: E731
    assert rough(bare.picture) < 0.5 * rough(dim.picture)


@pytest.mark.parametrize("part", ["brows", "eyes", "nose", "beard"])
def test_a_part_comes_in_the_photos_light(hers: Portrait, shapes: ShapeModel, part: str) -> None:
    """Light multiplies: her own part under a bluer and weaker one is hers again."""
    blue = replace(hers, picture=(hers.picture * [0.5, 0.6, 0.9]).astype(np.uint8))
    plan, portraits, where = (
        EditPlan.regions("other", [part]),
        {"photo": hers, "other": blue},
        part_mask(hers.regions, part),
    )
    warped = draw_warped_init(plan, portraits, repaint_mask(plan, portraits), shapes)
    assert warped is not None and np.abs(warped.picture.astype(int) - hers.picture)[where].mean() < 6
    assert np.abs(blue.picture.astype(int) - hers.picture)[where].mean() > 20


def test_hair_follows_the_head_where_its_shape_differs(hers: Portrait, shapes: ShapeModel) -> None:
    """Another's head, the left half of it narrower, as a turned one's is: its hair ends where hers does."""
    middle = mesh_of(hers)[4, 0]
    columns = np.arange(256) + 0.5
    from_hers = np.where(columns < middle, middle - (middle - columns) / 0.75, columns)  # where each column comes from
    took = np.clip(from_hers.astype(int), 0, 255)
    mesh = mesh_of(hers).copy()
    mesh[:, 0] = np.where(mesh[:, 0] < middle, middle - (middle - mesh[:, 0]) * 0.75, mesh[:, 0])
    green = np.where(part_mask(hers.regions, "hair")[..., None], np.array([0, 200, 0], np.uint8), hers.picture)
    other = replace(hers, picture=green[:, took], regions=hers.regions[:, took], mesh=mesh)
    plan, portraits = EditPlan.regions("other", ["hair"]), {"photo": hers, "other": other}
    warped = draw_warped_init(plan, portraits, np.ones((256, 256), bool), shapes)
    hair = part_mask(hers.regions, "hair")
    near = dilate(part_mask(hers.regions, "face"), 12) & (columns < middle)[None]  # where points say how
    assert warped is not None
    wrong = [(is_green(each) != hair)[near].mean() for each in (warped.picture, other.picture)]
    assert wrong[0] < 0.1 * wrong[1]


def test_a_nose_runs_into_the_skin_around_it(hers: Portrait, shapes: ShapeModel) -> None:
    """From a face that is lit from one side: no more of a step where it ends than the photo has there."""
    shade = np.linspace(0.5, 1.1, 256)[None, :, None]
    lit = replace(hers, picture=(hers.picture * shade).clip(0, 255).astype(np.uint8))
    plan, portraits = EditPlan.regions("other", ["nose"]), {"photo": hers, "other": lit}
    mask = repaint_mask(plan, portraits)
    warped = draw_warped_init(plan, portraits, mask, shapes)
    nose = part_mask(hers.regions, "nose")
    pasted = np.where(nose[..., None], lit.picture, hers.picture)
    assert warped is not None and not np.array_equal(warped.picture, hers.picture)
    before, after, plain = (steps_at_the_edge(each, nose) for each in (hers.picture, warped.picture, pasted))
    assert after < before + 2 and plain > before + 8


def steps_at_the_edge(picture: np.ndarray, mask: np.ndarray) -> float:
    """The mean step from one pixel to the next where a mask begins or ends."""
    steps, ends = (np.abs(np.diff(each.astype(int), axis=1)) for each in (picture.mean(-1), mask))
    return float(steps[ends > 0].mean())


def test_a_part_brings_a_rim_of_skin_along(hers: Portrait, shapes: ShapeModel) -> None:
    random = np.random.default_rng(0)
    freckled = (hers.picture * random.uniform(0.8, 1.0, (256, 256, 1))).astype(np.uint8)
    plan, portraits = EditPlan.regions("other", ["nose"]), {"photo": hers, "other": replace(hers, picture=freckled)}
    warped = draw_warped_init(plan, portraits, np.ones((256, 256), bool), shapes)
    nose, skin = (part_mask(hers.regions, part) for part in ("nose", "skin"))
    assert warped is not None
    changed = (warped.picture != hers.picture).any(-1)
    assert changed[dilate(nose, 6) & skin].mean() > 0.8 and not changed[skin & ~dilate(nose, 9)].any()


def test_a_grey_beard_is_no_lamp(hers: Portrait, shapes: ShapeModel) -> None:
    """From dark skin, grey; on fair skin it is as grey, and not white."""
    beard, dark = part_mask(hers.regions, "beard"), hers.picture // 3
    stripes = beard & (np.arange(256) % 4 == 0)[None]
    grey = replace(hers, picture=np.where(stripes[..., None], np.uint8(150), dark))
    dim = replace(hers, picture=(hers.picture * 0.6).astype(np.uint8))
    plan, portraits = EditPlan.regions("other", ["beard"]), {"photo": dim, "other": grey}
    warped = draw_warped_init(plan, portraits, repaint_mask(plan, portraits), shapes)
    assert warped is not None and warped.picture[stripes].mean() < 165


def test_a_nose_leaves_glasses_where_they_are(hers: Portrait, shapes: ShapeModel) -> None:
    """Those of its giver stay with him, and what is as near to them as single pixels; the photo's own lie upon it."""
    bridge = np.zeros((256, 256), bool)
    rows, columns = (np.flatnonzero(part_mask(hers.regions, "nose").any(axis)) for axis in (1, 0))
    bridge[rows[0] - 4 : rows[0] + 8, columns[0] : columns[-1]] = True
    worn = np.where(bridge, np.uint8(Region.EYE_GLASSES), hers.regions)
    green = np.array([0, 200, 0], np.uint8)
    glasses = replace(hers, regions=worn, picture=np.where(bridge[..., None], green, hers.picture))
    wider = replace(glasses, picture=np.where(dilate(bridge, 2)[..., None], green, hers.picture))
    plan = EditPlan.regions("other", ["nose"])
    plain = replace(hers, picture=hers.picture // 2)
    for photo, other in ((hers, wider), (glasses, plain), (wider, plain)):
        portraits = {"photo": photo, "other": other}
        warped = draw_warped_init(plan, portraits, repaint_mask(plan, portraits), shapes)
        assert warped is not None
        skin = part_mask(hers.regions, "skin")  # the nose itself starts where its giver's region says
        assert np.array_equal(is_green(warped.picture)[skin], is_green(photo.picture)[skin])
        assert photo is hers or is_green(warped.picture)[bridge].all()
    freckled = (hers.picture * np.random.default_rng(0).uniform(0.7, 1.0, (256, 256, 1))).astype(np.uint8)
    portraits = {"photo": glasses, "other": replace(hers, picture=freckled), "face": hers}
    warped_inits = []
    for each in (EditPlan.swap("face"), EditPlan.swap("face") + plan):
        warped_inits.append(draw_warped_init(each, portraits, repaint_mask(each, portraits), shapes))
    assert warped_inits[0] is not None and warped_inits[1] is not None
    changed = (warped_inits[0].picture != warped_inits[1].picture).any(-1)
    nose = bridge & part_mask(hers.regions, "nose")
    assert nose.any() and changed[nose].mean() > 0.8, "the photo's own glasses went with its face"


def test_glasses_bring_the_skin_that_they_shade(hers: Portrait, shapes: ShapeModel) -> None:
    frame = np.zeros((256, 256), bool)
    for x in (92, 144):
        x -= 20
        frame[100:132, x : x + 40] = True
    worn = np.where(frame, np.uint8(Region.EYE_GLASSES), hers.regions)
    random = np.random.default_rng(0)
    freckled = (hers.picture * random.uniform(0.8, 1.0, (256, 256, 1))).astype(np.uint8)
    plan = EditPlan.regions("other", ["glasses"])
    portraits = {"photo": hers, "other": replace(hers, regions=worn, picture=freckled)}
    warped = draw_warped_init(plan, portraits, repaint_mask(plan, portraits), shapes)
    assert warped is not None
    changed, near = (warped.picture != hers.picture).any(-1), dilate(frame, 3)
    assert changed[frame].mean() > 0.9 and changed[near & ~frame & part_mask(worn, "skin")].mean() > 0.9


def test_hair_that_the_giver_lacks_is_smoothed_away(hers: Portrait, shapes: ShapeModel) -> None:
    hair = part_mask(hers.regions, "hair")
    bald = replace(hers, regions=np.where(hair, np.uint8(Region.SKIN), hers.regions))
    bald.regions[:4, :4] = Region.HAIR
    warped = draw_warped_init(EditPlan.regions("other", ["hair"]), {"photo": hers, "other": bald}, hair, shapes)
    assert warped is not None and (warped.picture != hers.picture).any(-1)[hair].mean() > 0.9


def test_colours_follow_the_photo_and_only_by_as_much_as_serves() -> None:
    picture, like = np.full((8, 8, 3), (100, 50, 20), np.uint8), np.full((8, 8, 3), (150, 50, 200), np.uint8)
    where = np.ones((8, 8), bool)
    assert recoloured(picture, where, like, where)[0, 0].tolist() == [150, 50, 40]
    assert np.array_equal(recoloured(picture, ~where, like, where), picture)


def test_sampling_starts_from_the_draft_by_as_much_as_is_asked(editor: FaceX, photo: np.ndarray, face: Face) -> None:
    subject = editor.taken_apart(photo, face, "photo")
    plan = EditPlan.motion(yaw=10)
    prepared = editor.prepare(plan, {"photo": subject})
    codec = editor.components.base.codec
    assert BatchInit.of([prepared], 0.0, codec).init is None
    warped_inits = BatchInit.of([prepared], 0.5, codec).init
    assert warped_inits is not None and warped_inits.shares == (
        pytest.approx(1 - 0.5 * (1 - 0.4), abs=0.005),
    )  # ten degrees
    assert not torch.equal(warped_inits.latents, prepared.reference.latents)
    none, full = (editor.edit(photo, plan, steps=8, warp_strength=kept) for kept in (0.0, 1.0))
    assert not np.array_equal(np.asarray(none.image), np.asarray(full.image))
    assert (none.recipe["warp_strength"], full.recipe["warp_strength"]) == (0.0, 1.0)
    again = editor.replay(full.recipe, {"photo": photo})
    assert np.array_equal(np.asarray(again.image), np.asarray(full.image))
    before = {new: old for old, new in PICTURE_RECIPE.items()}  # names that recipes had before 0.2
    again = editor.replay({before.get(key, key): value for key, value in full.recipe.items()}, {"photo": photo})
    assert np.array_equal(np.asarray(again.image), np.asarray(full.image))
    assert np.array_equal(np.asarray(editor.replay(none.recipe, {"photo": photo}).image), np.asarray(none.image))
    for other in (full.recipe | {"render_version": 0}, none.recipe | {"render_version": None}):
        with pytest.raises(InputError, match=r"rendered by another version of Limner"):
            editor.replay(other, {"photo": photo})
    told: list[tuple[int, int]] = []
    editor.edit(photo, plan, steps=8, warp_strength=1.0, callback=lambda *now: told.append(now))
    assert told[-1][0] == told[-1][1] == len(told) < 8
