"""The demonstration's page: plain HTML with everything in one file, readable in light and dark."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from limner.faces.picture import encode_jpeg

STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --paper: #fbfaf8; --soft: #6e6a63; --line: #e2ded6; }
@media (prefers-color-scheme: dark) { :root { --ink: #ece9e3; --paper: #191817; --soft: #a39d92; --line: #37342f; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 72rem; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
p { margin: .4rem 0; } .soft, figcaption { color: var(--soft); font-size: .85rem; }
.row { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: 1rem; } figure { margin: 0; }
img { width: 100%; border-radius: .4rem; display: block; } figcaption { margin-top: .35rem; }
ul { display: flex; flex-wrap: wrap; gap: .35rem; list-style: none; padding: 0; margin: .75rem 0 0; }
li { border: 1px solid var(--line); border-radius: 1rem; padding: .05rem .6rem; font-size: .85rem; }
"""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture (H, W, 3) uint8 and the words below it."""

    picture: np.ndarray
    caption: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """One photograph: its figures and what was read of it (name, value)."""

    title: str
    note: str
    figures: Sequence[Figure]
    facts: Sequence[tuple[str, str]]


def write_page(sections: Sequence[Section], notes: Sequence[str]) -> str:
    """HTML of the whole page; pictures are embedded, so it can be moved or mailed."""
    body = "\n".join(_section(section) for section in sections)
    remarks = "\n".join(f'<p class="soft">{escape(note)}</p>' for note in notes)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Limner demo</title><style>{STYLE}</style></head>\n<body>\n<h1>Limner</h1>\n"
        f"<p>Photographs read, their regions drawn, new portraits painted.</p>\n{remarks}\n{body}\n</body></html>\n"
    )


def _section(section: Section) -> str:
    figures = "\n".join(
        f'<figure><img alt="{escape(figure.caption)}" src="{_data_url(figure.picture)}">'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
        for figure in section.figures
    )
    facts = "".join(f"<li>{escape(name)}: {escape(value)}</li>" for name, value in section.facts)
    return (
        f'<h2>{escape(section.title)}</h2>\n<p class="soft">{escape(section.note)}</p>\n'
        f'<div class="row">{figures}</div>\n<ul>{facts}</ul>'
    )


def _data_url(picture: np.ndarray) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(picture, 90)).decode("ascii")
