"""The demonstration: read every photograph, draw what was read, paint from its regions and from words."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from limner.demo.page import Figure, Section, write_page
from limner.demo.sheet import draw_sheet
from limner.faces.geometry import warp
from limner.faces.overlay import draw_overlay
from limner.faces.picture import read_picture, save_png
from limner.faces.record import Face
from limner.faces.regions import colourise
from limner.files import write_bytes_atomic
from limner.toolkit import Toolkit
from limner.words.captions import compose_prompts

SIDE = 256
# What is painted from each face's own regions, besides a plain repaint: words that its regions do not say.
WISHES = ("a {person} with grey hair", "a {person} with red hair against a dark background")
SHOWN = ("gender_presentation", "age_group", "hair_colour", "hair_length", "smile", "glasses", "beard", "head_turn",
         "emotion", "background_brightness")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """A photograph of the demonstration, and where it is from."""

    name: str
    title: str
    source: str


SYNTHETIC = "not a real person: face {} of the synthetic source"
PHOTOGRAPHS = (
    Photograph(name="astronaut.jpg", title="Eileen Collins", source="NASA, 1999, public domain"),
    *(
        Photograph(name=f"face-{index}.jpg", title=f"Face {index}", source=SYNTHETIC.format(index))
        for index in (10038, 10018, 10031, 10016, 10015)
    ),
)


def run(out: Path, toolkit: Toolkit, steps: int, report: Callable[[str], None]) -> tuple[Path, Path]:
    """Write `sheet.png` and `index.html` below `out` and return their paths. `report` gets a line per photograph."""
    started = time.perf_counter()
    sections = []
    for seed, photograph in enumerate(PHOTOGRAPHS):
        began = time.perf_counter()
        photo = read_picture((files("limner.demo") / "photographs" / photograph.name).read_bytes())
        faces = toolkit.read(photo)
        read_seconds = time.perf_counter() - began
        began = time.perf_counter()
        section = _section(photograph, photo, faces, toolkit, steps, seed)
        report(
            f"{photograph.title}: {len(faces)} face{'s' if len(faces) != 1 else ''} read in {read_seconds:.1f} s, "
            f"{len(section.figures) - 2} portraits painted in {time.perf_counter() - began:.1f} s"
        )
        sections.append(section)
    sections.append(_from_words(toolkit, steps))
    sheet, page = out / "sheet.png", out / "index.html"
    save_png(sheet, draw_sheet(sections))
    seconds = f"Made in {time.perf_counter() - started:.0f} s on this machine's processor, {steps} steps a portrait."
    write_bytes_atomic(page, write_page(sections, [seconds]).encode())
    return sheet, page


def _section(
    photograph: Photograph, photo: np.ndarray, faces: Sequence[Face], toolkit: Toolkit, steps: int, seed: int
) -> Section:
    """One photograph's row; everything in it is painted from one seed, so that what differs is what was asked for."""
    face = faces[0]
    person = {"woman": "woman", "man": "man"}.get(str(_value(face, "gender_presentation")), "person")
    own_words = compose_prompts(face.attributes, np.random.default_rng(0), 3)[2].text
    prompts = [own_words, *(wish.format(person=person) for wish in WISHES)]
    figures = [
        Figure(picture=_square(draw_overlay(photo, faces)), caption="what was read"),
        Figure(picture=colourise(warp(face.regions, face.crop, SIDE, nearest=True, border=0)), caption="its regions"),
        Figure(picture=_painted(toolkit, None, face, steps, seed), caption="painted from the regions alone"),
    ]
    figures += [Figure(picture=_painted(toolkit, text, face, steps, seed), caption=f"+ “{text}”") for text in prompts]
    facts = [(name.replace("_", " "), _plain(_value(face, name))) for name in SHOWN if name in face.attributes]
    return Section(title=photograph.title, note=photograph.source, figures=figures, facts=facts)


def _from_words(toolkit: Toolkit, steps: int) -> Section:
    texts = ("a smiling young woman with blond hair", "an older man with a full beard and glasses",
             "a woman with long black hair against a dark background", "a man with short brown hair, not smiling",
             "a smiling middle-aged woman with glasses", "a young man with red hair")  # fmt: skip
    figures = [
        Figure(picture=_painted(toolkit, text, None, steps, seed), caption=f"“{text}”")
        for seed, text in enumerate(texts)
    ]
    return Section(title="From words alone", note="No mask; seeds 0 to 5.", figures=figures, facts=[])


def _painted(toolkit: Toolkit, text: str | None, face: Face | None, steps: int, seed: int) -> np.ndarray:
    return toolkit.paint(text, mask=face, steps=steps, seed=seed)[0].marked()


def _value(face: Face, name: str) -> object:
    attribute = face.attributes.get(name)
    return None if attribute is None else attribute.value


def _plain(value: object) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _square(picture: np.ndarray) -> np.ndarray:
    """The largest centred square, at 512 px."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(picture[top : top + side, left : left + side])
    return np.asarray(square.resize((2 * SIDE, 2 * SIDE), Image.Resampling.LANCZOS))
