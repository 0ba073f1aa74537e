"""A hole's draft: nearer to what was there than a smooth filling, of what is seen alone, and only where nobody asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import limner
from limner.faces.picture import read_picture
from limner.faces.reader import FaceReader
from limner.faces.record import Face
from limner.faces.regions import Region
from limner.models.facex.engine import FaceX
from limner.models.facex.masks import dilate
from limner.models.facex.mirror_inpaint import SHARE, draw_mirror_init, filled
from limner.models.facex.occlusion_fill import smoothed_over, visible_rest
from limner.models.facex.plan import EditPlan
from limner.models.facex.portrait import Portrait, portrait_of

EYE = 386
"""A point of the mesh in the middle of the left eye."""


def around(portrait: Portrait, point: int = EYE) -> np.ndarray:
    """A disc (S, S) bool of a tenth of a side around a point of the mesh."""
    assert portrait.mesh is not None
    y, x = np.mgrid[: portrait.size, : portrait.size]
    return np.hypot(x - portrait.mesh[point, 0], y - portrait.mesh[point, 1]) < 0.1 * portrait.size


def seen_through(portrait: Portrait, hole: np.ndarray, reader: FaceReader) -> Portrait:
    return visible_rest(EditPlan(), portrait, hole, reader).portrait


def test_an_eye_is_filled_from_the_other_one(reader: FaceReader) -> None:
    found = []
    for file in sorted((Path(limner.__file__).parent / "demo" / "photographs").glob("*.jpg")):
        picture = read_picture(file)
        portrait = portrait_of(picture, reader.read(picture)[0], 256, reader.topology)
        hole = around(portrait)
        seen = seen_through(portrait, hole, reader)
        assert seen.mesh is not None
        ours = filled(seen, dilate(hole, 1), seen.mesh, reader.topology)
        assert np.array_equal(ours[~dilate(hole, 1)], portrait.picture[~dilate(hole, 1)])
        made = (ours, smoothed_over(portrait.picture, hole))
        found.append([np.abs(each[hole].astype(float) - portrait.picture[hole]).mean() for each in made])
    ours, smooth = np.mean(found, 0)
    assert len(found) == 6 and ours < 0.8 * smooth


def test_halves_lit_differently_meet_at_the_edge(photo: np.ndarray, face: Face, reader: FaceReader) -> None:
    portrait = portrait_of(photo, face, 256, reader.topology)
    assert portrait.mesh is not None
    middle, hole = portrait.mesh[4, 0], around(portrait)
    darker = np.where((np.arange(256) < middle)[None, :, None], portrait.picture // 2, portrait.picture)
    picture = smoothed_over(darker, hole)
    ours = filled(replace(portrait, picture=picture), hole, portrait.mesh, reader.topology)
    rim = hole & dilate(~hole, 2)
    step = np.abs(ours.astype(float) - smoothed_over(darker, rim))[rim].mean()
    copied = portrait.picture[hole].mean() / 2  # as the other half is lit
    assert abs(ours[hole].mean() - portrait.picture[hole].mean()) < 0.3 * abs(copied - portrait.picture[hole].mean())
    assert step < 20
    fine = [np.abs(np.diff(each.astype(float), axis=1))[hole[:, 1:]].mean() for each in (ours, picture)]
    assert fine[0] > 1.5 * fine[1], "an eye, not a blur"


def test_nothing_is_taken_from_where_the_other_half_is_hidden_or_no_face(
    photo: np.ndarray, face: Face, reader: FaceReader
) -> None:
    portrait = portrait_of(photo, face, 256, reader.topology)
    assert portrait.mesh is not None
    both = around(portrait) | around(portrait, 159)
    ours = filled(
        replace(portrait, picture=smoothed_over(portrait.picture, both)), both, portrait.mesh, reader.topology
    )
    inner = both & ~dilate(~both, 8)  # eyes are not quite mirrored, so a rim is found
    smooth = smoothed_over(portrait.picture, both)
    assert np.abs(ours[inner].astype(float) - smooth[inner]).mean() < 10
    hole = around(portrait)
    chequered = (np.indices((256, 256)) // 8).sum(0) % 2 * 255
    strange = np.where((np.arange(256) > portrait.mesh[4, 0])[None, :], chequered, portrait.picture[..., 1])
    strange = smoothed_over(np.repeat(strange[..., None], 3, 2).astype(np.uint8), hole)
    ours = filled(replace(portrait, picture=strange), hole, portrait.mesh, reader.topology)
    assert np.abs(ours[hole].astype(float) - strange[hole]).mean() < 14, "halves that are not alike"
    cloth = replace(portrait, picture=smoothed_over(portrait.picture, hole))
    cloth = replace(cloth, regions=np.full_like(portrait.regions, Region.CLOTH))
    assert np.array_equal(filled(cloth, hole, portrait.mesh, reader.topology), smoothed_over(portrait.picture, hole))


def test_only_a_hole_that_nobody_says_anything_about_has_a_filling(
    editor: FaceX, photo: np.ndarray, face: Face, reader: FaceReader
) -> None:
    portrait, size = portrait_of(photo, face, 256, reader.topology), photo.shape[:2]
    plan, hole = EditPlan.inpaint(np.ones(size, bool)), around(portrait)
    seen = seen_through(portrait, hole, reader)
    warped = draw_mirror_init(plan, seen, hole, reader.topology)
    assert warped is not None and warped.share == SHARE < 1 and not warped.seams.any()
    for asked in (
        {"prompt": "a scar"},
        {"factors": {"eyes": "other"}},
        {"sliders": {"yaw": 5.0}},
        {"repaint": ("lips",)},
    ):
        assert draw_mirror_init(plan.model_copy(update=asked), seen, hole, reader.topology) is None, asked
    assert draw_mirror_init(plan, replace(seen, mesh=None), hole, reader.topology) is None
    drawn = np.zeros(size, bool)
    drawn[120:150, 100:140] = True
    assert editor.prepare(EditPlan.inpaint(drawn), {"photo": editor.taken_apart(photo, face, "photo")}).share(1.0) == (
        pytest.approx(SHARE)
    )
