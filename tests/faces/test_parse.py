"""The region parser treats both sides of a face alike, and one crop like many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limner.errors import InputError
from limner.faces.efficientnet import EfficientNetLite0
from limner.faces.geometry import resize
from limner.faces.parse import SIZE, RegionParser
from limner.faces.parse_data import IGNORE
from limner.faces.parse_task import ParserTask, self_labelled
from limner.faces.picture import save_picture, save_png
from limner.faces.regions import Region, flip


@pytest.fixture(scope="module")
def parser() -> RegionParser:
    return RegionParser.load()


@pytest.fixture(scope="module")
def crop(astronaut: np.ndarray) -> np.ndarray:
    return np.asarray(resize(astronaut[20:240, 120:340], (SIZE, SIZE)))


def test_a_mirrored_face_has_mirrored_regions(parser: RegionParser, crop: np.ndarray) -> None:
    regions = parser.parse(crop[None]).ids[0]
    mirrored = parser.parse(np.ascontiguousarray(crop[:, ::-1])[None]).ids[0]
    assert (mirrored == flip(regions)).mean() > 0.9999
    assert {Region.SKIN, Region.HAIR, Region.LEFT_EYE, Region.RIGHT_EYE, Region.NOSE} <= set(np.unique(regions))


def test_a_batch_is_its_crops(parser: RegionParser, crop: np.ndarray) -> None:
    other = np.ascontiguousarray(crop[:, ::-1])
    batch = parser.parse(np.stack([crop, other]))
    for k, one in enumerate((crop, other)):
        alone = parser.parse(one[None])
        assert (alone.ids[0] == batch.ids[k]).mean() > 0.9999
        assert np.allclose(alone.confidence[0], batch.confidence[k], atol=1e-4)


def test_other_shapes_are_refused(parser: RegionParser) -> None:
    with pytest.raises(InputError, match="256"):
        parser.parse(np.zeros((1, 128, 128, 3), np.uint8))


def test_a_teacher_looks_at_several_sizes_and_says_where_it_is_not_sure(tmp_path: Path, crop: np.ndarray) -> None:
    file = tmp_path / "face.png"
    save_png(file, crop)
    ((picture, once),) = self_labelled([file], "face-parser", sure=0.0)
    ((_, thrice),) = self_labelled([file], "face-parser", sure=0.0, sides=(192, 256, 320))
    ((_, careful),) = self_labelled([file], "face-parser", sure=0.9, sides=(192, 256, 320))
    assert np.array_equal(picture, crop)
    assert 0.001 < (once != thrice).mean() < 0.05  # another opinion, of the same face
    unsure = careful == IGNORE
    assert 0.01 < unsure.mean() < 0.3
    assert np.array_equal(careful[~unsure], thrice[~unsure])


def test_how_much_of_the_encoder_learns_is_a_setting(tmp_path: Path, crop: np.ndarray, monkeypatch: Any) -> None:
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    for number in range(2):
        save_picture(tmp_path / f"pairs/{number}.jpg", crop)
        save_png(tmp_path / f"pairs/{number}.png", np.zeros(crop.shape[:2], np.uint8))
    for frozen in (0, 2):
        task = ParserTask({"pairs": "pairs", "test": 0, "validation": 1, "frozen_blocks": frozen}, 1, 0)
        encoder = task.build().encoder
        assert isinstance(encoder, EfficientNetLite0)
        learns = [any(p.requires_grad for p in part.parameters()) for part in (encoder.conv_stem, *encoder.blocks)]
        assert learns == [frozen == 0] * (frozen + 1) + [True] * (len(learns) - frozen - 1)


def test_unlabelled_faces_need_a_teacher() -> None:
    with pytest.raises(ValueError, match="need `init_from`"):
        ParserTask({"pairs": "pairs", "unlabelled": ["faces"]}, 1, 0)
