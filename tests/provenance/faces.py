"""Small pictures to mark, and what may happen to them afterwards."""

from __future__ import annotations

import numpy as np
from skimage import data

from limner.faces.geometry import resize
from limner.provenance.picture import Picture


def photo(size: int = 256) -> np.ndarray:
    """A face, (size, size, 3) uint8."""
    return resize(np.ascontiguousarray(data.astronaut()[:256, 90:346]), (size, size))


def photographs() -> list[np.ndarray]:
    """Other pictures, no two alike, 256 pixels and more."""
    whole = data.astronaut()
    return [photo(), np.ascontiguousarray(whole[200:500, 60:360]), data.chelsea(), data.coffee(), data.rocket()]


def painted(**recipe) -> Picture:
    """A picture that says a tiny engine painted it."""
    from PIL import Image

    return Picture(Image.fromarray(photo()), {"limner": "0.0", "engine": "tiny", "seed": 3, "text": "é", **recipe})
