"""Verbs `edit` and `animate`: sliders, regions from other photos, erasing, filling in, styles; all at once."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli.editing import (
    AsJson,
    BaseModel,
    Device,
    Engine,
    FaceNumber,
    Guidance,
    Identity,
    Likeness,
    Manifest,
    Out,
    Precision,
    Sampler,
    Seed,
    Steps,
    Tower,
    Watermark,
    check_out,
    edit_all,
    load_editor,
)
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.models.facex.plan import EditPlan
    from limner.provenance.picture import Picture

Slide = Annotated[float | None, typer.Option(help="-1 to 1; 0 leaves it as it is.")]


def edit(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO…", help="Photographs, or folders of them.")],
    yaw: Annotated[float | None, typer.Option(help="Turn the head, degrees; + is the subject's own left.")] = None,
    pitch: Annotated[float | None, typer.Option(help="Nod, degrees; + is up.")] = None,
    gaze: Annotated[str | None, typer.Option(help="Move the eyes by X,Y degrees; + is their left, and up.")] = None,
    smile: Slide = None,
    mouth: Annotated[float | None, typer.Option(help="Open (+) or close (-) the mouth, -1 to 1.")] = None,
    brows: Annotated[float | None, typer.Option(help="Raise or lower the brows, -1 to 1.")] = None,
    eyes: Annotated[float | None, typer.Option(help="Open or close the eyes, -1 to 1.")] = None,
    expression: Annotated[
        str | None, typer.Option(help="happy, laughing, sad, angry, surprised, kiss or sleepy.")
    ] = None,
    from_: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="OTHER:PARTS", help="Take parts of another photo: her.jpg:lips,hair,glasses."),
    ] = None,
    erase: Annotated[
        list[str] | None, typer.Option(help="Make away with a part (glasses, beard, …), or what a mask picture covers.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="Words for what is painted.")] = "",
    out: Out = Path("edited"),
    face: FaceNumber = None,
    seed: Seed = 0,
    steps: Steps = 25,
    guidance: Guidance = None,
    likeness: Likeness = None,
    sampler: Sampler = "euler",
    engine: Engine = "facex-nano",
    base: BaseModel = None,
    identity: Identity = None,
    tower: Tower = None,
    device: Device = "auto",
    precision: Precision = "auto",
    watermark: Watermark = True,
    manifest: Manifest = None,
    as_json: AsJson = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Only say in a sentence what would be done.")] = False,
) -> None:
    """Change pose, gaze, expression or parts of the face; everything asked for happens in one pass.

    Parts: brows, eyes, nose, lips, mouth, skin, hair, ears, neck, cloth, glasses, hat, jewellery, beard.
    """
    sliders = {"yaw": yaw, "pitch": pitch, "smile": smile, "mouth": mouth, "brows": brows, "eyes": eyes}
    plan = _plan(sliders, gaze, expression, from_ or [], erase or [], prompt)
    if plan_only:
        print(plan)
        return
    if plan.empty:
        raise InputError("nothing to edit: give a slider (--yaw, --smile …), --from, or --erase")
    check_out(out)
    editor = load_editor(engine, base, device, precision, identity, tower)
    settings: dict[str, Any] = {"face": face, "seed": seed, "steps": steps, "guidance": guidance, "sampler": sampler}
    edit = partial(editor.edit, plan=plan, likeness=likeness, **settings)
    edit_all(editor, photos, out, edit, watermark, manifest, as_json)


def animate(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO…", help="Photographs, or folders of them.")],
    style: Annotated[str, typer.Option(help="Stylised base model of the same family: a registry name or a folder.")],
    prompt: Annotated[str, typer.Option(help="Words that call the style, where its model wants some.")] = "",
    out: Out = Path("animated"),
    face: FaceNumber = None,
    seed: Seed = 0,
    steps: Steps = 25,
    guidance: Guidance = None,
    sampler: Sampler = "euler",
    engine: Engine = "facex-nano",
    identity: Identity = None,
    tower: Tower = None,
    device: Device = "auto",
    precision: Precision = "auto",
    watermark: Watermark = True,
    manifest: Manifest = None,
    as_json: AsJson = False,
) -> None:
    """Paint the person as a stylised model would: the same controller on another base."""
    from limner.models.facex.plan import EditPlan

    check_out(out)
    editor = load_editor(engine, style, device, precision, identity, tower)
    plan = EditPlan.animate() + EditPlan(prompt=prompt)
    settings: dict[str, Any] = {"face": face, "seed": seed, "steps": steps, "guidance": guidance, "sampler": sampler}
    edit_all(editor, photos, out, partial(editor.edit, plan=plan, **settings), watermark, manifest, as_json)


def edit_again(recipe: dict[str, Any], engine: str | None, photos: list[str]) -> Picture:
    """An edit from its recipe and its photos, given as NAME=FILE; InputError for what is missing or another photo."""
    from limner.models.facex.engine import FaceX

    given: dict[str, str] = {}
    for pair in photos:
        name, equals, file = pair.rpartition("=")
        if not equals:
            name, file = "photo", pair
        given[name] = file
    wanted = recipe.get("photos")
    if not isinstance(wanted, dict) or "video" in recipe:
        raise InputError("this recipe is not one of a single picture's: it cannot be made again alone")
    for name, about in wanted.items():
        if name not in given and not Path(name).is_file():
            raise InputError(f"making this edit again needs the photo {about.get('file')}: give --photo {name}=FILE")
    precision = {"bfloat16": "bf16", "float32": "fp32"}.get(str(recipe.get("precision")), "auto")
    source = engine or str(recipe.get("source", "facex-nano"))
    editor = FaceX.load(source, device=str(recipe.get("device", "auto")), precision=precision)
    made = editor.replay(recipe, {**{name: name for name in wanted}, **given})
    return replace(made, recipe=recipe)


def _plan(
    sliders: dict[str, float | None],
    gaze: str | None,
    expression: str | None,
    others: list[str],
    erased: list[str],
    prompt: str,
) -> EditPlan:
    """All that was asked for as one plan; InputError, one line, for what there is not."""
    from pydantic import ValidationError

    from limner.models.facex.masks import FACTORS_OF_PART, read_mask
    from limner.models.facex.plan import EditPlan

    moved = {name: value for name, value in sliders.items() if value is not None}
    if gaze is not None:
        moved |= dict(zip(("gaze_x", "gaze_y"), _two_numbers(gaze)))
    plans: list[EditPlan] = [EditPlan(prompt=prompt)]
    try:
        if moved or expression is not None:
            plans.append(EditPlan.motion(expression, **moved))
        for given in others:
            other, colon, parts = given.rpartition(":")
            if not colon or not other or not parts:
                raise InputError(f"--from {given!r}: write it as PHOTO:part,part, for example her.jpg:lips,hair")
            if not Path(other).is_file():
                raise InputError(f"--from {given!r}: no such file: {other}")
            plans.append(EditPlan.regions(other, parts.split(",")))
        for what in erased:
            if what in FACTORS_OF_PART:
                plans.append(EditPlan.erase([what]))
            elif Path(what).is_file():
                plans.append(EditPlan.inpaint(read_mask(what)))
            else:
                raise InputError(f"--erase {what!r}: give {', '.join(FACTORS_OF_PART)}, or a mask picture's file")
        return EditPlan.chain(plans)
    except ValidationError as error:
        raise InputError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from None


def _two_numbers(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--gaze {text!r}: write two numbers of degrees, X,Y, for example 10,-5") from None
    return x, y
