"""Edits do what their words say, and cover only what lies behind."""

from __future__ import annotations

import numpy as np
import pytest

from limner.errors import InputError
from limner.faces.regions import Region, flip
from limner.models.mditface.mask_edits import CHANGES, edit_mask

SIDE = 100


@pytest.fixture
def face() -> np.ndarray:
    """A long-haired face: symmetric, hair around skin, brows, eyes and lips on it, neck and clothes below."""
    y, x = np.mgrid[:SIDE, :SIDE]
    out = np.zeros((SIDE, SIDE), np.uint8)
    out[(y > 75) & (abs(x - 49.5) < 40)] = Region.CLOTH
    out[(y > 55) & (y < 85) & (abs(x - 49.5) < 10)] = Region.NECK
    out[(abs(x - 49.5) < 28) & (y > 12) & (y < 70)] = Region.HAIR
    out[((x - 49.5) / 20) ** 2 + ((y - 45) / 25) ** 2 < 1] = Region.SKIN
    out[38:40, 36:46], out[38:40, 54:64] = Region.RIGHT_BROW, Region.LEFT_BROW
    out[42:45, 38:44], out[42:45, 56:62] = Region.RIGHT_EYE, Region.LEFT_EYE
    out[58:60, 44:56], out[60:62, 44:56] = Region.UPPER_LIP, Region.LOWER_LIP
    return out


def area(regions: np.ndarray, region: Region) -> int:
    return int((regions == region).sum())


def extent(regions: np.ndarray, region: Region) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(regions == region)
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_longer_hair_reaches_lower_and_leaves_the_face_alone(face: np.ndarray) -> None:
    edited = edit_mask(face, "hair: longer 10")
    assert extent(edited, Region.HAIR)[1] == extent(face, Region.HAIR)[1] + 10
    inside = np.isin(face, [Region.SKIN, Region.LEFT_EYE, Region.UPPER_LIP])
    assert np.array_equal(edited[inside], face[inside])


def test_shorter_hair_ends_higher_and_its_neighbours_take_over(face: np.ndarray) -> None:
    edited = edit_mask(face, "hair: shorter 20")
    assert extent(edited, Region.HAIR)[1] == extent(face, Region.HAIR)[1] - 20
    assert edited[68, 25] == Region.BACKGROUND  # beside the cheek
    kept = face != Region.HAIR
    assert np.array_equal(edited[kept], face[kept])


def test_bigger_and_wider_lips_stay_on_the_skin(face: np.ndarray) -> None:
    for edit in ("lips: bigger 2", "lips: wider 3"):
        edited = edit_mask(face, edit)
        assert area(edited, Region.UPPER_LIP) > area(face, Region.UPPER_LIP)
        changed = edited != face
        assert set(face[changed].tolist()) == {int(Region.SKIN)}
    assert extent(edit_mask(face, "lips: wider 3"), Region.LOWER_LIP)[2:] == (41, 58)


@pytest.mark.parametrize(
    "change, sign", [("smaller", -1), ("narrower", -1), ("bigger", 1), ("wider", 1), ("longer", 1)]
)
def test_areas_change_in_the_right_direction(face: np.ndarray, change: str, sign: int) -> None:
    edited = edit_mask(face, f"hair: {change} 3")
    assert sign * (area(edited, Region.HAIR) - area(face, Region.HAIR)) > 0


def test_moving_keeps_the_shape(face: np.ndarray) -> None:
    edited = edit_mask(face, "brows: higher 4")
    for brow in (Region.LEFT_BROW, Region.RIGHT_BROW):
        assert extent(edited, brow)[0] == extent(face, brow)[0] - 4
        assert area(edited, brow) == area(face, brow)
    assert edited[39, 40] == Region.SKIN
    lower = edit_mask(face, "eyes: lower 2")
    assert extent(lower, Region.LEFT_EYE)[0] == extent(face, Region.LEFT_EYE)[0] + 2


def test_removed_leaves_nothing_and_every_pixel_has_a_region(face: np.ndarray) -> None:
    edited = edit_mask(face, "hair: removed; left brow: removed")
    assert area(edited, Region.HAIR) == 0 == area(edited, Region.LEFT_BROW) < area(edited, Region.RIGHT_BROW)
    assert set(np.unique(edited)) <= set(np.unique(face))


@pytest.mark.parametrize("change", CHANGES)
def test_edits_of_a_symmetric_face_are_symmetric(face: np.ndarray, change: str) -> None:
    assert np.array_equal(flip(face), face)
    for name in ("hair", "eyes"):
        edited = edit_mask(face, f"{name}: {change} 4")
        assert np.array_equal(flip(edited), edited)


def test_the_given_map_is_not_touched_and_edits_follow_each_other(face: np.ndarray) -> None:
    before = face.copy()
    both = edit_mask(face, "hair: longer 5; hair: shorter 5")
    assert np.array_equal(face, before)
    assert extent(both, Region.HAIR)[1] == extent(face, Region.HAIR)[1]


@pytest.mark.parametrize(
    "edit, message",
    [
        ("hair longer", "REGION: CHANGE"),
        ("hair: curlier", "bigger, smaller"),
        ("horns: bigger", "hair"),
        ("hat: removed", "shows no hat"),
    ],
)
def test_nonsense_is_refused_with_the_way_out(face: np.ndarray, edit: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        edit_mask(face, edit)
