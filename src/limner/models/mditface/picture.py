"""A painted picture and its recipe, and the recipe inside a PNG."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from limner.errors import InputError
from limner.faces.picture import Source, encode_png, read_png_text, read_region_map, save_png

KEY = "limner"
"""Name of the PNG text entry that holds the recipe as JSON."""


@dataclass(frozen=True)
class Picture:
    """A picture and everything needed to make it again."""

    image: Image.Image
    recipe: dict[str, Any] = field(repr=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a PNG with the recipe in it, whole or not at all. ``InputError`` for another format."""
        if Path(path).suffix.lower() != ".png":
            raise InputError(f"{Path(path).name}: name it .png; a picture is saved with its recipe, which PNG can hold")
        save_png(path, self.image, {KEY: json.dumps(self.recipe, sort_keys=True)})


def read_recipe(source: Source) -> dict[str, Any]:
    """The recipe inside a PNG that ``Picture.save`` wrote; ``InputError`` where there is none."""
    text = read_png_text(source).get(KEY)
    if text is None:
        raise InputError("this picture carries no recipe: only PNG files as limner saved them can be made again")
    try:
        recipe = json.loads(text)
    except json.JSONDecodeError:
        raise InputError("the recipe in this picture is damaged: it cannot be made again") from None
    if not isinstance(recipe, dict):
        raise InputError("the recipe in this picture is damaged: it cannot be made again")
    return recipe


def pack_map(regions: np.ndarray) -> str:
    """A region map (H, W) uint8 as text: a grey PNG in base64, some 3 KB for a face at 256 pixels."""
    return base64.b64encode(encode_png(regions)).decode("ascii")


def unpack_map(text: str) -> np.ndarray:
    """Inverse of ``pack_map``."""
    return read_region_map(base64.b64decode(text))


def grid(images: list[Image.Image], columns: int | None = None) -> Image.Image:
    """Pictures of one size side by side, row by row; as square as can be unless ``columns`` says otherwise."""
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    width, height = images[0].size
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for place, image in enumerate(images):
        sheet.paste(image, (place % columns * width, place // columns * height))
    return sheet
