"""The drill's hostile pictures at the one place that decodes: a picture, or one line. The rest: drills/pictures.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from limner.faces.detect import FaceDetector
from limner.faces.picture import PictureError, read_picture

sys.path.insert(0, str(Path(__file__).parents[2] / "drills"))
import hostile


@pytest.mark.parametrize("kind", ["cuts", "polyglots", "numbers", "bends"])
def test_hostile_pictures_are_decoded_or_refused_in_one_line(kind: str) -> None:
    made = hostile.bends(90, seed=0) if kind == "bends" else getattr(hostile, kind)()
    refused = 0
    for name, data in made:
        try:
            picture = read_picture(data, name)
        except PictureError as error:
            assert "\n" not in str(error) and (name in str(error) or "picture" in str(error))
            refused += 1
        else:
            assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    assert refused > 5


def test_bombs_are_refused_before_they_are_decoded() -> None:
    refused = []
    for name, data in hostile.bombs():
        if not name.startswith(("almost", "forty", "jpeg-says-6300")):  # within the limits, and slow to read
            try:
                read_picture(data, name)
            except PictureError as error:
                refused.append((name, str(error)))
    assert sum("40 megapixels" in said for _, said in refused) >= 5
    assert {"bomb-30000x30000.png", "gif-65535.gif", "ppm-says-much.ppm"} <= {name for name, _ in refused}


def test_a_large_photo_without_anything_in_it_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of sky and wall are passed over: only looks at the whole photo remain."""
    detector, looks = FaceDetector.load(), []
    plain = FaceDetector._see
    monkeypatch.setattr(FaceDetector, "_see", lambda self, *given: looks.append(1) or plain(self, *given))
    assert detector.detect(np.full((1500, 2000, 3), 90, np.uint8)) == []
    assert len(looks) < 12
    photo = np.random.default_rng(0).integers(0, 255, (1500, 2000, 3), dtype=np.uint8)
    detector.detect(photo)
    assert len(looks) > 24
