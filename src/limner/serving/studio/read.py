"""The place Read: a photo, and everything that is read of its faces."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from limner.errors import InputError
from limner.serving.requests import FacesRequest
from limner.serving.server import Server
from limner.serving.studio import components


def place(server: Server) -> None:
    """Build it."""
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            photo = components.picker("Drop a photo here, or click to choose one", "read-photo")
            note = gr.HTML(
                components.notice("Boxes, 19 regions, 468 points and about 60 attributes, read on this machine.")
            )
            seen = components.viewer("read-view")
        with gr.Column(scale=2, min_width=280):
            which = gr.Radio([], label="Face", visible=False, elem_id="read-face")
            table = gr.HTML("", elem_id="read-facts")
    found = gr.State([])

    def read(picture: str):
        if not picture:
            yield components.notice("Choose a photo to read."), "", gr.update(visible=False), "", []
            return
        waiting = "Reading…" if server.engines.state("reader") == "ready" else "Loading the reader, then reading…"
        yield components.notice(waiting), "", gr.update(visible=False), "", []
        try:
            faces = server.faces(FacesRequest(photo=picture, regions=True))
        except InputError as error:
            yield components.notice(str(error), "bad"), "", gr.update(visible=False), "", []
            return
        count = len(faces["faces"])
        if not count:
            said = components.notice(
                "No face was found in this photo. Faces far away or in profile are read badly.", "bad"
            )
            yield said, "", gr.update(visible=False), "", []
            return
        shown = {
            "photo": picture,
            **faces,
            "faces": [{key: face[key] for key in ("box", "landmarks", "regions")} for face in faces["faces"]],
            "names": components.NAMES,
            "colours": components.TINTS,
        }
        choices = [(f"Face {k + 1}", k) for k in range(count)]
        radio = gr.update(choices=choices, value=0, visible=count > 1)
        said = f"{count} face{'s' if count > 1 else ''} found. Switch regions, boxes and landmarks below the picture."
        yield components.notice(said, "good"), json.dumps(shown), radio, table_of(faces["faces"][0]), faces["faces"]

    photo.picked(read, photo, [note, seen, which, table, found], show_progress="hidden", api_visibility="private")
    which.input(
        lambda k, faces: table_of(faces[k]) if faces else "", [which, found], table, show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip


def table_of(face: dict[str, Any]) -> str:
    """The facts of one face as a table."""
    pose, gaze = face["pose"], face["gaze"]
    strongest = sorted(face["expression"].items(), key=lambda pair: -pair[1])[:3]
    rows: list[tuple[str, str, float | None]] = [
        ("found", "", float(face["score"])),
        ("head", f"yaw {pose['yaw']:+.0f}°, pitch {pose['pitch']:+.0f}°, roll {pose['roll']:+.0f}°", None),
        ("gaze", f"{gaze['yaw']:+.0f}°, {gaze['pitch']:+.0f}°", None),
        (
            "strongest movements",
            ", ".join(name.replace("_", " ") for name, value in strongest if value > 0.1) or "–",
            None,
        ),
    ]
    for name, each in face["attributes"].items():
        value = each["value"]
        said = (
            ("yes" if value else "no")
            if isinstance(value, bool)
            else f"{value:.0f}"
            if isinstance(value, float)
            else str(value)
        )
        rows.append((name.replace("_", " "), said, float(each["confidence"])))
    return components.facts(rows)
