"""What cannot be seen is not stated."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from limner.faces.occlusion import OF_COLOUR, OF_CROWN, OF_EYES, OF_MOUTH
from limner.faces.reader import FaceReader
from limner.faces.record import Face


@pytest.fixture(scope="module")
def face(reader: FaceReader, astronaut: np.ndarray) -> Face:
    return reader.read(astronaut)[0]


def stated(reader: FaceReader, picture: np.ndarray) -> set[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return set(reader.read(np.ascontiguousarray(picture))[0].attributes)


def test_an_open_face_is_described(face: Face) -> None:
    found = set(face.attributes)
    assert {"smile", "eyes", "gaze", "hair_colour", "bald", "hair_length", "skin_tone"} <= found


@pytest.mark.parametrize("colour", [(120, 160, 190), (235, 235, 235)])
def test_a_covered_mouth(reader: FaceReader, astronaut: np.ndarray, face: Face, colour: tuple[int, int, int]) -> None:
    x1, x2 = (int(face.landmarks[point, 0]) for point in (234, 454))
    top, bottom = int(face.landmarks[2, 1]) + 3, int(face.landmarks[152, 1]) + 3
    masked = astronaut.copy()
    masked[top:bottom, min(x1, x2) : max(x1, x2)] = colour
    found = stated(reader, masked)
    assert not found & set(OF_MOUTH)
    assert "hair_colour" in found


def test_an_eye_bar(reader: FaceReader, astronaut: np.ndarray, face: Face) -> None:
    middle, half = int(face.irises[:, 0, 1].mean()), int(0.12 * (face.box[3] - face.box[1]))
    barred = astronaut.copy()
    barred[middle - half : middle + half, int(face.box[0]) - 10 : int(face.box[2]) + 10] = 0
    found = stated(reader, barred)
    assert not found & set(OF_EYES)


def test_a_crop_that_ends_at_the_hairline(reader: FaceReader, astronaut: np.ndarray, face: Face) -> None:
    found = stated(reader, astronaut[int(face.landmarks[10, 1]) + 2 :])
    assert not found & set(OF_CROWN)
    assert "smile" in found


def test_black_and_white(reader: FaceReader, astronaut: np.ndarray) -> None:
    grey = np.repeat((astronaut @ [0.299, 0.587, 0.114]).round().astype(np.uint8)[..., None], 3, 2)
    found = stated(reader, grey)
    assert not found & set(OF_COLOUR)
    assert "hair_length" in found
