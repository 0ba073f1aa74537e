"""A hole is filled from the rest of the photo: what lies under it reaches no factor and no reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from limner.faces.geometry import paste_back
from limner.faces.reader import FaceReader
from limner.faces.record import Face
from limner.faces.regions import Region
from limner.models.facex.engine import FaceX
from limner.models.facex.masks import GROUPS, dilate, groups_of, part_mask
from limner.models.facex.occlusion_fill import covered, smoothed_over, visible_rest
from limner.models.facex.plan import ABSENT, EditPlan
from limner.models.facex.portrait import Portrait, portrait_of
from limner.models.facex.reference import part_area


def drawn(photo: np.ndarray, portrait: Portrait, area: np.ndarray) -> np.ndarray:
    """An area (S, S) of a portrait in the photo."""
    blank = np.zeros(photo.shape[:2], np.uint8)
    return paste_back(area.astype(np.uint8), portrait.crop, blank, nearest=True) > 0


def test_what_lies_under_a_hole_changes_nothing(editor: FaceX, photo: np.ndarray, face: Face) -> None:
    subject = editor.taken_apart(photo, face, "photo")
    area = part_mask(subject.portrait.regions, "lips") | part_mask(subject.portrait.regions, "nose")
    hole = drawn(photo, subject.portrait, dilate(area, 3))
    inside = hole.copy()
    for step in ((1, 0), (-1, 0), (0, 1), (0, -1)) * 7:  # what a pixel of the smaller portrait averages
        inside &= np.roll(inside, step, (0, 1))
    assert inside.sum() > 100
    painted_over = np.where(inside[..., None], np.uint8(255) - photo, photo)
    other = editor.taken_apart(painted_over, replace(face, irises=face.irises + 4), "photo")
    assert not torch.equal(other.factors.identity, subject.factors.identity)
    plan = EditPlan.inpaint(hole)
    one, two = (editor.prepare(plan, {"photo": each}) for each in (subject, other))
    assert torch.equal(one.tokens, two.tokens) and torch.equal(one.reference.latents, two.reference.latents)
    assert one.init is not None and two.init is not None
    assert np.array_equal(one.init.picture, two.init.picture)
    whole = editor.prepare(EditPlan(repaint=("lips", "nose")), {"photo": subject})
    assert not torch.allclose(one.tokens, whole.tokens, atol=1e-3), "the photo's own lips would be known there"
    assert torch.equal(one.tokens, one.negative), "a hole has nothing to be told apart from"


def test_hidden_regions_are_unknown_and_motion_is_read_again(photo: np.ndarray, face: Face, reader: FaceReader) -> None:
    portrait = portrait_of(photo, face, 256, reader.topology)
    eyes = part_mask(portrait.regions, "eyes") | part_mask(portrait.regions, "brows")
    seen = visible_rest(EditPlan(), portrait, eyes, reader)
    assert seen.unknown == ("brows", "eyes")
    assert seen.portrait.mesh is not None and portrait.mesh is not None
    assert not np.array_equal(seen.portrait.mesh, portrait.mesh)
    assert not np.array_equal(seen.portrait.motion.gaze, portrait.motion.gaze)
    assert seen.portrait.irises is not None and portrait.irises is not None
    assert not np.array_equal(seen.portrait.irises, portrait.irises)
    assert not (groups_of(seen.portrait.regions)[eyes] != list(GROUPS).index("background")).any()
    away = ~dilate(eyes, 1)
    assert np.array_equal(seen.portrait.picture[away], portrait.picture[away])
    everything = visible_rest(EditPlan(), portrait, np.ones_like(eyes), reader)
    assert everything.portrait.mesh is None and everything.portrait.irises is None
    assert set(everything.unknown) >= {"skin", "expression", "pose", "gaze", "light"}
    plan = seen.known(EditPlan(factors={"eyes": "other"}))
    assert plan.factors == {"brows": ABSENT, "eyes": "other"}, "what another photo gives is known"


def test_without_a_hole_the_photo_is_itself_and_an_erased_beard_leaves_the_skin_above(
    photo: np.ndarray, face: Face, reader: FaceReader
) -> None:
    portrait = portrait_of(photo, face, 64, reader.topology)
    same = visible_rest(EditPlan.erase(["glasses"]), portrait, None, reader)
    assert same.portrait is portrait and same.unknown == ()
    skin = portrait.regions == Region.SKIN
    beard = part_mask(portrait.regions, "beard")
    shaven = visible_rest(EditPlan.erase(["beard"]), portrait, None, reader).portrait
    assert (skin & beard).any() and np.array_equal(shaven.regions == Region.SKIN, skin & ~beard)
    assert np.array_equal(shaven.regions[~skin], portrait.regions[~skin])
    assert visible_rest(EditPlan.regions("other", ["beard"]), portrait, None, reader).portrait is portrait


def test_a_region_counts_as_covered_from_three_fifths() -> None:
    groups = np.zeros((10, 10), np.uint8)
    groups[5:] = 3
    hidden = np.zeros((10, 10), bool)
    hidden[7:], hidden[:3] = True, True
    assert np.flatnonzero(covered(hidden, groups)).tolist() == []
    hidden[6, 0] = True
    assert np.flatnonzero(covered(hidden, groups)).tolist() == [3]


def test_holes_are_smoothed_over_from_around_them() -> None:
    ramp = np.repeat(np.linspace(40, 200, 48, dtype=np.uint8)[None, :, None], 48, 0).repeat(3, 2)
    hole = np.zeros((48, 48), bool)
    hole[10:30, 12:36] = True
    filled = smoothed_over(np.where(hole[..., None], np.uint8(0), ramp), hole)
    assert np.array_equal(filled[~hole], ramp[~hole])
    assert np.abs(filled.astype(int) - ramp)[hole].max() < 45 and np.abs(filled.astype(int) - ramp)[hole].mean() < 15
    assert (smoothed_over(ramp, np.ones_like(hole)) == 0).all(), "nothing is known"


def test_a_part_is_painted_where_its_own_donor_has_it(photo: np.ndarray, face: Face, reader: FaceReader) -> None:
    """Lips of one and hair of another: where the first has hair stays."""
    mine = portrait_of(photo, face, 64, reader.topology)
    long = replace(mine, regions=np.full_like(mine.regions, Region.HAIR))
    short = replace(mine, regions=np.full_like(mine.regions, Region.SKIN))
    plan = EditPlan.regions("long", ["lips"]) + EditPlan.regions("short", ["hair"])
    area = part_area(plan, {"photo": mine, "long": long, "short": short}, "hair")
    assert np.array_equal(area, mine.regions == Region.HAIR)
