"""The place Paint: words, a region map to paint on, settings; previews while it paints; again with the same seed."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import gradio as gr
import numpy as np

from limner.demo.show import PHOTOGRAPHS, SYNTHETIC
from limner.errors import InputError
from limner.faces.picture import encode_png, read_picture
from limner.serving.job_handlers import largest_face
from limner.serving.limits import MOST_PICTURES, MOST_STEPS
from limner.serving.requests import PaintRequest
from limner.serving.server import Server
from limner.serving.studio import components
from limner.serving.studio.job_progress import cancel, follow

SIDE = 256  # of the map on the page; the painter resizes it
BLANK = "Blank"
TEMPLATES = {
    f"Template {number}": photograph.name
    for number, photograph in enumerate((p for p in PHOTOGRAPHS if p.source.startswith(SYNTHETIC.split("{")[0])), 1)
}


@dataclass(frozen=True)
class Painting:
    """The controls of this place, for the gallery to set: in the order of ``settings_of``."""

    controls: tuple[Any, ...]


def place(server: Server) -> Painting:
    """Build it."""
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            text = gr.Textbox(
                label="Words",
                placeholder="a smiling woman with grey hair",
                lines=2,
                max_length=2000,
                elem_id="paint-words",
            )
            with gr.Accordion("Regions", open=True):
                with gr.Row():
                    start = gr.Dropdown([BLANK, *TEMPLATES], value=BLANK, label="Start from", elem_id="paint-start")
                    like = components.picker("… or from the face in a photo", "paint-like")
                map_note = gr.HTML(components.notice("Leave the map blank to generate from text only."))
                regions = components.painter("paint-map")
        with gr.Column(scale=2, min_width=280):
            with gr.Row():
                go = gr.Button("Paint", variant="primary", size="lg", elem_id="paint-go")
                stop = gr.Button("Stop", size="lg", elem_id="paint-stop")
            note = gr.HTML("", elem_id="paint-note")
            results = components.pictures("paint-results", "Results appear here.")
            with gr.Row():
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**53 - 1, elem_id="paint-seed")
                fresh = gr.Checkbox(True, label="Random seed", elem_id="paint-fresh")
            again = gr.Button("Repeat with this seed", size="sm", elem_id="paint-again")
            n = gr.Slider(1, MOST_PICTURES, 4, step=1, label="Pictures")
            steps = gr.Slider(
                1, MOST_STEPS, 28, step=1, label="Steps", info="8 for a quick look", elem_id="paint-steps"
            )
            guidance = gr.Slider(0, 10, 3, step=0.1, label="Text guidance", info="1 disables guidance")
            mask_guidance = gr.Slider(0, 10, 1, step=0.1, label="Mask guidance", info="1 disables guidance")
            sampler = gr.Radio(["euler", "heun"], value="euler", label="Sampler", info="heun: twice the work a step")
    job = gr.State("")
    controls = (text, regions, seed, fresh, n, steps, guidance, mask_guidance, sampler)

    def run(words, drawn, seed, fresh, n, steps, guidance, mask_guidance, sampler):
        number = secrets.randbelow(2**31) if fresh else int(seed or 0)

        def make() -> PaintRequest:
            return PaintRequest(
                text=words or None,
                mask=json.loads(drawn)["map"] if drawn else None,
                n=int(n),
                steps=int(steps),
                guidance=float(guidance),
                mask_guidance=float(mask_guidance),
                seed=number,
                sampler=sampler,
            )

        for step in follow(server, "paint", make):
            yield step.note, shown(step, number, words), number, step.job

    def run_again(words, drawn, seed, _, *others):
        yield from run(words, drawn, seed, False, *others)

    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    out = [note, results, seed, job]
    gr.on([go.click, text.submit], run, list(controls), out, concurrency_limit=8, **hidden)
    again.click(run_again, list(controls), out, concurrency_limit=8, **hidden)
    stop.click(lambda found: cancel(server, found), job, None, **hidden)
    start.input(lambda name: template(server, name), start, [regions, map_note], **hidden)
    like.picked(lambda picture: from_photo(server, picture), like, [regions, map_note], **hidden)
    return Painting(controls)


def shown(step: Any, seed: int, words: str) -> Any:
    """What the results show at a step."""
    if step.pictures:
        return json.dumps([{"id": each, "caption": f"seed {seed + k}"} for k, each in enumerate(step.pictures)])
    if step.preview is not None:
        return json.dumps([{"url": step.preview, "caption": f"preview of {words}"}])
    return "" if step.ended else gr.skip()


def as_map(server: Server, photo: np.ndarray) -> str:
    """The regions of a photo's largest face as the page's painter takes them."""
    from limner.models.mditface.engine import region_map

    regions = region_map(largest_face(server.engines, photo), SIDE)
    return json.dumps({"map": "data:image/png;base64," + base64.b64encode(encode_png(regions)).decode("ascii")})


def template(server: Server, name: str) -> tuple[str, str]:
    """The map of a bundled face, or a blank one."""
    if name not in TEMPLATES:
        return "", components.notice("Leave the map blank to generate from text only.")
    photo = read_picture((files("limner.demo") / "photographs" / TEMPLATES[name]).read_bytes())
    return as_map(server, photo), components.notice("Choose a region below and paint over the map.", "good")


def from_photo(server: Server, picture: str) -> tuple[Any, str]:
    """The map of a chosen photo's face."""
    if not picture:
        return "", components.notice("Leave the map blank to generate from text only.")
    try:
        found = as_map(server, server.photos.load(picture))
    except InputError as error:
        return gr.skip(), components.notice(str(error), "bad")
    return found, components.notice("The region map of this face. You can paint over it.", "good")


def settings_of(recipe: dict[str, Any]) -> list[Any]:
    """The values that set this place's controls as a recipe has them."""
    packed = recipe.get("mask")
    drawn = json.dumps({"map": f"data:image/png;base64,{packed}"}) if isinstance(packed, str) else ""
    return [
        str(recipe.get("text") or ""),
        drawn,
        int(recipe["seed"]) + int(recipe.get("picture") or 0),
        False,
        1,
        min(int(recipe["steps"]), MOST_STEPS),
        float(recipe["guidance"]),
        float(recipe["mask_guidance"]),
        str(recipe["sampler"]),
    ]
