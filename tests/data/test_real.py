"""A photo through the real reader to a finished row, and its aligned picture read again."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from PIL import Image

from limner.data.build import load_face_reader
from limner.data.sources import open_sources
from limner.data.stages import RecordSettings, Row, make_records
from limner.faces.picture import read_picture, read_region_map
from limner.faces.regions import Region


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Row, Row]:
    """The astronaut's record from the photograph, and from the record's own picture given as aligned."""
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(skimage.data.astronaut()).save(folder / "astronaut.png")
    Image.fromarray(skimage.data.coffee()).save(folder / "coffee.png")
    reader, settings = load_face_reader(), RecordSettings()
    found, errors = make_records(open_sources([folder], licence="public domain"), reader, settings)
    assert [row["id"].split("/")[1] for row in found] == ["astronaut.png"]
    assert [(e["id"].split("/")[1], e["reason"]) for e in errors] == [("coffee.png", "no face found")]
    crop = folder / "crops"
    crop.mkdir()
    (crop / "a.jpg").write_bytes(found[0]["image"]["bytes"])
    again, _ = make_records(open_sources([crop], aligned=True), reader, settings)
    return found[0], again[0]


def test_the_record_lies_in_its_own_picture(rows: tuple[Row, Row]) -> None:
    row = rows[0]
    picture, regions = read_picture(row["image"]["bytes"]), read_region_map(row["regions"]["bytes"])
    assert picture.shape == (256, 256, 3) and regions.shape == (256, 256)
    points = row["landmarks"].reshape(468, 3)[:, :2]
    assert points.min() > 20 and points.max() < 236  # of the picture, not of the photo
    assert 0.3 < points[:, 0].mean() / 256 < 0.7
    nose = points[4].astype(int)
    assert regions[nose[1], nose[0]] in (Region.NOSE, Region.SKIN)
    assert np.mean(regions == Region.SKIN) > 0.1 and np.mean(regions == Region.HAIR) > 0.05


def test_the_crop_leads_from_the_photo_to_the_picture(rows: tuple[Row, Row]) -> None:
    box, crop = rows[0]["box"].reshape(2, 2), rows[0]["crop"].reshape(2, 3)
    assert 100 < box[0, 0] < box[1, 0] < 400 and box[1, 1] < 260  # her face in the 512² photograph
    middle = crop[:, :2] @ box.mean(0) + crop[:, 2]
    assert abs(middle[0] - 128) < 30 and abs(middle[1] - 140) < 40


def test_words_are_about_her(rows: tuple[Row, Row]) -> None:
    found = {a["name"]: a["value"] for a in rows[0]["attributes"]}
    assert found["gender_presentation"] == "woman" and found["smile"] != "none" and len(found) >= 30
    assert len(rows[0]["captions"]) == 5 and len(rows[0]["prompts"]) == 6 and len(rows[0]["questions"]) == 10
    assert any("woman" in text.lower() for text in rows[0]["captions"])


def test_her_aligned_picture_is_read_as_the_same(rows: tuple[Row, Row]) -> None:
    photo, aligned = rows
    distance = np.linalg.norm(photo["identity"] - aligned["identity"])
    assert distance < 0.2
    shift = np.abs(photo["landmarks"] - aligned["landmarks"]).reshape(468, 3)[:, :2].mean()
    assert shift < 1.5
    assert np.allclose(aligned["crop"].reshape(2, 3), np.eye(2, 3), atol=1e-6)
