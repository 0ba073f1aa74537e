"""How a notebook shows a picture: the file that is saved, with recipe and watermark."""

from __future__ import annotations

import numpy as np
from PIL import Image

from limner.faces.picture import read_picture
from limner.provenance.detect import detect
from limner.provenance.picture import Picture
from limner.provenance.recipe import read_recipe


def test_a_notebook_shows_the_marked_file() -> None:
    pixels = np.random.default_rng(0).integers(60, 200, (32, 32, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    picture = Picture(Image.fromarray(pixels), {"limner": "0", "engine": "mditface", "seed": 3})
    shown = picture._repr_png_()
    assert shown.startswith(b"\x89PNG") and read_recipe(shown)["seed"] == 3
    assert np.array_equal(read_picture(shown), picture.marked()) and detect(read_picture(shown)).found
