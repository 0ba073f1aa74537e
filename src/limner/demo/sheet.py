"""The demonstration's contact sheet: a row per photograph, words below each picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from limner.demo.page import Figure, Section

Font: TypeAlias = ImageFont.ImageFont | ImageFont.FreeTypeFont
CELL, GAP, TITLE, CAPTION = 256, 14, 44, 50  # pixels
INK, SOFT, PAPER = (29, 29, 31), (110, 106, 99), (251, 250, 248)


def draw_sheet(sections: Sequence[Section]) -> np.ndarray:
    """All sections below one another: uint8 RGB (H, W, 3)."""
    columns = max(len(section.figures) for section in sections)
    row = TITLE + CELL + CAPTION
    size = (GAP + columns * (CELL + GAP), GAP + len(sections) * (row + GAP))
    sheet = Image.new("RGB", size, PAPER)
    for index, section in enumerate(sections):
        _draw_row(sheet, section, GAP + index * (row + GAP))
    return np.asarray(sheet)


def _draw_row(sheet: Image.Image, section: Section, top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(20), ImageFont.load_default(13)
    draw.text((GAP, top), section.title, fill=INK, font=title)
    width = draw.textlength(section.title, font=title)
    draw.text((GAP + width + 12, top + 6), section.note, fill=SOFT, font=small)
    for place, figure in enumerate(section.figures):
        _draw_cell(sheet, draw, figure, GAP + place * (CELL + GAP), top + TITLE - 8, small)


def _draw_cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, figure: Figure, left: int, top: int, font: Font) -> None:
    picture = Image.fromarray(figure.picture).resize((CELL, CELL), Image.Resampling.LANCZOS)
    sheet.paste(picture, (left, top))
    lines = textwrap.wrap(figure.caption, 40, max_lines=3, placeholder=" …")
    draw.multiline_text((left, top + CELL + 5), "\n".join(lines), fill=SOFT, font=font, spacing=3)
