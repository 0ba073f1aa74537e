"""Verbs `swap` and `reenact`: one person's face on another, one person moving as another; photos and videos."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli.bars import bar
from limner.cli.consent import require_consent
from limner.cli.editing import (
    AsJson,
    BaseModel,
    Consent,
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

if TYPE_CHECKING:
    from limner.models.facex.engine import FaceX
    from limner.models.facex.plan import EditPlan
    from limner.provenance.consent import Statement


def swap(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Photo of the person whose face is taken.")],
    target: Annotated[
        Path, typer.Argument(metavar="TARGET", help="Photo, folder of photos, or video that it is put into.")
    ],
    head: Annotated[bool, typer.Option("--head", help="Put in the whole head, with hair and ears.")] = False,
    out: Out = Path("swapped"),
    face: FaceNumber = None,
    source_face: Annotated[int | None, typer.Option(help="Which face of SOURCE to take, counted likewise.")] = None,
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
    i_have_consent: Consent = False,
) -> None:
    """Put the face in SOURCE on the person in TARGET, whose pose, expression, light, hair and background stay.

    Full photographs in, full photographs out. Pixels outside the painted region are exactly TARGET's.

    The file says what was done; `limner verify` reads it.

    Asks once whether the people shown agreed.
    """
    from limner.models.facex.plan import CANVAS, EditPlan
    from limner.models.facex.video import is_video

    video = is_video(target)
    check_out(out, video)
    consent = require_consent(i_have_consent)
    editor = load_editor(engine, base, device, precision, identity, tower)
    plan = EditPlan.swap("source", head=head)
    settings: dict[str, Any] = {"seed": seed, "steps": steps, "guidance": guidance, "sampler": sampler, "face": face}
    settings["likeness"] = likeness
    if video:
        stills = {"source": (source, source_face)}
        return _film(editor, plan, target, CANVAS, stills, out, settings, watermark, manifest, as_json, consent)
    numbers = {} if source_face is None else {"source": source_face}
    edit = partial(editor.edit, plan=plan, photos={"source": source}, faces=numbers, **settings)
    edit_all(editor, [target], out, edit, watermark, manifest, as_json, consent)


def reenact(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="Photo of the person who is to move; with a photo as DRIVER, also a folder of photos.",
        ),
    ],
    driver: Annotated[Path, typer.Argument(metavar="DRIVER", help="Photo or video of the person who is followed.")],
    out: Out = Path("reenacted"),
    face: FaceNumber = None,
    driver_face: Annotated[int | None, typer.Option(help="Which face of DRIVER to follow, counted likewise.")] = None,
    seed: Seed = 0,
    steps: Steps = 25,
    guidance: Guidance = None,
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
    i_have_consent: Consent = False,
) -> None:
    """Give the person in SOURCE the pose, expression and gaze of the one in DRIVER.

    A photo gives a photo; a driving video gives a video with its sound.

    An interrupted video goes on where it stopped when the same command is given again.

    Asks once whether the people shown agreed.
    """
    from limner.models.facex.plan import CANVAS, EditPlan
    from limner.models.facex.video import is_video

    video = is_video(driver)
    check_out(out, video)
    consent = require_consent(i_have_consent)
    editor = load_editor(engine, base, device, precision, identity, tower)
    plan = EditPlan.reenact("driver")
    settings: dict[str, Any] = {"seed": seed, "steps": steps, "guidance": guidance, "sampler": sampler}
    if video:
        stills = {CANVAS: (source, face)}
        settings["face"] = driver_face
        return _film(editor, plan, driver, "driver", stills, out, settings, watermark, manifest, as_json, consent)
    numbers = {} if driver_face is None else {"driver": driver_face}
    edit = partial(editor.edit, plan=plan, photos={"driver": driver}, face=face, faces=numbers, **settings)
    edit_all(editor, [source], out, edit, watermark, manifest, as_json, consent)


def _film(
    editor: FaceX,
    plan: EditPlan,
    video: Path,
    role: str,
    stills: dict[str, tuple[Path, int | None]],
    out: Path,
    settings: dict[str, Any],
    watermark: bool,
    manifest: bool | None,
    as_json: bool,
    consent: Statement,
) -> None:
    """A video from a plan, with progress."""
    from limner.models.facex.film import edit_video

    subjects = {name: editor.subject(file, number, name) for name, (file, number) in stills.items()}
    marks: dict[str, Any] = {"watermark": watermark, "manifest": manifest, "consent": consent}
    with bar("reading", shown=not as_json) as show:
        settings["progress"] = lambda what, done, total: show(done, total, what=what)
        recipe = edit_video(editor, plan, video, role, subjects, out, **marks, **settings)
    print(json.dumps([{"file": str(out), "recipe": recipe}]) if as_json else out)
