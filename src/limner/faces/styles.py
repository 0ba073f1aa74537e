"""Photographs as a draughtsman would have them: filters that make stylised faces to learn from.

No artist's pictures are used: a style is what these few lines do to a photograph, and its licence is the photograph's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter


def pencil(picture: np.ndarray) -> np.ndarray:
    """A drawing in grey on paper: strokes where brightness changes, light shading elsewhere.

    picture and result: (H, W, 3) uint8, made for a side of about 256 px.
    """
    grey = Image.fromarray(picture).convert("L")
    around = np.asarray(grey.filter(ImageFilter.GaussianBlur(6)), np.float32)
    light = np.asarray(grey.filter(ImageFilter.GaussianBlur(1)), np.float32)
    strokes = np.clip(light / np.maximum(around, 1), 0, 1) ** 2  # what a colour dodge of the blurred negative leaves
    shade = 0.75 + 0.25 * around / 255
    paper = np.array([250, 246, 238], np.float32)
    return ((strokes * shade)[..., None] * paper).round().astype(np.uint8)


STYLES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"pencil": pencil}
