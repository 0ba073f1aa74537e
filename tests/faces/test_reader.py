from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from limner.errors import InputError
from limner.faces import geometry as G
from limner.faces.expression import EXPRESSION_NAMES
from limner.faces.overlay import OUTLINES, draw_overlay
from limner.faces.regions import Region, flip
from limner.faces.vocabulary import VOCABULARY


def test_the_record_is_complete(face, astronaut):
    assert face.box.shape == (4,) and 0.5 < face.score <= 1
    assert face.landmarks.shape == (468, 3) and face.irises.shape == (2, 5, 2)
    assert face.gaze.shape == (2,) and face.light.shape == (27,) and face.identity.shape == (128,)
    assert face.expression.shape == (len(EXPRESSION_NAMES),)
    assert face.expression.min() >= 0 and face.expression.max() <= 1
    assert face.regions.shape == astronaut.shape[:2] and face.regions.dtype == np.uint8
    assert face.crop.shape == (2, 3)
    assert abs(face.pose.yaw) < 15 and abs(face.pose.pitch) < 15 and abs(face.pose.roll) < 10
    for array in (face.box, face.landmarks, face.gaze, face.expression, face.light, face.identity):
        assert np.isfinite(array).all()


def test_regions_lie_where_the_mesh_says(face):
    """The parser and the mesh know nothing of each other."""
    at = lambda point: Region(face.regions[int(face.landmarks[point, 1]), int(face.landmarks[point, 0])])  # noqa: E731
    assert at(4) == at(195) == Region.NOSE and at(50) == at(280) == Region.SKIN
    assert at(0) in (Region.UPPER_LIP, Region.SKIN) and at(17) in (Region.LOWER_LIP, Region.SKIN)
    brow = {Region(face.regions[int(y), int(x)]) for x, y, _ in face.landmarks[[52, 65, 105, 66]]}
    assert Region.RIGHT_BROW in brow and Region.LEFT_BROW not in brow
    columns = {r: np.nonzero(face.regions == r)[1].mean() for r in (Region.LEFT_EYE, Region.RIGHT_EYE)}
    assert columns[Region.LEFT_EYE] > columns[Region.RIGHT_EYE]  # the subject's left is on the right of the picture
    assert face.regions[0, 0] == Region.BACKGROUND


def test_mirrored_photo(face, mirrored):
    assert mirrored.pose.yaw == pytest.approx(-face.pose.yaw, abs=3)
    assert mirrored.pose.roll == pytest.approx(-face.pose.roll, abs=2)
    assert mirrored.pose.pitch == pytest.approx(face.pose.pitch, abs=3)
    assert mirrored.gaze == pytest.approx(face.gaze * [-1, 1], abs=5)
    assert (flip(mirrored.regions) == face.regions).mean() > 0.97
    assert np.linalg.norm(mirrored.identity - face.identity) < 0.5
    swap = [
        EXPRESSION_NAMES.index(n.replace("left", "#").replace("right", "left").replace("#", "right"))
        for n in EXPRESSION_NAMES
    ]
    assert np.abs(mirrored.expression[swap] - face.expression).mean() < 0.06
    signs = np.tile([1, -1, 1, 1, -1, 1, -1, 1, 1], 3)
    assert np.abs(mirrored.light * signs - face.light).max() < 0.08


def test_what_anybody_sees(face):
    """Confident attributes of a well-known picture."""
    expected = {
        "gender_presentation": "woman",
        "smile": "broad",
        "teeth_visible": True,
        "emotion": "happy",
        "glasses": False,
        "hat": False,
        "beard": "none",
        "bald": False,
        "eyes": "open",
        "gaze": "at the camera",
        "head_turn": "frontal",
        "head_tilt": "upright",
        "picture_colour": "colour",
    }
    assert {name: face.attributes[name].value for name in expected} == expected
    assert face.attributes["hair_colour"].value in ("brown", "blond")
    assert 25 < face.attributes["age"].value < 50


def test_attributes_keep_to_the_vocabulary(face):
    assert len(face.attributes) >= 30
    for name, each in face.attributes.items():
        assert VOCABULARY[name].allows(each.value) and 0.4 <= each.confidence <= 1 and each.by


def test_turned_photo_gives_the_same_face(reader, face, astronaut):
    for quarter in (1, 2, 3):
        (turned,) = reader.read(np.ascontiguousarray(np.rot90(astronaut, quarter)))
        roll = turned.pose.roll + 90 * quarter - face.pose.roll
        assert abs((roll + 180) % 360 - 180) < 4
        back = np.rot90(turned.regions, -quarter)
        assert (back == face.regions).mean() > 0.96
        assert np.linalg.norm(turned.identity - face.identity) < 0.4
        expected = "right" if quarter == 1 else "left" if quarter == 3 else None
        if expected:
            assert turned.attributes["head_tilt"].value == expected
        assert turned.pose.yaw == pytest.approx(face.pose.yaw, abs=4)


def test_the_largest_face_comes_first(reader, place):
    photo = place(420, 900, (120, 200, 50, 0), (400, 200, 150, 0), (740, 200, 90, 0))
    faces = reader.read(photo)
    areas = [float((f.box[2] - f.box[0]) * (f.box[3] - f.box[1])) for f in faces]
    assert len(faces) == 3 and areas == sorted(areas, reverse=True)
    assert 300 < faces[0].box[0] < 500
    for each in faces:  # each map shows its own face only
        rows, columns = np.nonzero(np.isin(each.regions, (Region.SKIN, Region.NOSE)))
        assert abs(columns.mean() - (each.box[0] + each.box[2]) / 2) < 25
        assert abs(rows.mean() - (each.box[1] + each.box[3]) / 2) < 40


def test_forty_pixels_and_sixty_percent(reader, place, astronaut):
    (small,) = reader.read(place(500, 700, (400, 250, 42, 0)))
    assert small.box[2] - small.box[0] < 60 and small.attributes["sharpness"].value != "sharp"
    large = np.array(G.resize(astronaut[45:205, 145:305], (800, 800)))
    found = reader.read(large)[0]
    assert found.regions.shape == (800, 800) and (found.regions == Region.SKIN).mean() > 0.2


def test_no_face_no_record(reader):
    assert reader.read(np.full((200, 300, 3), 127, np.uint8)) == []
    assert reader.read(np.zeros((16, 16, 3), np.uint8)) == []


def test_faces_can_be_read_without_recognising_anybody(reader, face, astronaut, monkeypatch):
    """The same face, no identity, no attributes, none of the networks for them."""
    for name in ("identity", "emotion", "traits", "demographics"):
        monkeypatch.setitem(vars(reader), name, None)
    (bare,) = reader.read(astronaut, recognise=False)
    assert np.isnan(bare.identity).all() and bare.identity.shape == face.identity.shape and not bare.attributes
    assert bare.to_dict()["identity"] is None and len(face.to_dict()["identity"]) == 128
    for name in ("box", "landmarks", "irises", "gaze", "expression", "light", "regions", "crop"):
        assert np.array_equal(getattr(bare, name), getattr(face, name)), name
    assert bare.pose == face.pose and bare.score == face.score


def test_sources_agree(reader, face, astronaut, tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(astronaut).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    for source in (buffer.getvalue(), str(tmp_path / "a.png")):
        (again,) = reader.read(source)
        assert np.array_equal(again.landmarks, face.landmarks) and np.array_equal(again.regions, face.regions)
    with pytest.raises(InputError):
        reader.read(b"rubbish")


def test_reading_crops(reader, face, astronaut):
    crop = G.warp(astronaut, face.crop, 256, border="edge")
    empty = np.full_like(crop, 127)
    first, nothing, third = reader.read_crops(np.stack([crop, empty, crop[:, ::-1]]))
    assert nothing is None and first is not None and third is not None
    there = G.transform_points(face.landmarks, face.crop)
    assert np.abs(first.landmarks[:, :2] - there[:, :2]).mean() < 2
    assert np.linalg.norm(first.identity - face.identity) < 0.05
    assert np.array_equal(first.crop, [[1, 0, 0], [0, 1, 0]]) and first.regions.shape == (256, 256)
    assert (G.warp(face.regions, face.crop, 256, nearest=True) == first.regions).mean() > 0.95
    alone = reader.read_crops(crop[None])[0]
    assert alone is not None and np.allclose(alone.identity, first.identity, atol=1e-3)
    assert {n: a.value for n, a in alone.attributes.items()} == {n: a.value for n, a in first.attributes.items()}
    assert reader.read_crops(np.zeros((0, 256, 256, 3), np.uint8)) == []


@pytest.mark.parametrize("shape", [(256, 256, 3), (1, 128, 128, 3), (1, 256, 256, 4)])
def test_crops_of_other_shapes_are_refused(reader, shape):
    with pytest.raises(ValueError, match="aligned pictures"):
        reader.read_crops(np.zeros(shape, np.uint8))


def test_the_record_as_json(face):
    data = json.loads(json.dumps(face.to_dict()))
    assert set(data["expression"]) == set(EXPRESSION_NAMES) and "regions" not in data
    assert len(data["landmarks"]) == 468 and len(data["identity"]) == 128
    assert data["attributes"]["smile"]["value"] == "broad"
    assert data["pose"]["yaw"] == pytest.approx(face.pose.yaw, abs=0.01)


def test_a_face_at_the_edge_shows_only_the_photo(reader, astronaut):
    """Half of the hair is cut off; what lies outside the photo is no background and no hair."""
    cut = np.ascontiguousarray(astronaut[60:300, 150:400])
    (found,) = reader.read(cut)
    assert found.regions.shape == cut.shape[:2]
    assert (found.box >= 0).all() and found.box[2] <= 250 and found.box[3] <= 240


def test_overlay_draws_on_a_copy(face, astronaut):
    before = astronaut.copy()
    picture = draw_overlay(astronaut, [face])
    assert (astronaut == before).all() and picture.dtype == np.uint8
    assert 800 <= max(picture.shape[:2]) <= 1600
    plain = G.resize(astronaut, picture.shape[1::-1])
    changed = np.abs(picture.astype(int) - plain).max(-1) > 25
    x1, y1, x2, y2 = (face.box * picture.shape[1] / 512).astype(int)
    assert changed[y1:y2, x1:x2].mean() > 0.3 > changed[-100:].mean()
    untouched = draw_overlay(astronaut, [])
    assert np.abs(untouched.astype(int) - G.resize(astronaut, untouched.shape[1::-1])).mean() < 2


def test_overlay_outlines_are_symmetric(topology):
    lines = {frozenset(line) for line in OUTLINES}
    assert {frozenset(int(topology.mirror[point]) for point in line) for line in OUTLINES} == lines
