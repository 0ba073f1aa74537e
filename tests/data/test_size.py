"""Records of 512 pixels: as sharp as their photo, measured as at 256, and never enlarged."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limner.data.pictures import fit
from limner.data.shards import iterate
from limner.data.sources import Item
from limner.data.stages import RecordSettings, enlarge_regions, find_faces, magnified, make_records, open_item
from limner.errors import InputError
from limner.faces.geometry import resize, transform_points
from limner.faces.picture import encode_png, read_picture, read_region_map
from limner.faces.reader import FaceReader

PHOTOGRAPHS = Path(str(files("limner.demo"))) / "photographs"
QUIET: dict[str, Any] = {"captions": 0, "prompts": 0, "questions": 0}


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    return FaceReader.load()


def item(path: Path, aligned: bool = False) -> Item:
    return Item(path.stem, "test", "none", path.stem, path, aligned)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of which the face spans 500 to 1,000 pixels, with detail that 256 pixels cannot hold."""
    photo = read_picture(PHOTOGRAPHS / "face-10016.jpg")
    place = tmp_path_factory.mktemp("large") / "large.png"
    grown = resize(photo, (900, 900)).astype(np.int16)
    rows, columns = np.indices(grown.shape[:2]) // 4
    grown += np.where((rows + columns) % 2, 16, -16)[..., None].astype(np.int16)
    place.write_bytes(encode_png(grown.clip(0, 255).astype(np.uint8)))
    return place


def test_a_larger_record_shows_the_same_measured_the_same(large: Path, reader: FaceReader) -> None:
    rows = {}
    for size in (256, 512):
        found, errors = make_records([item(large)], reader, RecordSettings(size=size, **QUIET))
        assert not errors
        rows[size] = found[0]
    for name in ("landmarks", "crop", "identity", "pose", "expression"):
        assert np.array_equal(rows[256][name], rows[512][name]), name
    picture, regions = fit(rows[512], 512)
    assert picture.shape == (512, 512, 3) and regions.shape == (512, 512)
    small, ids = fit(rows[512], 256)
    plain, expected = fit(rows[256], 256)
    assert np.abs(small.astype(int) - plain).mean() < 12 and (ids == expected).mean() > 0.97
    fine = np.abs(np.diff(picture[..., 0].astype(int), axis=1)).mean()
    blurred = np.abs(np.diff(resize(plain, (512, 512))[..., 0].astype(int), axis=1)).mean()
    assert fine > 1.3 * blurred, "real detail, not an enlarged picture"
    with pytest.raises(InputError, match="not enlarged to 512: build the set with --size 512"):
        fit(rows[256], 512)


def test_nothing_is_enlarged(large: Path, reader: FaceReader, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"spans \d+ pixels and is not enlarged to 1024"):
        find_faces(open_item(item(large)), reader, RecordSettings(size=1024))
    square = tmp_path / "square.png"
    square.write_bytes(encode_png(np.zeros((256, 256, 3), np.uint8)))
    with pytest.raises(InputError, match="256 pixels wide and is not enlarged to 512"):
        find_faces(open_item(item(square, aligned=True)), reader, RecordSettings(size=512))
    with pytest.raises(InputError, match="size 300: choose 256, 512 or 1024"):
        RecordSettings(size=300)


def test_a_magnified_crop_leads_to_the_same_places() -> None:
    crop = np.array([[0.5, 0.1, 3.0], [-0.1, 0.5, 7.0]])
    points = np.array([[10.0, 20.0], [100.5, 3.0]])
    small, great = (transform_points(points, matrix) for matrix in (crop, magnified(crop, 512)))
    assert np.allclose((great + 0.5) / 2, small + 0.5)  # pixel centres lie at integers


def test_outlines_stay_where_they_are_when_a_map_is_enlarged() -> None:
    rows, columns = np.mgrid[:256, :256]
    disc = (((rows - 127.5) ** 2 + (columns - 127.5) ** 2) < 80**2).astype(np.uint8) * 13
    great = enlarge_regions(disc, 1024)
    rows, columns = np.mgrid[:1024, :1024]
    true = (((rows - 511.5) ** 2 + (columns - 511.5) ** 2) < 320**2).astype(np.uint8) * 13
    nearest = disc.repeat(4, 0).repeat(4, 1)
    assert set(np.unique(great)) == {0, 13} and (great != true).sum() < 0.9 * (nearest != true).sum()


def test_the_command_builds_at_a_size(large: Path, tmp_path: Path) -> None:
    from limner.cli.app import main

    words = ["data", "build", str(large), "--out", str(tmp_path / "set"), "--size", "512", "--workers", "1"]
    assert main([*words, "--shares", "100/0/0"]) == 0
    (row,) = iterate(tmp_path / "set")
    assert read_picture(row["image"]["bytes"]).shape == (512, 512, 3)
    assert read_region_map(row["regions"]["bytes"]).shape == (512, 512)
