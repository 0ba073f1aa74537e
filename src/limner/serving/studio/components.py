"""The page's own components: a photo picker, a viewer, a region painter, pictures, before and after.

They are Gradio's HTML component with the scripts beside this file. Pictures come and go by the API's ids, so the page
needs none of Gradio's routes for files, and those are closed (see ``allowed_routes``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

import gradio as gr

from limner.faces.overlay import COLOURS
from limner.faces.regions import REGION_NAMES

SCRIPTS = ("streams.js", "common.js", "picker.js", "viewer.js", "painter.js", "pictures.js")
SCRIPT_PATH = "/studio.js"
_HEAD = f'<script src="{SCRIPT_PATH}"></script>'
NAMES = [name.replace("_", " ") for name in REGION_NAMES]
TINTS = [[26, 26, 30], *COLOURS[1:].astype(int).tolist()]
"""A colour a region: the overlay's, and a dark ground."""


def script() -> str:
    """All scripts as one."""
    here = files("limner.serving.studio")
    return "\n".join(here.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS)


def _part(name: str, template: str, event: str | None = None, **settings: Any) -> gr.HTML:
    call = f"limner.{name}(element, trigger, props, watch{'' if event is None else f', {event!r}'})"
    return gr.HTML("", html_template=template, js_on_load=call, head=_HEAD, apply_default_css=False, **settings)


def picker(hint: str, elem_id: str) -> gr.HTML:
    """A photo to choose. Its value is the picture's id, or ""; it has the event ``picked``."""
    return _part("picker", f'<div class="lm-picker" data-hint="{escape(hint)}"></div>', "picked", elem_id=elem_id)


def viewer(elem_id: str) -> gr.HTML:
    """A photo with what was read. Its value is JSON: see viewer.js."""
    return _part("viewer", '<div class="lm-viewer"></div>', elem_id=elem_id)


def painter(elem_id: str) -> gr.HTML:
    """A region map to paint on. Its value is JSON {map: data URL}, or "" while it is blank."""
    regions = escape(json.dumps({"names": NAMES, "colours": TINTS}))
    return _part(
        "painter",
        f'<div class="lm-painter" data-name="{elem_id}" data-regions="{regions}"></div>',
        elem_id=elem_id,
    )


def opening(elem_id: str) -> gr.HTML:
    """A photo to brush over. Its value is JSON {photo: id, mask: data URL, transparent where it was brushed}."""
    return _part("opening", '<div class="lm-opening"></div>', elem_id=elem_id)


def pictures(elem_id: str, empty: str, small: bool = False) -> gr.HTML:
    """Pictures side by side. Its value is JSON [{id, caption} or {url}]; it has the event ``chosen`` with the id."""
    kind = ' data-small="yes"' if small else ""
    return _part(
        "pictures", f'<div class="lm-pictures" data-empty="{escape(empty)}"{kind}></div>', "chosen", elem_id=elem_id
    )


def compare(elem_id: str, empty: str) -> gr.HTML:
    """Before and after. Its value is JSON {before, after}: ids; or {preview}: a data URL, while it is made."""
    return _part("compare", f'<div class="lm-compare" data-empty="{escape(empty)}"></div>', elem_id=elem_id)


def header() -> gr.HTML:
    """Name, states of the engines, and the switch between light and dark."""
    template = (
        '<header class="lm-header"><div><h1>Limner</h1><p>Reads faces, paints them, says what it did.</p></div>'
        '<div class="lm-side"><span class="lm-status" role="status">…</span>'
        '<button type="button" class="lm-theme lm-small" disabled>Light / dark</button></div></header>'
    )
    return _part("status", template, elem_id="header")


def notice(sentence: str, kind: str = "note") -> str:
    """A sentence in a box: ``note``, ``good`` or ``bad``; "" for none."""
    role = "alert" if kind == "bad" else "status"
    return f'<p class="lm-notice lm-{kind}" role="{role}">{escape(sentence)}</p>' if sentence else ""


def progress(done: int, total: int, words: str, job: str) -> str:
    """A bar, and what is being done. job: its id, for the button that stops it (common.js)."""
    share = 100 * done / total if total else 0
    return (
        f'<div class="lm-progress" data-job="{escape(job)}" role="progressbar" aria-valuenow="{share:.0f}"'
        f' aria-valuemin="0" aria-valuemax="100" aria-label="{escape(words)}">'
        f'<span style="width: {share:.0f}%"></span></div>'
        f'<p class="lm-hint">{escape(words)}</p>'
    )


def facts(rows: Sequence[tuple[str, str, float | None]]) -> str:
    """A table of what was read: name, value, confidence."""
    body = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{escape(value)}</td>"
        f"<td>{'' if sure is None else f'<meter min=0 max=1 value={sure:.2f} title={sure:.0%}></meter>'}</td></tr>"
        for name, value, sure in rows
    )
    return f'<div class="lm-facts"><table>{body}</table></div>'
