"""Masks as drawing programs save them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from limner.errors import InputError
from limner.models.facex.drawn_mask import read_mask

SIDE = 200
BOX = (60, 80, 130, 150)


def png(image: Image.Image, kind: str = "PNG", **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def ellipse() -> np.ndarray:
    image = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(image).ellipse(BOX, fill=255)
    return np.array(image) > 0


def layer(colour: tuple[int, int, int], opacity: np.ndarray) -> Image.Image:
    flat = np.broadcast_to(np.array(colour, np.uint8), (SIDE, SIDE, 3))
    return Image.fromarray(np.dstack([flat, opacity.astype(np.uint8)]))


@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 0, 0), (0, 0, 0), (40, 60, 200)])
@pytest.mark.parametrize("opacity", [255, 100])
def test_strokes_on_a_transparent_layer(ellipse: np.ndarray, colour: tuple[int, int, int], opacity: int) -> None:
    assert np.array_equal(read_mask(png(layer(colour, ellipse * opacity))), ellipse)


def test_a_hole_is_the_hole(ellipse: np.ndarray, photo: np.ndarray) -> None:
    cut = np.dstack([photo[:SIDE, :SIDE], np.where(ellipse, 0, 255).astype(np.uint8)])
    assert np.array_equal(read_mask(png(Image.fromarray(cut))), ellipse)
    assert np.array_equal(read_mask(png(layer((0, 0, 0), ~ellipse * 255))), ellipse)  # as image APIs take it


def test_opaque_drawings(ellipse: np.ndarray) -> None:
    white = Image.fromarray(ellipse.astype(np.uint8) * 255)
    assert np.array_equal(read_mask(png(white)), ellipse)
    assert np.array_equal(read_mask(png(white.convert("RGBA"))), ellipse)
    assert (read_mask(png(white, "JPEG", quality=60)) == ellipse).mean() > 0.995
    assert (read_mask(png(white.filter(ImageFilter.GaussianBlur(6)))) == ellipse).mean() > 0.97
    red = np.zeros((SIDE, SIDE, 3), np.uint8)
    red[ellipse] = 255, 0, 0
    assert np.array_equal(read_mask(png(Image.fromarray(red))), ellipse)


def test_what_marks_nothing_is_refused(photo: np.ndarray) -> None:
    for nothing in (Image.new("L", (SIDE, SIDE)), Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 255))):
        with pytest.raises(InputError, match="the mask is empty"):
            read_mask(png(nothing))
    with pytest.raises(InputError, match="photograph without a transparent part"):
        read_mask(png(Image.fromarray(photo)))
