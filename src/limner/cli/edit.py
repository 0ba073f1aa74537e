"""Verbs `edit` and `animate`: sliders, region transfer, erasing, inpainting and styles, in one pass."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli.consent import require_consent
from limner.cli.donors import Donor, named_donors
from limner.cli.edit_options import (
    AsJson,
    BaseModel,
    Consent,
    Device,
    Engine,
    FaceNumber,
    Guidance,
    Identity,
    IdentityGuidance,
    Manifest,
    MotionWeights,
    Out,
    Precision,
    Sampler,
    Seed,
    Steps,
    Tower,
    WarpStrength,
    Watermark,
    check_out,
    edit_all,
    load_editor,
)
from limner.cli.outputs import Overwrite
from limner.errors import InputError
from limner.weights.registry import registry

if TYPE_CHECKING:
    from limner.models.facex.plan import EditPlan
    from limner.provenance.picture import Picture


def edit(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO…", help="Photographs, or folders of them.")],
    yaw: Annotated[
        float | None, typer.Option(help="Head yaw in degrees, -45 to 45; positive turns to the subject's left.")
    ] = None,
    pitch: Annotated[float | None, typer.Option(help="Head pitch in degrees, -30 to 30; positive is up.")] = None,
    gaze: Annotated[
        str | None,
        typer.Option(metavar="X,Y", help="Gaze in degrees, -30 to 30 each; positive is to the subject's left, and up."),
    ] = None,
    smile: Annotated[float | None, typer.Option(help="Smile (+) or look sad (-), -1 to 1.")] = None,
    mouth: Annotated[float | None, typer.Option(help="Open (+) or close (-) the mouth, -1 to 1.")] = None,
    brows: Annotated[float | None, typer.Option(help="Raise (+) or lower (-) the brows, -1 to 1.")] = None,
    eyes: Annotated[float | None, typer.Option(help="Open (+) or close (-) the eyes, -1 to 1.")] = None,
    pucker: Annotated[float | None, typer.Option(help="Pucker (+) or stretch (-) the lips, -1 to 1.")] = None,
    expression: Annotated[
        str | None,
        typer.Option(
            help="Named expression: happy, laughing, sad, angry, surprised, kiss or sleepy. Sliders are added to it."
        ),
    ] = None,
    from_: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="OTHER:PART,…",
            help="Transfer regions from another photo, e.g. her.jpg:lips,hair. Repeatable.",
        ),
    ] = None,
    from_face: Annotated[
        list[int] | None,
        typer.Option(help="Number of the face in OTHER, counted as in --face. Repeatable, one per --from."),
    ] = None,
    erase: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART,…|MASK",
            help="Erase regions, e.g. glasses,beard; or inpaint the white area of a mask image of the photo's size.",
        ),
    ] = None,
    prompt: Annotated[str, typer.Option(help="Text prompt for the edited region.")] = "",
    out: Out = Path("edited"),
    face: FaceNumber = None,
    seed: Seed = 0,
    steps: Steps = 25,
    guidance: Guidance = None,
    identity_guidance: IdentityGuidance = None,
    warp_strength: WarpStrength = None,
    sampler: Sampler = "euler",
    engine: Engine = "facex-nano",
    base: BaseModel = None,
    identity: Identity = None,
    tower: Tower = None,
    motion: MotionWeights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    watermark: Watermark = True,
    manifest: Manifest = None,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Print the edit plan in one sentence and exit.")] = False,
    i_have_consent: Consent = False,
) -> None:
    """Edit pose, gaze, expression or regions of a face. All edits are applied in one pass.

    Regions: brows, eyes, nose, lips, mouth, skin, hair, ears, neck, cloth, glasses, hat, jewellery, beard.

    With --from, you are asked once to confirm that the people shown consented.
    """
    from limner.models.facex.consent import needs_consent

    sliders = {"yaw": yaw, "pitch": pitch, "smile": smile, "mouth": mouth, "brows": brows, "eyes": eyes}
    sliders["pucker"] = pucker
    donors = named_donors(from_ or [], from_face or [])
    plan = _plan(sliders, gaze, expression, donors, erase or [], prompt)
    if plan_only:
        print(plan)
        return
    if plan.empty:
        raise InputError("nothing to edit: give a slider (--yaw, --smile …), --expression, --from or --erase")
    check_out(out, overwrite)
    consent = require_consent(i_have_consent) if needs_consent(plan) or i_have_consent else None
    editor = load_editor(engine, base, device, precision, identity, tower, motion)
    settings: dict[str, Any] = {"face": face, "seed": seed, "steps": steps, "guidance": guidance, "sampler": sampler}
    settings["photos"] = {donor.name: donor.file for donor in donors}
    settings["faces"] = {donor.name: donor.face for donor in donors if donor.face is not None}
    edit = partial(editor.edit, plan=plan, identity_guidance=identity_guidance, warp_strength=warp_strength, **settings)
    edit_all(editor, photos, out, edit, watermark, manifest, as_json, overwrite, consent)


def animate(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO…", help="Photographs, or folders of them.")],
    style: Annotated[
        str,
        typer.Option(
            metavar="NAME|FOLDER",
            help="Style: pencil, a folder written by `limner train`, or another base model of the same family.",
        ),
    ] = "pencil",
    prompt: Annotated[str, typer.Option(help="Trigger words of the style, if its model needs any.")] = "",
    out: Out = Path("animated"),
    face: FaceNumber = None,
    seed: Seed = 0,
    steps: Steps = 25,
    guidance: Guidance = None,
    sampler: Sampler = "euler",
    engine: Engine = "facex-nano",
    identity: Identity = None,
    tower: Tower = None,
    motion: MotionWeights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    watermark: Watermark = True,
    manifest: Manifest = None,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
) -> None:
    """Render the person in the style of another base model.

    `configs/facex-nano-pencil.toml` is an example of training a style (docs/facex.md, Training).
    """
    from limner.models.facex.loading import find_style
    from limner.models.facex.plan import EditPlan

    check_out(out, overwrite)
    editor = load_editor(engine, find_style(style), device, precision, identity, tower, motion)
    plan = EditPlan.animate() + EditPlan(prompt=prompt)
    settings: dict[str, Any] = {"face": face, "seed": seed, "steps": steps, "guidance": guidance, "sampler": sampler}
    edit_all(editor, photos, out, partial(editor.edit, plan=plan, **settings), watermark, manifest, as_json, overwrite)


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
        raise InputError("this recipe belongs to a video or a set of pictures: it cannot be replayed as one picture")
    for name, about in wanted.items():
        if name not in given and not Path(name).is_file():
            raise InputError(f"replaying this edit needs the photo {about.get('file')}: give --photo {name}=FILE")
    precision = {"bfloat16": "bf16", "float32": "fp32"}.get(str(recipe.get("precision")), "auto")
    source = engine or str(recipe.get("source", "facex-nano"))
    named = str(recipe.get("base"))
    base = named if named in registry() else None  # a style that comes with Limner
    editor = FaceX.load(source, base, str(recipe.get("device", "auto")), precision)
    made = editor.replay(recipe, {**{name: name for name in wanted}, **given})
    return replace(made, recipe=recipe)


def _plan(
    sliders: dict[str, float | None],
    gaze: str | None,
    expression: str | None,
    donors: list[Donor],
    erased: list[str],
    prompt: str,
) -> EditPlan:
    """All that was asked for as one plan; InputError, one line, for what there is not."""
    from pydantic import ValidationError

    from limner.models.facex.drawn_mask import read_mask
    from limner.models.facex.masks import FACTORS_OF_PART
    from limner.models.facex.plan import EditPlan

    moved = {name: value for name, value in sliders.items() if value is not None}
    if gaze is not None:
        moved |= dict(zip(("gaze_x", "gaze_y"), _two_numbers(gaze)))
    plans: list[EditPlan] = [EditPlan(prompt=prompt)]
    try:
        if moved or expression is not None:
            plans.append(EditPlan.motion(expression, **moved))
        plans += [EditPlan.regions(donor.name, donor.parts) for donor in donors]
        for what in (each for given in erased for each in _listed(given)):
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


def _listed(text: str) -> list[str]:
    """Parts between commas; a file's name is one, whatever is in it."""
    return [text] if Path(text).is_file() else text.split(",")


def _two_numbers(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--gaze {text!r}: write two numbers of degrees, X,Y, for example 10,-5") from None
    return x, y
