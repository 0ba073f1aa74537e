"""One person followed through a film: found again, told from others, smoothed within a shot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import limner
from limner.errors import InputError
from limner.faces.geometry import compose, invert, resize, transform_points, warp
from limner.faces.picture import read_picture
from limner.faces.reader import FaceReader
from limner.faces.record import Face
from limner.faces.video import Clip
from limner.models.facex.face_track import SMOOTH_MOTION, Track, follow, smooth
from limner.models.facex.portrait import portrait_of
from limner.models.facex.video_writer import write_video

pytest.importorskip("av")
STEP = 2  # pixels a frame that the head moves


def track_of(frames: list[np.ndarray], folder: Path, reader: FaceReader) -> Track:
    write_video(folder / "clip.mp4", frames, 10.0, None, {})
    return follow(Clip.open(folder / "clip.mp4"), reader)


def shown(ground: int, *pictures: tuple[int, np.ndarray]) -> np.ndarray:
    """Pictures on a wide ground of one grey, each so many pixels from its left."""
    frame = np.full((260, 640, 3), ground, np.uint8)
    for left, picture in pictures:
        frame[:, left : left + picture.shape[1]] = picture
    return frame


@pytest.fixture(scope="module")
def other(face: Face, reader: FaceReader) -> np.ndarray:
    """Somebody else, eyes and mouth exactly where they are in ``photo``, (260, 280, 3)."""
    found = read_picture(Path(limner.__file__).parent / "demo" / "photographs" / "face-10018.jpg")
    theirs = reader.read(found, recognise=False)[0]
    return warp(found, compose(invert(face.crop), theirs.crop), 280, border="edge")[:260]


def test_smoothing_keeps_what_is_steady_and_calms_what_is_not() -> None:
    random = np.random.default_rng(0)
    assert np.allclose(smooth(np.full((9, 2), 3.0), 2.0), 3.0)
    line = np.arange(20.0)[:, None]
    assert np.allclose(smooth(line, 1.0)[5:15], line[5:15])
    noise = random.normal(size=(60, 3))
    assert np.abs(np.diff(smooth(noise, 2.0), axis=0)).mean() < 0.3 * np.abs(np.diff(noise, axis=0)).mean()


def test_smoothing_stays_within_a_shot() -> None:
    values, shots = np.repeat([[0.0], [5.0]], [4, 6], 0), np.repeat([0, 1], [4, 6])
    assert np.allclose(smooth(values, 2.0, shots), values)
    noise = np.random.default_rng(0).normal(size=(10, 1))
    assert np.allclose(smooth(noise, 2.0, shots)[:4], smooth(noise[:4], 2.0))


def test_the_track_follows_the_face(photo: np.ndarray, reader: FaceReader, tmp_path: Path) -> None:
    frames = [np.roll(photo, STEP * k, 1) for k in range(4)]
    track = track_of(frames, tmp_path, reader)
    assert track.found.all() and track.crop.shape == (4, 2, 3) and track.regions.shape == (4, 256, 256)
    assert (track.stretch == 0).all() and np.allclose(track.seconds, [0, 0.1, 0.2, 0.3])
    (face,) = reader.read(photo)
    places = []
    for k, crop in enumerate(track.crop):
        scale = np.sqrt(np.linalg.det(crop[:, :2]))
        places.append(transform_points(face.landmarks[:, :2] + [STEP * k, 0], crop))
        assert np.abs(places[k] - places[0]).max() < STEP * scale  # a crop that stays is 3 * STEP * scale off at last
    moved = track.smoothed()
    assert moved.crop.shape == track.crop.shape and not np.array_equal(moved.crop, track.crop)
    mesh = track.mesh.reshape(4, -1)
    assert np.allclose(moved.mesh, smooth(mesh, SMOOTH_MOTION, track.stretch).reshape(4, 468, 3)), "in step with motion"
    portrait = track.portrait(2, frames[2], 128, "film")
    expected = portrait_of(frames[2], reader.read(frames[2])[0], 128, reader.topology)
    for seen, wanted in ((portrait.mesh, expected.mesh), (portrait.irises, expected.irises)):
        assert seen is not None and wanted is not None and np.abs(seen - wanted).max() < 2
    assert not np.array_equal(moved.irises, track.irises)


def test_who_moves_while_unseen_is_found_again_and_a_stranger_is_not_them(
    photo: np.ndarray, other: np.ndarray, reader: FaceReader, tmp_path: Path
) -> None:
    here, there, nobody = shown(90, (0, photo)), shown(90, (340, photo)), shown(90)
    stranger, both = shown(200, (340, other)), shown(90, (0, other), (340, photo))
    frames = [here, here, nobody, there, there, stranger, stranger, both, here]
    track = track_of(frames, tmp_path, reader)
    assert track.found.tolist() == [True, True, False, True, True, False, False, True, True]
    (face,) = reader.read(here)
    (far,) = reader.read(there)
    for frame, each in {0: face, 1: face, 3: far, 4: far, 7: far, 8: face}.items():
        assert np.abs(track.crop[frame] - each.crop).max() < 6
    assert track.stretch.tolist() == [0, 0, 1, 2, 2, 3, 3, 4, 5]
    calm = track.smoothed()
    assert np.abs(calm.crop[3] - far.crop).max() < 6 and np.abs(calm.crop[8] - face.crop).max() < 6


def test_a_face_no_photo_would_do_with_is_not_found(photo: np.ndarray, reader: FaceReader, tmp_path: Path) -> None:
    small = np.full_like(photo, 90)
    small[:78, :84] = resize(photo, (84, 78))
    track = track_of([photo, small, photo], tmp_path, reader)
    assert len(reader.read(small)) == 1 and track.found.tolist() == [True, False, True]
    with pytest.raises(InputError, match=r"no frame of clip.mp4 shows a face that can be used: .* pixels wide"):
        track_of([small], tmp_path, reader)
    with pytest.raises(InputError, match=r"no face was found in any frame of clip.mp4"):
        track_of([np.full_like(photo, 90)] * 2, tmp_path, reader)
