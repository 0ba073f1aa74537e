"""The place Edit: change a face in a photo. What needs FaceX says so; repainting from regions works without."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import gradio as gr

from limner.errors import InputError
from limner.models.facex.consent import needs_consent
from limner.models.facex.masks import FACTORS_OF_PART
from limner.models.facex.plan import EditPlan
from limner.models.facex.sliders import SLIDERS
from limner.provenance.consent import NOTICE
from limner.serving.images import data_url
from limner.serving.job_handlers import largest_face
from limner.serving.requests import INSIDE, KINDS, EditRequest, PaintRequest, RepaintRequest, Request
from limner.serving.server import Server
from limner.serving.studio import components
from limner.serving.studio.job_progress import Step, cancel, follow

# Sliders over the region map: label, the edit for a positive value, the edit for a negative one.
SHAPES = (
    ("Hair length", "hair: longer", "hair: shorter"),
    ("Hair volume", "hair: bigger", "hair: smaller"),
    ("Brows", "brows: higher", "brows: lower"),
    ("Eyes", "eyes: bigger", "eyes: smaller"),
    ("Nose", "nose: wider", "nose: narrower"),
    ("Mouth", "lips: wider", "lips: narrower"),
)
LABELS = {"yaw": "Turn head", "pitch": "Nod", "gaze_x": "Gaze aside", "gaze_y": "Gaze up"}
"""Of FaceX's sliders; the others are called as they are."""

UNTICKED = f"{NOTICE} Tick the box if they did."


def place(server: Server) -> None:
    """Build it."""
    reason = server.engines.missing("edit")
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            photo = components.picker("Drop the photo to edit", "edit-photo")
            words = gr.Textbox(label="Words", placeholder="red hair, smiling", max_length=2000, elem_id="edit-words")
            with gr.Accordion("Steps and seed", open=False):
                steps = gr.Slider(1, 100, 28, step=1, label="Steps", info="8 for a quick look", elem_id="edit-steps")
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**53 - 1)
            with gr.Tabs():
                with gr.Tab("Shape"):
                    gr.HTML(components.notice("Edits the region map of the face and generates a new portrait from it."))
                    shapes = [gr.Slider(-20, 20, 0, step=1, label=label) for label, *_ in SHAPES]
                    bare = gr.Checkbox(False, label="Remove glasses")
                    other = components.picker("Regions from another photo instead (optional)", "edit-other")
                    reshape = gr.Button("Repaint the portrait", variant="primary", elem_id="edit-shape")
                with gr.Tab("Brush"):
                    gr.HTML(components.notice("Brush over a part of the face. Only that part is regenerated."))
                    hole = components.opening("edit-hole")
                    repaint = gr.Button("Repaint brushed area", variant="primary", elem_id="edit-brush")
                with gr.Tab("Move"):
                    _absent(reason)
                    moves = [
                        gr.Slider(
                            slider.low,
                            slider.high,
                            0,
                            step=(slider.high - slider.low) / 60,
                            label=LABELS.get(name, name.capitalize()),
                            interactive=reason is None,
                            elem_id=f"edit-{name.replace('_', '-')}",
                        )
                        for name, slider in SLIDERS.items()
                    ]
                    move = gr.Button("Move", variant="primary", interactive=reason is None, elem_id="edit-move")
                with gr.Tab("Regions"):
                    _absent(reason)
                    donor = components.picker("Source of the regions", "edit-donor")
                    given: dict[str, Any] = {"choices": list(FACTORS_OF_PART), "interactive": reason is None}
                    taken = gr.CheckboxGroup(label="Take from it", elem_id="edit-taken", **given)
                    erased = gr.CheckboxGroup(label="Paint away", elem_id="edit-erased", **given)
                    mixed = _consent("edit-consent-regions", reason)
                    regions = gr.Button(
                        "Change regions", variant="primary", interactive=reason is None, elem_id="edit-regions"
                    )
                with gr.Tab("Swap"):
                    _absent(reason)
                    source = components.picker("Source face", "edit-source")
                    head = gr.Checkbox(False, label="Swap the whole head", interactive=reason is None)
                    swapped = _consent("edit-consent", reason)
                    with gr.Row():
                        swap = gr.Button("Swap", variant="primary", interactive=reason is None, elem_id="edit-swap")
                        reenact = gr.Button(
                            "Copy the motion of this face", interactive=reason is None, elem_id="edit-reenact"
                        )
            stop = gr.Button("Stop", size="sm", elem_id="edit-stop")
        with gr.Column(scale=3, min_width=300):
            note = gr.HTML("", elem_id="edit-note")
            result = components.compare("edit-result", "Before and after appear here.")
    job = gr.State("")
    out = [note, result, job]
    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    def run(kind: str, make: Any, before: Any):
        for step in follow(server, kind, make):
            yield step.note, _compared(step, before), step.job

    def run_shape(picture, other, words, steps, seed, bare, *values):
        edits = [f"{more if v > 0 else less} {abs(v)}" for v, (_, more, less) in zip(values, SHAPES) if v]
        edits += ["glasses: removed"] if bare else []
        if not picture:
            yield components.notice("Choose the photo to edit first.", "bad"), "", ""
            return

        def make() -> Request:
            return PaintRequest(
                text=words or None,
                like=other or picture,
                edit_mask="; ".join(edits) or None,
                steps=int(steps),
                seed=int(seed or 0),
            )

        yield from run("paint", make, {"before_url": _aligned(server, picture)})

    def run_brush(drawn, words, steps, seed):
        value = json.loads(drawn) if drawn else {}
        if "mask" not in value:
            yield components.notice("Choose a photo, then brush over the area to regenerate.", "bad"), "", ""
            return

        def make() -> Request:
            return RepaintRequest(
                photo=value["photo"], mask=value["mask"], text=words or None, steps=int(steps), seed=int(seed or 0)
            )

        yield from run("repaint", make, {"before": value["photo"]})

    def run_move(picture, words, steps, seed, *values):
        if not picture:
            yield components.notice("Choose the photo to edit first.", "bad"), "", ""
            return
        sliders = {name: float(value) for value, name in zip(values, SLIDERS) if value}
        if not sliders:
            yield components.notice("Set at least one slider first.", "bad"), "", ""
            return

        def make() -> Request:
            plan = EditPlan.motion(None, **sliders).model_copy(update={"prompt": words or ""})
            return EditRequest(photo=picture, plan=plan, steps=int(steps), seed=int(seed or 0))

        yield from run("edit", make, {"before": picture})

    def run_regions(picture, donor, taken, erased, agreed, words, steps, seed):
        if not picture or (taken and not donor):
            yield components.notice("Choose the photo to edit and the source of the regions.", "bad"), "", ""
            return
        if not taken and not erased:
            yield components.notice("Choose regions to transfer or to erase first.", "bad"), "", ""
            return

        plans = [EditPlan.regions(donor, taken)] if taken else []
        plans += [EditPlan.erase(erased)] if erased else []
        plan = EditPlan.chain(plans).model_copy(update={"prompt": words or ""})
        if needs_consent(plan) and not agreed:
            yield components.notice(UNTICKED, "bad"), "", ""
            return

        def make() -> Request:
            stated = {"consent": "studio" if agreed else False, "steps": int(steps), "seed": int(seed or 0)}
            return EditRequest.model_validate({"photo": picture, "plan": plan, **stated}, context=INSIDE)

        yield from run("edit", make, {"before": picture})

    def run_swap(kind, picture, source, head, agreed, steps, seed):
        if not picture or not source:
            yield components.notice("Choose the photo to edit and the source face.", "bad"), "", ""
            return
        if not agreed:
            yield components.notice(UNTICKED, "bad"), "", ""
            return

        def make() -> Request:
            shared = {"source": source, "target": picture, "head": head}
            if kind == "reenact":
                shared = {"source": picture, "driver": source}
            settings = {"consent": "studio", "steps": int(steps), "seed": int(seed or 0)}
            return KINDS[kind].model_validate({**shared, **settings}, context=INSIDE)

        yield from run(kind, make, {"before": picture})

    photo.picked(lambda picture: json.dumps({"photo": picture}) if picture else "", photo, hole, **hidden)
    reshape.click(run_shape, [photo, other, words, steps, seed, bare, *shapes], out, **hidden)
    repaint.click(run_brush, [hole, words, steps, seed], out, **hidden)
    move.click(run_move, [photo, words, steps, seed, *moves], out, **hidden)
    regions.click(run_regions, [photo, donor, taken, erased, mixed, words, steps, seed], out, **hidden)
    photos = [photo, source, head, swapped, steps, seed]
    swap.click(partial(run_swap, "swap"), photos, out, **hidden)
    reenact.click(partial(run_swap, "reenact"), photos, out, **hidden)
    for box, twin in ((mixed, swapped), (swapped, mixed)):  # ticked once, for as long as the page is open
        box.input(lambda ticked: ticked, box, twin, **hidden)
    stop.click(lambda found: cancel(server, found), job, None, **hidden)


def _consent(elem_id: str, reason: str | None) -> gr.Checkbox:
    return gr.Checkbox(False, label="They agreed", info=NOTICE, interactive=reason is None, elem_id=elem_id)


def _absent(reason: str | None) -> None:
    if reason is not None:
        gr.HTML(components.notice(f"{reason}. Shape and Brush work without it."))


def _compared(step: Step, before: dict[str, str]) -> Any:
    if step.pictures:
        return json.dumps({**before, "after": step.pictures[0]})
    if step.preview is not None:
        return json.dumps({"preview": step.preview})
    if step.ended:
        return ""
    return gr.skip()


def _aligned(server: Server, picture: str) -> str:
    """The face of a photo, aligned as portraits are, to compare with one."""
    from limner.faces.geometry import warp

    photo = server.photos.load(picture)
    try:
        face = largest_face(server.engines, photo)
    except InputError:  # the job says so
        return ""
    return data_url(warp(photo, face.crop, 256, border="edge"))
