"""Pictures on their way in: data URLs and ids to arrays, checked before they are decoded; and on their way out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from limner.errors import InputError
from limner.faces.geometry import resize
from limner.faces.picture import (
    check_picture,
    encode_jpeg,
    encode_png,
    encode_webp,
    picture_size,
    read_alpha,
    read_picture,
    read_small,
)
from limner.provenance.picture import Picture
from limner.provenance.recipe import find_recipe
from limner.provenance.verify import mime_of
from limner.serving.decoding import PixelBudget, ThumbnailCache
from limner.serving.job_store import JobStore, Made, Stored
from limner.serving.picture_refs import picture_reference
from limner.serving.requests import Request

R = TypeVar("R", bound=Request)


class Photos:
    """The pictures of one server. What decodes takes its pixels from one budget, and raises ``QueueFull`` where that
    is taken for too long. Every method may be called from any thread; none belongs into an event loop."""

    def __init__(self, table: JobStore, budget: PixelBudget | None = None) -> None:
        self.table = table
        self._budget, self._thumbnails = budget or PixelBudget(), ThumbnailCache()

    def store(self, file: bytes, name: str = "this picture") -> Stored:
        """Check that a file is a picture within limits, and keep it: as PNG if it is in a format that browsers lack.

        ``InputError`` for what is no picture.
        """
        width, height = picture_size(file, name)
        with self._budget.claim(width * height):
            mime = mime_of(file)
            if mime is None:
                picture = read_picture(file, name)
                file, mime, (height, width) = encode_png(picture), "image/png", picture.shape[:2]
            else:
                width, height = check_picture(file, name)
        return self.table.upload(Made(file, mime, width, height))

    def named(self, reference: str) -> str:
        """The id of a picture given as an id or a data URL, which is stored."""
        if reference.startswith("data:"):
            return self.store(decode_data_url(reference)).id
        return self.table.picture(reference).id

    def settled(self, request: R) -> R:
        """The request with every picture in it stored and named by its id, so that it can be done later, and again."""
        changed = {
            name: self.named(value)
            for name in ("photo", "mask", "like", "source", "target", "driver")
            if isinstance(value := getattr(request, name, None), str)
        }
        return request.model_copy(update=changed)

    def load(self, reference: str) -> np.ndarray:
        """A picture given by id or data URL as (H, W, 3) uint8."""
        file = decode_data_url(reference) if reference.startswith("data:") else self.table.data(reference)
        with self.decoding(file):
            return read_picture(file)

    def alpha(self, file: bytes, name: str = "this picture") -> np.ndarray:
        """As ``read_alpha``, of a file."""
        with self.decoding(file):
            return read_alpha(file, name)

    def recipe(self, picture: str) -> dict[str, Any] | None:
        """The recipe in a picture's file; None if it has none. ``InputError`` if it is damaged."""
        file = self.table.data(picture)
        with self.decoding(file):
            return find_recipe(file)

    def thumbnail(self, picture: str, side: int) -> bytes:
        """WebP of at most ``side`` pixels a side, of a picture given by id."""
        found = self.table.picture(picture)
        kept = self._thumbnails.get((picture, side))
        if kept is not None:
            return kept
        with self._budget.claim(found.width * found.height):
            kept = self._thumbnails.get((picture, side))  # somebody else made it meanwhile
            if kept is None:
                kept = encode_webp(read_small(self.table.data(picture), side), 80)
                self._thumbnails.keep((picture, side), kept)
        return kept

    def file(self, picture: str) -> tuple[Stored, bytes]:
        """What is known of a picture, and its file; ``NotThere``."""
        return self.table.picture(picture), self.table.data(picture)

    @contextmanager
    def decoding(self, file: bytes) -> Iterator[None]:
        """Take the pixels of a picture file from the budget, while the block decodes it."""
        width, height = picture_size(file)
        with self._budget.claim(width * height):
            yield


def decode_data_url(url: str) -> bytes:
    """The bytes in a data URL. ``InputError`` for any other address, and for damaged base64."""
    head, comma, body = picture_reference(url).partition(",")
    if not head.startswith("data:") or not comma:
        raise InputError("give pictures as data URLs (data:image/png;base64,…) or ids: this server fetches nothing")
    if not head.endswith(";base64"):
        raise InputError("this data URL is not in base64: write data:image/png;base64,…")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise InputError("the base64 of this data URL is damaged") from None


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
