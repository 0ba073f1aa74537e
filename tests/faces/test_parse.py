"""The region parser treats both sides of a face alike, and one crop like many."""

from __future__ import annotations

import numpy as np
import pytest

from limner.errors import InputError
from limner.faces.geometry import resize
from limner.faces.parse import SIZE, RegionParser
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
