"""Verbs `swap` and `reenact`: one person's face on another, one person moving as another; photos and videos."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from limner.cli.consent import require_consent
from limner.cli.edit_options import (
    AsJson,
    BaseModel,
    Consent,
    Device,
    Engine,
    FaceNumber,
    FilmOut,
    Guidance,
    Identity,
    IdentityGuidance,
    Manifest,
    MotionWeights,
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
    named_results,
)
from limner.cli.input_photos import Refused
from limner.cli.outputs import Overwrite, unused_name
from limner.cli.progress_bar import bar

if TYPE_CHECKING:
    from limner.models.facex.edit_inputs import Subject
    from limner.models.facex.engine import FaceX
    from limner.models.facex.plan import EditPlan
    from limner.provenance.consent import Statement


def swap(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Photo of the person whose face to use.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Photo, folder of photos, or video to edit.")],
    head: Annotated[bool, typer.Option("--head", help="Swap the whole head, including hair and ears.")] = False,
    out: FilmOut = Path("swapped"),
    face: FaceNumber = None,
    source_face: Annotated[int | None, typer.Option(help="Number of the face in SOURCE, counted as in --face.")] = None,
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
    i_have_consent: Consent = False,
) -> None:
    """Swap the face of SOURCE onto the person in TARGET. Pose, expression, light, hair and background of TARGET stay.

    Input and output are full photographs. Pixels outside the edited region do not change.

    The output records the edit; `limner verify` reads it.

    You are asked once to confirm that the people shown consented.
    """
    from limner.faces.video import is_video
    from limner.models.facex.plan import CANVAS, EditPlan

    video = is_video(target)
    check_out(out, overwrite, video, target)
    consent = require_consent(i_have_consent)
    editor = load_editor(engine, base, device, precision, identity, tower, motion)
    plan = EditPlan.swap("source", head=head)
    settings: dict[str, Any] = {"seed": seed, "steps": steps, "guidance": guidance, "sampler": sampler, "face": face}
    settings |= {"identity_guidance": identity_guidance, "warp_strength": warp_strength}
    if video:
        films = [Film({"source": (source, source_face)}, _film_file(out, target.stem, overwrite))]
        return _films(editor, plan, target, CANVAS, films, settings, watermark, manifest, as_json, consent)
    numbers = {} if source_face is None else {"source": source_face}
    edit = partial(editor.edit, plan=plan, photos={"source": source}, faces=numbers, **settings)
    edit_all(editor, [target], out, edit, watermark, manifest, as_json, overwrite, consent)


def reenact(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Photo of the person to animate, or a folder of photos.")
    ],
    driver: Annotated[Path, typer.Argument(metavar="DRIVER", help="Photo or video with the motion to copy.")],
    out: FilmOut = Path("reenacted"),
    face: FaceNumber = None,
    driver_face: Annotated[int | None, typer.Option(help="Number of the face in DRIVER, counted as in --face.")] = None,
    seed: Seed = 0,
    steps: Steps = 25,
    guidance: Guidance = None,
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
    i_have_consent: Consent = False,
) -> None:
    """Give the person in SOURCE the pose, expression and gaze of the one in DRIVER.

    A photo gives a photo; a driving video gives a video with its sound.

    An interrupted video goes on where it stopped when the same command is given again.

    Asks once whether the people shown agreed.
    """
    from limner.faces.video import is_video
    from limner.models.facex.plan import CANVAS, EditPlan

    video = is_video(driver)
    check_out(out, overwrite, video, driver)
    names = named_results([source], out).items()
    consent = require_consent(i_have_consent)
    editor = load_editor(engine, base, device, precision, identity, tower, motion)
    plan = EditPlan.reenact("driver")
    settings: dict[str, Any] = {"seed": seed, "steps": steps, "guidance": guidance, "sampler": sampler}
    if video:
        settings["face"] = driver_face
        films = [Film({CANVAS: (photo, face)}, _film_file(out, name, overwrite)) for photo, name in names]
        return _films(editor, plan, driver, "driver", films, settings, watermark, manifest, as_json, consent)
    numbers = {} if driver_face is None else {"driver": driver_face}
    edit = partial(editor.edit, plan=plan, photos={"driver": driver}, face=face, faces=numbers, **settings)
    edit_all(editor, [source], out, edit, watermark, manifest, as_json, overwrite, consent)


class Film(NamedTuple):
    """One film of a plan. stills: its photos by name, each with the number of the face; out: its file."""

    stills: dict[str, tuple[Path, int | None]]
    out: Path


def _films(
    editor: FaceX,
    plan: EditPlan,
    video: Path,
    role: str,
    films: list[Film],
    settings: dict[str, Any],
    watermark: bool,
    manifest: bool | None,
    as_json: bool,
    consent: Statement,
) -> None:
    """Films from a plan and a video, with progress; photos that cannot be used are named at the end: then status 2."""
    from limner.models.facex.video_edit import edit_video

    done: list[dict[str, Any]] = []
    refused = Refused()
    with bar("reading", shown=not as_json) as show:
        settings |= {"watermark": watermark, "manifest": manifest, "consent": consent}
        settings["progress"] = lambda what, done, total: show(done, total, what=what)
        for film in films:
            ((photo, _),) = film.stills.values()
            subjects = refused.unless(photo, partial(_subjects, editor, film))
            if subjects is not None:
                recipe = edit_video(editor, plan, video, role, subjects, film.out, **settings)
                done.append({"file": str(film.out), "recipe": recipe})
    if as_json:
        print(json.dumps(done))
    else:
        for one in done:
            print(one["file"])
    if done:
        _say_unseen(done[0]["recipe"]["video"])
    refused.finish()


def _film_file(out: Path, name: str, overwrite: bool) -> Path:
    return out if out.suffix else unused_name(out / f"{name}.mp4", overwrite)


def _subjects(editor: FaceX, film: Film) -> dict[str, Subject]:
    return {name: editor.subject(file, number, name) for name, (file, number) in film.stills.items()}


def _say_unseen(video: dict[str, Any]) -> None:
    """A line on standard error if a video was cut off, or did not show the face in every frame, as its film's recipe
    says."""
    from limner.models.facex.plan import CANVAS

    if video.get("cut_off"):
        typer.echo(f"{video['file']} is cut off: the film has the {video['frames']} frames that can be read", err=True)

    if video["unseen"]:
        left = "were left as they are" if video["as"] == CANVAS else "keep the motion before them"
        why = "the face was not found in them, or is too small, too far turned or cut off"
        typer.echo(f"{video['unseen']} of {video['frames']} frames {left}: {why}", err=True)
