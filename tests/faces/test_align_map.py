"""Region maps of whole photos, aligned by what they show."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from limner.errors import InputError
from limner.faces.align_map import align_map
from limner.faces.geometry import warp
from limner.faces.reader import FaceReader
from limner.faces.record import Face
from limner.faces.regions import Region

SIDE = 256


@pytest.fixture(scope="module")
def face(reader: FaceReader, astronaut: np.ndarray) -> Face:
    return reader.read(astronaut)[0]


@pytest.fixture(scope="module")
def aligned(face: Face) -> np.ndarray:
    return warp(face.regions, face.crop, SIDE, nearest=True, border=0)


def test_a_photos_map_is_aligned_as_the_face_itself_is(face: Face, aligned: np.ndarray) -> None:
    """Eyes and mouth of the map stand in for the mesh; the two agree on nearly every pixel."""
    assert (align_map(face.regions, SIDE) == aligned).mean() > 0.95
    assert (align_map(face.regions[:, 40:], SIDE) == aligned).mean() > 0.95  # not square, and moved
    assert (align_map(face.regions[:256, 100:356], SIDE) == aligned).mean() > 0.95  # square, but not aligned


def test_an_aligned_map_is_left_alone(aligned: np.ndarray) -> None:
    assert np.array_equal(align_map(aligned, SIDE), aligned)
    assert np.array_equal(align_map(aligned.repeat(2, 0).repeat(2, 1), SIDE), aligned)


def test_a_huge_map_is_read_as_a_large_one(aligned: np.ndarray) -> None:
    huge = aligned.repeat(20, 0).repeat(20, 1)
    tracemalloc.start()
    assert np.array_equal(align_map(huge, SIDE), aligned)
    assert (align_map(huge[:, :-20], SIDE) == aligned).mean() > 0.95  # not square, so turned and cut by its eyes
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


def test_a_turned_map_comes_upright(aligned: np.ndarray) -> None:
    """Painting wants upright faces, so a map on its side is turned back."""
    turned = align_map(np.rot90(aligned), SIDE)
    eyes = [np.argwhere(turned == eye).mean(0) for eye in (Region.RIGHT_EYE, Region.LEFT_EYE)]
    assert abs(eyes[0][0] - eyes[1][0]) < 8 and eyes[0][1] < eyes[1][1]


def test_without_eyes_only_a_square_can_be_used(aligned: np.ndarray) -> None:
    blind = np.where(np.isin(aligned, (Region.LEFT_EYE, Region.RIGHT_EYE)), Region.SKIN, aligned).astype(np.uint8)
    assert np.array_equal(align_map(blind, SIDE), blind)
    with pytest.raises(InputError, match="no eyes and mouth"):
        align_map(blind[:200], SIDE)


def test_a_necklace_is_never_denied(face: Face) -> None:
    """The parser misses most necklaces, so that none is seen means nothing."""
    assert "necklace" not in face.attributes
