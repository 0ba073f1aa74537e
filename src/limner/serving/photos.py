"""Pictures on their way in: data URLs and ids to arrays, checked before they are decoded; and on their way out."""

from __future__ import annotations

import base64
import binascii

import numpy as np

from limner.errors import InputError
from limner.faces.geometry import resize
from limner.faces.picture import encode_jpeg, encode_png, encode_webp, read_picture
from limner.provenance.picture import Picture
from limner.provenance.verify import mime_of
from limner.serving.requests import Request
from limner.serving.table import JobTable, Made, Stored


def decode_data_url(url: str) -> bytes:
    """The bytes in a data URL. ``InputError`` for any other address, and for damaged base64."""
    head, comma, body = url.partition(",")
    if not head.startswith("data:") or not comma:
        raise InputError("give pictures as data URLs (data:image/png;base64,…) or ids: this server fetches nothing")
    if not head.endswith(";base64"):
        raise InputError("this data URL is not in base64: write data:image/png;base64,…")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise InputError("the base64 of this data URL is damaged") from None


def store_upload(table: JobTable, file: bytes, name: str = "this picture") -> Stored:
    """Check that a file is a picture within limits, and keep it: as PNG if it is in a format that browsers lack.

    ``InputError`` for what is no picture.
    """
    picture = read_picture(file, name)
    height, width = picture.shape[:2]
    mime = mime_of(file)
    if mime is None:
        file, mime = encode_png(picture), "image/png"
    return table.upload(Made(file, mime, width, height))


def stored(table: JobTable, reference: str) -> str:
    """The id of a picture given as an id or a data URL, which is stored."""
    if reference.startswith("data:"):
        return store_upload(table, decode_data_url(reference)).id
    return table.picture(reference).id


def settled(table: JobTable, request: Request) -> Request:
    """The request with every picture in it stored and named by its id, so that it can be done later, and again."""
    changed = {
        name: stored(table, value)
        for name in ("photo", "mask", "like", "source", "target", "driver")
        if isinstance(value := getattr(request, name, None), str)
    }
    return request.model_copy(update=changed)


def load(table: JobTable, reference: str) -> np.ndarray:
    """A picture given by id or data URL as (H, W, 3) uint8."""
    file = decode_data_url(reference) if reference.startswith("data:") else table.data(reference)
    return read_picture(file)


def made(picture: Picture, watermark: bool = True) -> Made:
    """A painted picture as the file it leaves in: PNG, with recipe and marks."""
    file, recipe = picture.encode(".png", watermark)
    return Made(file, "image/png", *picture.image.size, recipe)


def jpeg_url(file: bytes) -> str:
    """A JPEG as a data URL."""
    return "data:image/jpeg;base64," + base64.b64encode(file).decode("ascii")


def data_url(image: np.ndarray, quality: int = 85) -> str:
    """A picture as a JPEG data URL, for a page."""
    return jpeg_url(encode_jpeg(image, quality))


def small(picture: np.ndarray, side: int) -> np.ndarray:
    """The picture (H, W, 3), shrunk if a side is longer than ``side`` pixels."""
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    return resize(picture, (max(1, round(width * scale)), max(1, round(height * scale))))


def thumbnail(file: bytes, side: int) -> bytes:
    """WebP of at most ``side`` pixels a side."""
    return encode_webp(small(read_picture(file), side), 80)
