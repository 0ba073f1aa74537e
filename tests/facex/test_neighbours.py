"""Other people's faces stay as they are, in photos and in films where people cross."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import limner
from limner.faces.geometry import overlap, warp
from limner.faces.picture import read_picture
from limner.faces.reader import FaceReader
from limner.models.facex.edit_inputs import kept_faces
from limner.models.facex.engine import FaceX
from limner.models.facex.face_track import SAME_PLACE, _TrackedFace
from limner.models.facex.neighbours import face_area, through_gaps
from limner.models.facex.plan import EditPlan


@pytest.fixture(scope="module")
def crowd(couple: np.ndarray) -> np.ndarray:
    """The couple pushed together until their heads overlap, the right one in front."""
    left, right = couple[:, :640], couple[:, 640:]
    height, width = right.shape[:2]
    crowd = np.full((640, 800, 3), 120, np.uint8)
    crowd[:, :640] = left
    crowd[640 - height :, 460 : 460 + min(width, 340)] = right[:, :340]
    return crowd


@pytest.mark.parametrize("plan", [EditPlan.motion(smile=0.8), EditPlan.swap("source", head=True)])
def test_a_neighbours_face_keeps_every_pixel(
    weights: Path, crowd: np.ndarray, photo: np.ndarray, plan: EditPlan
) -> None:
    editor = FaceX.load(weights, precision="fp32")
    mine, other = editor.reader.read(crowd, recognise=False)[:2]
    edited = editor.edit(crowd, plan, {"source": photo}, steps=1, guidance=1.0)
    changed = (np.asarray(edited.image) != crowd).any(2)
    theirs = face_area([other.landmarks], crowd.shape, editor.reader.topology.triangles)
    own = face_area([mine.landmarks], crowd.shape, editor.reader.topology.triangles)
    assert not changed[theirs].any()
    assert changed[own & ~theirs].mean() > 0.5
    assert not (edited.marked() != crowd).any(2)[theirs].any()  # nor does the watermark touch it


def test_a_drawn_mask_may_be_on_a_neighbour() -> None:
    others, hole = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    others[5:15, 5:15] = hole[10:20, 10:20] = True
    kept = kept_faces(EditPlan.inpaint(hole), others)
    assert kept is not None and np.array_equal(kept, others & ~hole)
    assert kept_faces(EditPlan.motion(smile=0.5), others) is others
    assert kept_faces(EditPlan.inpaint(hole), None) is None


def test_a_face_missed_for_a_few_frames_is_put_between() -> None:
    mesh = np.random.default_rng(0).uniform(0, 60, (468, 2))

    def at(x: float) -> np.ndarray:
        return mesh + np.array([x, 0])

    frames = [[at(0)], [at(10)], [], [], [at(40)], [], [at(500)]]
    filled = through_gaps(frames)
    assert [len(meshes) for meshes in filled] == [1, 1, 1, 1, 1, 0, 1]  # a leap is another face
    assert np.allclose(filled[2][0], at(20)) and np.allclose(filled[3][0], at(30))


def test_who_stands_in_the_others_place_is_not_taken_for_them(reader: FaceReader) -> None:
    people = Path(limner.__file__).parent / "demo" / "photographs"
    one, two = (read_picture(people / f"face-{number}.jpg") for number in (10018, 10031))
    frame = np.concatenate([one, two], 1)
    faces = sorted(reader.read(frame, recognise=False), key=lambda face: face.box[0])
    left, right = faces[0], faces[-1]
    person = _TrackedFace(reader, frame, left)
    person.remember(faces, left, frame)
    scale = (left.box[2] - left.box[0]) / (right.box[2] - right.box[0])
    shift = (left.box[:2] + left.box[2:]) / 2 - scale * (right.box[:2] + right.box[2:]) / 2
    later = warp(frame, np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]), (640, 640))  # stepped where one was
    there = reader.read(later, recognise=False)[:1]
    assert overlap(there[0].box, left.box) > SAME_PLACE
    assert person.find(there, later, cut=False)[0] is None
    alone = _TrackedFace(reader, frame, left)  # without knowing the other, place decides
    assert alone.find(there, later, cut=False)[0] is there[0]
