"""The recipe in the file: PNG text, or EXIF in JPEG and WebP; and XMP that names the kind of source.

A recipe is a dictionary that JSON can hold. Of what an engine writes into it, this room knows ``limner`` (the version),
``engine``, and ``kind``: ``painting`` (the default) or ``edit``.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from PIL import Image

from limner import __version__
from limner.errors import InputError
from limner.faces.picture import Source, encode_jpeg, encode_png, encode_webp, read_comment, read_png_text
from limner.parsing import TextError, parse_json

KEY = "limner"
"""Name of the PNG text entry that holds the recipe as JSON; in a UserComment it is the recipe's own entry."""

XMP_KEY = "XML:com.adobe.xmp"  # XMP specification part 3: its name among PNG's texts
TYPES = {
    "painting": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
    "edit": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
}
"""IPTC's digital source types, which C2PA uses too."""
MIME = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
"""The formats that hold a recipe, by suffix."""
_DAMAGED = "the recipe in this picture is damaged"
MOST_CHARACTERS = 2_000_000  # of a recipe: some hold a region map
SETTINGS = ("watermark", "manifest")
"""What a recipe says of its own file, as against how to make the picture."""


class DamagedRecipe(InputError):
    """There is a recipe, or what should be one, and it cannot be read."""


def kind_of(recipe: dict[str, Any]) -> str:
    """``painting`` or ``edit``; ``ValueError`` for another kind."""
    kind = recipe.get("kind", "painting")
    if not isinstance(kind, str) or kind not in TYPES:
        raise ValueError(f"kind {kind!r} of picture: choose {' or '.join(TYPES)}")
    return kind


def fingerprint(recipe: dict[str, Any], bits: int) -> int:
    """A number of so many bits that another recipe has by chance only; the file's own settings do not count."""
    made = {key: value for key, value in recipe.items() if key not in SETTINGS}
    digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - bits)


def encode_with_recipe(image: np.ndarray | Image.Image, suffix: str, recipe: dict[str, Any]) -> bytes:
    """The file of a picture with its recipe in it. suffix: a key of ``MIME``. The same input gives the same bytes."""
    text = json.dumps(recipe, sort_keys=True)
    xmp = _packet(kind_of(recipe))
    if suffix == ".png":
        return encode_png(image, {KEY: text, XMP_KEY: xmp})
    encode = encode_webp if suffix == ".webp" else encode_jpeg
    return encode(image, comment=text, xmp=xmp)


def find_recipe(source: Source) -> dict[str, Any] | None:
    """The recipe inside a picture file, None if there is none; ``InputError`` if it is damaged."""
    text = read_png_text(source).get(KEY)
    if text is None:
        return recipe_in_comment(read_comment(source))
    try:
        recipe = parse_json(text, MOST_CHARACTERS)
    except TextError as error:
        raise DamagedRecipe(f"{_DAMAGED} ({error})") from None
    if not isinstance(recipe, dict):
        raise DamagedRecipe(_DAMAGED)
    return recipe


def recipe_in_comment(comment: str | None) -> dict[str, Any] | None:
    """The recipe that a picture's or a film's comment is; None for other words; ``InputError`` if it is damaged."""
    try:
        recipe = parse_json(comment or "", MOST_CHARACTERS)
    except TextError as error:
        if f'"{KEY}"' not in (comment or ""):
            return None  # a camera's or an editor's own words
        raise DamagedRecipe(f"{_DAMAGED} ({error})") from None
    return recipe if isinstance(recipe, dict) and KEY in recipe else None


def read_recipe(source: Source) -> dict[str, Any]:
    """The recipe inside a picture that ``Picture.save`` wrote; ``InputError`` where there is none."""
    recipe = find_recipe(source)
    if recipe is None:
        raise InputError("this picture has no recipe: only files saved by Limner can be replayed")
    return recipe


def _packet(kind: str) -> str:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f' xmp:CreatorTool="Limner {__version__}" Iptc4xmpExt:DigitalSourceType="{TYPES[kind]}"/>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )
