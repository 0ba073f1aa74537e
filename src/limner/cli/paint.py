"""Verbs `paint` and `replay`: text and masks to pictures, and a picture's recipe to the same picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli.outputs import Overwrite, numbered_names, refuse_existing, unused_name
from limner.cli.progress_bar import bar
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.provenance.picture import Picture

Engine = Annotated[
    str,
    typer.Option(
        help="Weights: a registry name, a weight file, or a FLUX.1 folder. `unif2ace` generates from text only."
    ),
]
Precision = Annotated[str, typer.Option(help="Precision: auto, bf16 or fp32.")]
Device = Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")]
Lora = Annotated[
    list[Path] | None,
    typer.Option(help="For FLUX.1: LoRA weights, of the mask stream or in diffusers or peft format. Repeatable."),
]
TextLength = Annotated[
    int | None,
    typer.Option(help="For FLUX.1: maximum T5 tokens of a prompt. Fewer are faster. Default: 512, schnell 256."),
]


def paint(
    words: Annotated[str | None, typer.Argument(help='Prompt, for example "a smiling woman with grey hair".')] = None,
    mask: Annotated[Path | None, typer.Option(help="Region map: an image of class ids or of palette colours.")] = None,
    like: Annotated[Path | None, typer.Option(help="Use the region map of the largest face in this photo.")] = None,
    palette: Annotated[
        str,
        typer.Option(help="Label order or colours of --mask: celebamask, bisenet or auto."),
    ] = "auto",
    edit_mask: Annotated[
        str | None,
        typer.Option(help='Edit the region map first, e.g. "hair: longer; glasses: removed; lips: wider 4".'),
    ] = None,
    n: Annotated[int, typer.Option("-n", "--number", help="Number of pictures.")] = 1,
    steps: Annotated[
        int | None,
        typer.Option(help="Sampling steps; 8 for a quick look. Default: 28 (FLUX.1-schnell: 4, UniF²ace: 18)."),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="Guidance scale of the prompt. 1 disables it (UniF²ace: 0). Default: from the weights."),
    ] = None,
    mask_guidance: Annotated[
        float | None, typer.Option(help="Guidance scale of the region map; 1 disables it.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed. Picture k uses seed + k.")] = 0,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="Sampler: euler, or heun (second order, two evaluations per step). UniF²ace: confidence or leap."
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="UniF²ace only: sampling temperature. Default: from the weights (leap: 1)."),
    ] = None,
    best: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="UniF²ace only: generate this many candidates per picture and keep the one that best matches "
            "the prompt.",
        ),
    ] = None,
    merge: Annotated[
        str | None,
        typer.Option(help="Merge mask tokens after encoding: how many to keep, or 'regions'. Faster, approximate."),
    ] = None,
    size: Annotated[int | None, typer.Option(help="Picture side in pixels, for FLUX.1.")] = None,
    out: Annotated[
        Path,
        typer.Option(
            help="Output folder, or a .png, .jpg or .webp file; several pictures are written to a file as a grid."
        ),
    ] = Path("painted"),
    engine: Engine = "mditface-nano",
    lora: Lora = None,
    text_length: TextLength = None,
    precision: Precision = "auto",
    device: Device = "auto",
    watermark: Annotated[bool, typer.Option("--watermark/--no-watermark", help="Embed an invisible watermark.")] = True,
    manifest: Annotated[
        bool | None,
        typer.Option(
            "--manifest/--no-manifest", help="Sign a C2PA manifest. Default: on if the extra `provenance` is installed."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the files and their recipes as JSON.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Generate portraits from text, a region map, or both.

    Every picture contains its recipe: `limner replay` reproduces it, and `limner verify` shows its origin.
    """
    if mask is not None and like is not None:
        raise InputError("--mask and --like are alternatives: give one of them")
    if edit_mask is not None and mask is None and like is None:
        raise InputError("--edit-mask needs a mask to edit: give --mask or --like")
    from limner.provenance.recipe import MIME

    if out.suffix and out.suffix.lower() not in MIME:
        raise InputError(f"--out {out}: name a folder, or a .png, .jpg or .webp file, which can hold the recipe")
    if out.suffix:
        for file in _files(out, seed, min(n, 1024), overwrite):
            refuse_existing(file, overwrite)
    from limner.models.unif2ace.loading import is_unif2ace

    if is_unif2ace(engine):
        given = {"--mask": mask, "--like": like, "--mask-guidance": mask_guidance, "--merge": merge, "--size": size,
                 "--lora": lora or None, "--text-length": text_length}  # fmt: skip
        if unfit := [name for name, value in given.items() if value is not None]:
            raise InputError(f"UniF²ace generates from text only: remove {unfit[0]}, or choose another --engine")
        wanted = {"steps": steps, "guidance": guidance, "sampler": sampler, "temperature": temperature, "best": best}
        settings = {name: value for name, value in wanted.items() if value is not None}
        pictures = _paint_words(words, engine, device, precision, n, seed, settings, quiet=as_json)
        _report(_save(pictures, out, watermark, manifest, overwrite), as_json)
        return
    for name, value in (("--temperature", temperature), ("--best", best)):
        if value is not None:
            raise InputError(f"{name} works only with UniF²ace: remove it, or add --engine unif2ace")
    regions = _regions(mask, like)
    from limner.models.mditface.engine import MDiTFace, region_map
    from limner.models.mditface.mask_edits import edit_mask as edited

    painter = MDiTFace.load(engine, device=device, precision=precision, lora=lora or None, text_length=text_length)
    if regions is not None and edit_mask is not None:
        regions = edited(region_map(regions, size or painter.components.size, palette), edit_mask)
        palette = "celebamask"
    with bar(f"painting ({painter.why})", shown=not as_json) as show:
        pictures = painter.paint(
            words,
            regions,
            n=n,
            steps=steps,
            guidance=guidance,
            mask_guidance=mask_guidance,
            seed=seed,
            sampler=sampler or "euler",
            merge=int(merge) if merge is not None and merge.isdigit() else merge,
            size=size,
            palette=palette,
            callback=show,
        )
    _report(_save(pictures, out, watermark, manifest, overwrite), as_json)


def _report(files: list[tuple[Path, dict[str, Any]]], as_json: bool) -> None:
    """Print the files, and on standard error what was painted otherwise than asked for."""
    for note in files[0][1].get("notes", ()):
        typer.echo(f"note: {note}", err=True)
    if as_json:
        print(json.dumps([{"file": str(file), "recipe": recipe} for file, recipe in files]))
    else:
        for file, _ in files:
            print(file)


def _paint_words(
    words: str | None,
    engine: str,
    device: str,
    precision: str,
    n: int,
    seed: int,
    settings: dict[str, Any],
    quiet: bool,
) -> list[Picture]:
    """Pictures from words by UniF²ace, its own defaults where ``settings`` say nothing."""
    from limner.models.unif2ace.engine import UniF2ace

    painter = UniF2ace.load(engine, device=device, precision=precision)
    if rest := painter.unread(words or ""):
        typer.echo(f'the prompt is longer than this model reads; ignored: "{rest}"', err=True)
    with bar(f"painting ({painter.why})", shown=not quiet) as show:
        return painter.paint(words or "", n=n, seed=seed, callback=show, **settings)


def replay(
    file: Annotated[Path, typer.Argument(help="A picture made by Limner.")],
    out: Annotated[Path | None, typer.Option(help="File for the new picture. Default: only compare.")] = None,
    engine: Annotated[str | None, typer.Option(help="Weights. Default: those named in the recipe.")] = None,
    lora: Lora = None,
    photo: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE", help="For an edit: its input photos, by the names in the recipe. Repeatable."
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Reproduce a picture from the recipe inside its file, and compare the two.

    Exit code 0: identical pixels. 1: pixels differ (rounding of another machine or version); the largest difference
    is printed.
    """
    from limner.models.mditface.engine import MDiTFace
    from limner.models.mditface.paint_settings import MOST
    from limner.models.mditface.region_map_text import grid
    from limner.provenance.picture import Picture
    from limner.provenance.recipe import read_recipe

    recipe = read_recipe(file)
    if out is not None:
        refuse_existing(out, overwrite)
    if recipe.get("engine") == "facex":
        from limner.cli.edit import edit_again

        return _compare(edit_again(recipe, engine, photo or []), file, out)
    if recipe.get("engine") not in ("mditface", "unif2ace"):
        raise InputError(
            f"{file.name} was made by the engine {recipe.get('engine')!r}, which this limner does not have"
        )
    precision = {"bfloat16": "bf16", "float32": "fp32"}.get(str(recipe.get("precision")), "auto")
    source, where = engine or str(recipe.get("source", "mditface-nano")), str(recipe.get("device", "auto"))
    if recipe["engine"] == "unif2ace":
        from limner.models.unif2ace.engine import UniF2ace

        painter: MDiTFace | UniF2ace = UniF2ace.load(source, device=where, precision=precision)
    else:
        length = recipe.get("text_length")
        painter = MDiTFace.load(source, device=where, precision=precision, lora=lora or None, text_length=length)
    count = recipe.get("n")
    if not isinstance(count, int) or not 1 <= count <= MOST:
        raise InputError(f"invalid recipe in {file.name}: n={count} pictures")
    places = range(count) if recipe.get("grid") else [recipe.get("picture")]
    with bar("painting again") as show:
        pictures = [painter.replay({**recipe, "picture": place}, callback=show) for place in places]
    image = grid([picture.image for picture in pictures]) if recipe.get("grid") else pictures[0].image
    _compare(Picture(image, recipe, pictures[0].ingredients), file, out)


def _compare(again: Picture, file: Path, out: Path | None) -> None:
    """Save a picture that was made again, where that was asked for, and say whether it is what the file holds."""
    import numpy as np

    from limner.faces.picture import read_picture

    marked = again.recipe.get("watermark") is True
    if out is not None:
        again.save(out, marked)
        print(out)
    # as it would stand in a file of this format: marked, and through the same losses
    new = read_picture(again.encode(_format(file), marked, manifest=False)[0])
    old = read_picture(file)
    if new.shape != old.shape:
        print(f"different: {old.shape[1]} x {old.shape[0]} pixels here, {new.shape[1]} x {new.shape[0]} as painted")
        raise typer.Exit(1)
    difference = np.abs(new.astype(int) - old).max()
    print("identical" if difference == 0 else f"different: by at most {difference} of 255 in a pixel")
    if difference:
        raise typer.Exit(1)


def _regions(mask: Path | None, like: Path | None) -> Any:
    """The regions asked for, as the engine takes them: a Face, a map's file, or None."""
    if like is not None:
        from limner.faces.reader import FaceReader

        faces = FaceReader.load().read(like)
        if not faces:
            raise InputError(f"no face was found in {like.name}: give another photo, or a region map with --mask")
        return faces[0]
    return mask


def _files(out: Path, seed: int, n: int, overwrite: bool) -> list[Path]:
    """The file of each of n pictures and, of several, of their grid, which comes last."""
    suffix = out.suffix.lower()
    seeds = range(seed, seed + n)
    if not suffix:
        grid = [unused_name(out / "grid.png", overwrite)] if n > 1 else []
        return numbered_names(out, seeds, ".png", overwrite) + grid
    return [*(out.with_suffix(f".{number}{suffix}") for number in seeds), out] if n > 1 else [out]


def _save(
    pictures: list[Picture], out: Path, watermark: bool, manifest: bool | None, overwrite: bool
) -> list[tuple[Path, dict[str, Any]]]:
    """Write pictures and, of several, their grid; returns what was written."""
    from limner.models.mditface.region_map_text import grid
    from limner.provenance.picture import Picture

    names = _files(out, pictures[0].recipe["seed"], len(pictures), overwrite)
    files = [(file, picture.save(file, watermark, manifest)) for file, picture in zip(names, pictures)]
    if len(pictures) > 1:
        sheet = Picture(
            grid([picture.image for picture in pictures]), {**pictures[0].recipe, "grid": True}, pictures[0].ingredients
        )
        files.append((names[-1], sheet.save(names[-1], watermark, manifest)))
    return files


def _format(file: Path) -> str:
    """The suffix that stands for what a file is, whatever its name."""
    from limner.provenance.recipe import MIME
    from limner.provenance.verify import mime_of

    mime = mime_of(file.read_bytes())
    if mime is None:
        raise InputError(f"{file.name} is not a PNG, JPEG or WebP file: give a file written by Limner")
    return next(suffix for suffix, kind in MIME.items() if kind == mime)
