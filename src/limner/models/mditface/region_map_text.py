"""Region maps as text in a recipe, and paintings side by side."""

from __future__ import annotations

import base64

import numpy as np
from PIL import Image

from limner.faces.picture import encode_png, read_region_map
from limner.faces.regions import colourise
from limner.provenance.manifest import Ingredient


def pack_map(regions: np.ndarray) -> str:
    """A region map (H, W) uint8 as text: a grey PNG in base64, some 3 KB for a face at 256 pixels."""
    return base64.b64encode(encode_png(regions)).decode("ascii")


def unpack_map(text: str) -> np.ndarray:
    """Inverse of ``pack_map``."""
    return read_region_map(base64.b64decode(text))


def map_ingredient(text: str) -> Ingredient:
    """A packed map as an ingredient of the painting that follows it, in colours that can be looked at."""
    return Ingredient("region map", encode_png(colourise(unpack_map(text))), "image/png")


def grid(images: list[Image.Image], columns: int | None = None) -> Image.Image:
    """Pictures of one size side by side, row by row; as square as can be unless ``columns`` says otherwise."""
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    width, height = images[0].size
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for place, image in enumerate(images):
        sheet.paste(image, (place % columns * width, place // columns * height))
    return sheet
