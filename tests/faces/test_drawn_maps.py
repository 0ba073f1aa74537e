"""Region maps as people bring them: other orders, mirrored, lossy, transparent, or no map of a face at all."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from limner.errors import InputError
from limner.faces.geometry import warp
from limner.faces.map_layout import order_of, sides_straightened
from limner.faces.picture import read_region_map
from limner.faces.reader import FaceReader
from limner.faces.regions import PALETTES, Region, colourise, flip, to_order


@pytest.fixture(scope="module")
def ids(reader: FaceReader, astronaut: np.ndarray) -> np.ndarray:
    face = reader.read(astronaut)[0]
    return warp(face.regions, face.crop, 256, nearest=True, border=0)


def encoded(picture: np.ndarray | Image.Image, kind: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def test_numbers_in_either_order_are_told_by_their_places(ids: np.ndarray) -> None:
    theirs = to_order(ids, "bisenet")
    assert (order_of(ids), order_of(theirs)) == ("celebamask", "bisenet")
    for turns in range(1, 4):  # whichever way is up, it is never taken for the other order
        assert order_of(np.rot90(ids, turns)) == "celebamask"
    assert np.array_equal(read_region_map(encoded(theirs, "PNG"), drawn=True), ids)
    assert np.array_equal(read_region_map(encoded(theirs, "PNG"), "bisenet", drawn=True), ids)
    assert np.array_equal(read_region_map(encoded(theirs, "PNG")), theirs)  # not drawn: as the file says


def test_numbers_that_may_be_either_orders_are_asked_about() -> None:
    drawn = np.zeros((64, 64), np.uint8)
    drawn[10:50, 16:48] = Region.SKIN
    drawn[12:20, 20:28] = 3  # one glass before an eye, or BiSeNet's right brow, only too large
    with pytest.raises(InputError, match="--palette celebamask or --palette bisenet"):
        order_of(drawn)
    assert Region.RIGHT_BROW in read_region_map(drawn, "bisenet", drawn=True)
    assert Region.EYE_GLASSES in read_region_map(drawn, "celebamask", drawn=True)


def test_a_mirrored_map_has_its_sides_exchanged(ids: np.ndarray) -> None:
    mirrored = np.ascontiguousarray(ids[:, ::-1])
    assert np.array_equal(sides_straightened(mirrored), flip(ids))
    assert np.array_equal(sides_straightened(ids), ids)
    upside_down = np.ascontiguousarray(ids[::-1, ::-1])  # turned, not mirrored
    assert np.array_equal(sides_straightened(upside_down), upside_down)
    assert np.array_equal(read_region_map(encoded(mirrored, "PNG"), drawn=True), flip(ids))


@pytest.mark.parametrize(
    ("kind", "settings", "least"),
    [
        ("JPEG", {"quality": 95}, 0.985),  # colours at half the resolution
        ("JPEG", {"quality": 75}, 0.98),
        ("WEBP", {"quality": 80}, 0.98),
    ],
)
@pytest.mark.parametrize("palette", ["celebamask", "bisenet"])
def test_lossy_colours_are_snapped(ids: np.ndarray, palette: str, kind: str, settings: dict, least: float) -> None:
    large = ids.repeat(2, 0).repeat(2, 1)
    read = read_region_map(encoded(colourise(large, PALETTES[palette]), kind, **settings))
    assert (read == large).mean() > least
    assert set(np.unique(read)) <= set(np.unique(large))  # mixed colours bring no new region
    assert (read[large == Region.LEFT_EYE] == Region.LEFT_EYE).mean() > 0.8


def test_smoothed_colours_are_snapped(ids: np.ndarray) -> None:
    smooth = Image.fromarray(colourise(ids)).resize((400, 400), Image.Resampling.BICUBIC)
    places = ((np.arange(400) + 0.5) * 256 / 400).astype(int)
    assert (read_region_map(encoded(smooth, "PNG")) == ids[places][:, places]).mean() > 0.98


def test_what_lost_too_much_is_refused_as_lossy(ids: np.ndarray, astronaut: np.ndarray) -> None:
    tiny = Image.fromarray(colourise(ids)).resize((64, 64), Image.Resampling.NEAREST)
    with pytest.raises(InputError, match=r"lossy.*PNG"):
        read_region_map(encoded(tiny, "JPEG", quality=50))
    for smoothed in (encoded(ids, "JPEG", quality=95), encoded(Image.fromarray(ids).resize((300, 300), 2), "PNG")):
        with pytest.raises(InputError, match="save it as PNG"):
            read_region_map(smoothed, drawn=True)
    with pytest.raises(InputError, match="no region map"):
        read_region_map(encoded(astronaut, "JPEG"))


def test_a_transparent_ground_is_background(ids: np.ndarray) -> None:
    layer = np.dstack([colourise(ids), np.where(ids > 0, 255, 0).astype(np.uint8)])
    layer[ids == 0, :3] = 200  # as drawing programs leave it
    assert np.array_equal(read_region_map(encoded(layer, "PNG")), ids)


@pytest.mark.parametrize("value", [0, 255])
def test_a_map_without_a_face_is_refused(value: int) -> None:
    black_and_white = np.zeros((64, 64, 3), np.uint8)
    black_and_white[16:48, 16:48] = value
    with pytest.raises(InputError, match="shows no face"):
        read_region_map(encoded(black_and_white, "PNG"), drawn=True)
