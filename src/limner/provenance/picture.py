"""A picture that an engine made, and the one way it leaves Limner: with its marks."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from limner.errors import InputError
from limner.files import write_bytes_atomic
from limner.provenance import manifest as c2pa_manifest
from limner.provenance.credentials import credentials
from limner.provenance.manifest import Ingredient
from limner.provenance.recipe import MIME, encode_with_recipe, fingerprint, kind_of
from limner.provenance.watermark import embed

KINDS = {1: "painting", 2: "edit"}
"""The upper four bits of the watermark's message; the lower twelve are the recipe's fingerprint."""
FINGERPRINT_BITS = 12


@dataclass(frozen=True)
class Picture:
    """A picture and everything needed to make it again. ``image`` itself has no watermark; what is saved has."""

    image: Image.Image
    recipe: dict[str, Any] = field(repr=False)
    ingredients: tuple[Ingredient, ...] = field(default=(), repr=False)
    """The pictures it was made from, for the manifest."""
    original: np.ndarray | None = field(default=None, repr=False, compare=False)
    """The photograph it is an edit of, (H, W, 3) uint8: pixels that are still its are not marked."""

    def save(
        self, path: str | os.PathLike[str], watermark: bool = True, manifest: bool | None = None
    ) -> dict[str, Any]:
        """Write a .png, .jpg or .webp with its marks, whole or not at all; returns the recipe as it stands in the file.

        watermark: False leaves the pixels as they are. manifest: True signs a C2PA manifest, False does not, None does
        if the extra ``provenance`` is installed. The recipe records both. Raises ``InputError`` for another format.
        """
        file, recipe = self.encode(Path(path).suffix, watermark, manifest, Path(path).name)
        write_bytes_atomic(path, file)
        return recipe

    def encode(
        self, suffix: str, watermark: bool = True, manifest: bool | None = None, name: str = "a picture"
    ) -> tuple[bytes, dict[str, Any]]:
        """What ``save`` writes, and the recipe in it."""
        suffix = suffix.lower()
        if suffix not in MIME:
            raise InputError(f"{name}: end it in {', '.join(MIME)}; a picture goes with its recipe, which those hold")
        signed = c2pa_manifest.available() if manifest is None else manifest
        if signed and not c2pa_manifest.available():
            raise InputError("signing needs the package 'c2pa': run `pip install 'limner[provenance]'`")
        recipe = {**self.recipe, "watermark": watermark, "manifest": signed}
        pixels = self.marked() if watermark else np.asarray(self.image.convert("RGB"))
        file = encode_with_recipe(pixels, suffix, recipe)
        if signed:
            file = c2pa_manifest.sign(file, MIME[suffix], recipe, credentials(), self.ingredients)
        return file, recipe

    def _repr_png_(self) -> bytes:
        """How notebooks show it: the file that ``save`` writes, without a signature."""
        return self.encode(".png", manifest=False)[0]

    def marked(self) -> np.ndarray:
        """The pixels with the watermark in them: uint8 (H, W, 3), for showing without a file."""
        return embed(np.asarray(self.image.convert("RGB")), message_of(self.recipe), self.original)


def message_of(recipe: dict[str, Any]) -> int:
    """What the watermark of a picture says: its kind, and which recipe it belongs to."""
    kind = next(number for number, name in KINDS.items() if name == kind_of(recipe))
    return kind << FINGERPRINT_BITS | fingerprint(recipe, FINGERPRINT_BITS)
