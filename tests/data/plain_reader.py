"""A face reader that needs no networks: it measures colours. For tests of everything around the real one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from limner.faces.record import Attribute, Face, Pose
from limner.faces.regions import Region

sys.path.insert(0, str(Path(__file__).parent.parent / "words"))
from made_up import make_attributes  # pyright: ignore[reportMissingImports]


class PlainReader:
    """A face fills the middle of every picture that is not dark; what is found there follows from the pixels."""

    def read(self, photo: np.ndarray, min_score: float = 0.5) -> list[Face]:
        height, width = photo.shape[:2]
        if photo.mean() < 20:
            return []
        half = min(height, width) / 4
        box = np.array([width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half], np.float32)
        scale = 128 / (2 * half)
        crop = np.array([[scale, 0, 128 - scale * width / 2], [0, scale, 128 - scale * height / 2]], np.float32)
        return [_measure(photo, box, crop)]

    def read_crops(self, pictures: np.ndarray) -> list[Face | None]:
        box = np.array([64, 64, 192, 192], np.float32)
        crop = np.eye(2, 3, dtype=np.float32)
        return [None if c.mean() < 20 else _measure(c, box, crop) for c in pictures]


def _measure(picture: np.ndarray, box: np.ndarray, crop: np.ndarray) -> Face:
    rng = np.random.default_rng(int(picture.astype(np.int64).sum()))
    regions = np.zeros(picture.shape[:2], np.uint8)
    regions[picture.shape[0] // 4 : -picture.shape[0] // 4] = Region.SKIN
    found = make_attributes(rng)
    return Face(
        box=box,
        score=0.9,
        landmarks=rng.uniform(0, 256, (468, 3)).astype(np.float32),
        irises=np.zeros((2, 5, 3), np.float32),
        pose=Pose(1.0, 2.0, 3.0),
        gaze=np.zeros(2, np.float32),
        expression=rng.uniform(0, 1, 20).astype(np.float32),
        light=np.zeros(27, np.float32),
        regions=regions,
        crop=crop,
        identity=rng.standard_normal(128).astype(np.float32),
        attributes={name: Attribute(a.value, a.confidence, a.by) for name, a in found.items()},
    )


def load() -> PlainReader:
    """What a worker process calls."""
    return PlainReader()


def make_pictures(folder: Path, count: int, size: int = 96) -> Path:
    """`count` smooth colourful pictures in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        rng = np.random.default_rng(k)
        small = rng.integers(30, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC).save(folder / f"{k:03d}.png")
    return folder
