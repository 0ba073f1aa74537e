"""Options shared by the editing verbs, output paths, and editing of many photos."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from limner.cli.input_photos import Refused, named_photos, refuse_shared_names
from limner.cli.outputs import refuse_existing, unused_name
from limner.cli.progress_bar import Show, bar
from limner.errors import InputError
from limner.provenance.consent import Statement, stating

if TYPE_CHECKING:
    from limner.models.facex.engine import FaceX
    from limner.provenance.picture import Picture

Out = Annotated[Path, typer.Option("-o", "--out", help="Output folder, or a .png, .jpg or .webp file.")]
FilmOut = Annotated[
    Path,
    typer.Option(
        "-o", "--out", help="Output folder, or a .png, .jpg or .webp file; for a video a folder or an .mp4 file."
    ),
]
FaceNumber = Annotated[
    int | None,
    typer.Option("--face", help="Number of the face to edit, from 1, largest first. Default: the largest."),
]
Seed = Annotated[int, typer.Option(help="Random seed.")]
Steps = Annotated[int, typer.Option(help="Sampling steps. 8 give a quick preview.")]
Guidance = Annotated[float | None, typer.Option(help="Guidance scale; 1 disables guidance. Default: from the weights.")]
WarpStrength = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="How much of the warped photos to keep as the starting point, as in SDEdit; 0 starts from noise. "
        "Default: from the weights.",
    ),
]
IdentityGuidance = Annotated[
    float | None,
    typer.Option(
        help="Extra guidance towards the identity of the source photo; 0 disables it. Default: from the weights."
    ),
]
Sampler = Annotated[str, typer.Option(help="Sampler: euler or ddim.")]
Engine = Annotated[str, typer.Option(help="FaceX weights: a registry name or a folder.")]
BaseModel = Annotated[
    str | None,
    typer.Option("--base", help="Another base model of the same family: a folder in diffusers format."),
]
Identity = Annotated[
    str | None, typer.Option(help="ArcFace weights. Needed for FaceX weights that were trained with ArcFace.")
]
Tower = Annotated[
    str | None,
    typer.Option(help="Folder of a vision transformer. Needed for FaceX weights that were trained with one."),
]
MotionWeights = Annotated[
    str | None,
    typer.Option(
        "--motion",
        help="D3DFR-style regressor (.safetensors, .onnx). Needed for FaceX weights that were trained with one.",
    ),
]
Device = Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option(help="Precision: auto, bf16 or fp32.")]
Watermark = Annotated[bool, typer.Option("--watermark/--no-watermark", help="Embed an invisible watermark.")]
Manifest = Annotated[
    bool | None,
    typer.Option(
        "--manifest/--no-manifest", help="Sign a C2PA manifest. Default: on if the extra `provenance` is installed."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the files and their recipes as JSON.")]
Consent = Annotated[
    bool,
    typer.Option(
        "--i-have-consent",
        help="Confirm that the people shown consented. For scripts; applies to this run only.",
    ),
]


class Edit(Protocol):
    """What is done with one photo."""

    def __call__(self, file: Path, /, *, callback: Callable[[int, int], None]) -> Picture:
        """The edited picture; `callback` gets (steps done, steps in all)."""
        ...


def check_out(out: Path, overwrite: bool, video: bool = False, made_from: Path | None = None) -> None:
    """Refuse a name that could not hold the result's recipe, or a file that exists, before anything is loaded.

    video: whether the result is a film. made_from: the input that decides it.
    """
    from limner.faces.video import SUFFIXES
    from limner.provenance.recipe import MIME

    if video:
        if out.suffix and out.suffix.lower() != ".mp4":
            raise InputError(f"--out {out}: give an .mp4 file or a folder")
    elif made_from is not None and out.suffix.lower() in SUFFIXES:
        raise InputError(
            f"--out {out} is a video file, but {made_from.name} is not a supported video ({', '.join(SUFFIXES)})"
        )
    elif out.suffix and out.suffix.lower() not in MIME:
        raise InputError(f"--out {out}: name a folder, or a .png, .jpg or .webp file, which can hold the recipe")
    if out.suffix:
        refuse_existing(out, overwrite)


def load_editor(
    engine: str,
    base: str | None,
    device: str,
    precision: str,
    identity: str | None = None,
    tower: str | None = None,
    motion: str | None = None,
) -> FaceX:
    """The engine behind all of them."""
    from limner.models.facex.engine import FaceX

    return FaceX.load(engine, base, device=device, precision=precision, identity=identity, regions=tower, motion=motion)


def edit_all(
    editor: FaceX,
    photos: list[Path],
    out: Path,
    edit: Edit,
    watermark: bool,
    manifest: bool | None,
    as_json: bool,
    overwrite: bool,
    consent: Statement | None = None,
) -> None:
    """Edit photos and those in folders, save each result, print its name; name the ones that cannot be used at the end.

    consent: how it was stated, for the recipes. The status is 2 when there is one that cannot be used.
    """
    names = named_results(photos, out)
    done: list[dict[str, Any]] = []
    refused = Refused()
    with bar(f"editing ({editor.why})", shown=not as_json) as show:
        for number, (file, name) in enumerate(names.items()):
            picture = refused.unless(file, partial(edit, file, callback=_of_all(show, number, len(names))))
            if picture is not None:
                target = out if out.suffix else unused_name(out / f"{name}.png", overwrite)
                picture = replace(picture, recipe=stating(picture.recipe, consent))
                done.append({"file": str(target), "recipe": picture.save(target, watermark, manifest)})
    if as_json:
        print(json.dumps(done))
    else:
        for one in done:
            print(one["file"])
    refused.finish()


def named_results(photos: list[Path], out: Path) -> dict[Path, str]:
    """The photos and those in folders, each with its result's name. InputError if ``out`` cannot hold them all."""
    names = named_photos(photos)
    if len(names) > 1:
        if out.suffix:
            raise InputError(f"--out {out} is one file, but there are {len(names)} photos: give a folder")
        refuse_shared_names(names)
    return names


def _of_all(show: Show, number: int, count: int) -> Callable[[int, int], None]:
    return lambda done, total: show(number * total + done, count * total)
