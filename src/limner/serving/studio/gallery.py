"""The place Gallery: everything made here, each with its recipe; a file dropped in gives its settings back."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import gradio as gr

from limner.errors import InputError
from limner.serving.server import Server
from limner.serving.studio import components
from limner.serving.studio.paint import Painting, settings_of

PAGE = 48


def place(server: Server, tabs: gr.Tabs, shown: gr.Tab, painting: Painting) -> None:
    """Build it. shown: the tab it is in. painting: whose controls a recipe sets."""
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            made = components.pictures("gallery-made", "No pictures yet.", small=True)
            more = gr.Button("Show more", size="sm")
        with gr.Column(scale=2, min_width=280):
            dropped = components.picker("Drop a picture made by Limner to load its settings", "gallery-drop")
            detail = gr.HTML(components.notice("Choose a picture to see how it was made."), elem_id="gallery-detail")
            use = gr.Button("Paint with these settings", variant="primary", visible=False, elem_id="gallery-use")
            recipe = gr.JSON(label="Recipe", visible=False, elem_id="gallery-recipe")
    kept, length = gr.State(None), gr.State(PAGE)

    def listed(count: int) -> str:
        return json.dumps([{"id": p.id, "caption": caption(p.recipe or {})} for p in server.table.gallery(count)])

    def opened(picture: str, own: bool) -> tuple[Any, ...]:
        try:
            found = server.photos.recipe(picture)
        except InputError as error:
            return components.notice(str(error), "bad"), gr.update(visible=False), gr.update(visible=False), None
        if found is None:
            said = "This picture has no recipe. Only files saved by Limner have one."
            return components.notice(said, "bad"), gr.update(visible=False), gr.update(visible=False), None
        paintable = found.get("engine") == "mditface"
        brief = {key: value for key, value in found.items() if key != "mask"}
        return _detail(picture, found, own), gr.update(visible=paintable), gr.update(value=brief, visible=True), found

    def chosen(event: gr.EventData) -> tuple[Any, ...]:
        return opened(str(event._data["id"]), own=True)

    def taken(found: dict[str, Any] | None) -> list[Any]:
        try:
            return [gr.update(selected="paint"), *settings_of(found or {})]
        except (KeyError, TypeError, ValueError):
            raise gr.Error("this recipe is not complete: its settings cannot be used") from None

    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    seen = [detail, use, recipe, kept]
    shown.select(lambda: (listed(PAGE), PAGE), None, [made, length], **hidden)
    more.click(lambda count: (listed(count + PAGE), count + PAGE), length, [made, length], **hidden)
    made.chosen(chosen, None, seen, **hidden)
    dropped.picked(lambda picture: opened(picture, own=False) if picture else (gr.skip(),) * 4, dropped, seen, **hidden)
    use.click(taken, kept, [tabs, *painting.controls], **hidden)


def caption(recipe: dict[str, Any]) -> str:
    """A picture in a few words."""
    words = str(recipe.get("text") or "from regions")
    return f"{words} · {recipe['seed'] + (recipe.get('picture') or 0)}" if "seed" in recipe else words


def _detail(picture: str, recipe: dict[str, Any], own: bool) -> str:
    image = f'<img src="/v1/pictures/{picture}" alt="{escape(caption(recipe))}" style="width:100%;border-radius:.7rem">'
    link = f'<p><a class="lm-link" href="/v1/pictures/{picture}?download=yes" download>Download with provenance</a></p>'
    return f"{image}{link if own else ''}{components.notice(caption(recipe))}"
