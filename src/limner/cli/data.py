"""Verb `data`: make synthetic faces, build sets of face records, look at them."""

from __future__ import annotations

import json
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from limner.cli import data_pairs
from limner.cli.data_recaption import write
from limner.cli.progress_bar import bar
from limner.cli.result_file import keep
from limner.cli.terminal import console
from limner.errors import InputError

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Generate, build, caption and inspect data sets of faces."
)
app.command("write")(write)

for _verb in (data_pairs.directions, data_pairs.pairs, data_pairs.shape):
    app.command()(_verb)

Out = data_pairs.Out


@app.command()
def synth(
    count: Annotated[int, typer.Argument(metavar="N", min=1, help="Number of faces.")],
    out: Out,
    start: Annotated[int, typer.Option(min=0, help="Index of the first face.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads. Default: all cores.")] = None,
    varied: Annotated[
        bool, typer.Option("--varied", help="Balance attributes: more older faces, glasses and beards.")
    ] = False,
) -> None:
    """Generate N synthetic faces. Face i is the same on every machine. Needs the extra `synth`."""
    from limner.data.balanced_generator import BalancedGenerator
    from limner.data.synthetic import LICENCE, FaceGenerator, write_set

    generator = (BalancedGenerator if varied else FaceGenerator).load(threads)
    print(f"licence of the faces: {LICENCE}")
    with bar("making faces") as show:
        show(0, count)

        def told(index: int, new: bool) -> None:
            show(index + 1 - start, count)

        made = write_set(generator, out, range(start, start + count), told)
    print(f"{made} faces made, {count - made} were there: {out}")


@app.command()
def build(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…", help="Folders of photos, lists (.txt, .csv, .jsonl) or built sets; local or s3://…"
        ),
    ],
    out: Annotated[str, typer.Option("--out", help="Output folder or s3://…; an interrupted build is continued.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N pictures.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes. Default: one per core.")] = None,
    aligned: Annotated[bool, typer.Option("--aligned", help="The photos are already FFHQ-aligned.")] = False,
    people: Annotated[str, typer.Option(help="What identifies a person: file, folder or auto.")] = "auto",
    layout: Annotated[
        str, typer.Option(help="Layout of the source: auto, photos, unif2aced, celebv-hq, ffhq-text or mm-celeba-hq.")
    ] = "auto",
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=NAME", help="unif2aced: name of the column for image, captions, questions, …"),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of pictures without licence information.")] = None,
    shares: Annotated[str, typer.Option(help="Percentage of people in train/validation/test.")] = "90/5/5",
    split_list: Annotated[
        list[str] | None,
        typer.Option(metavar="FORM=PLACE", help="Published splits: train=LIST, test=LIST, celeba=FOLDER or ffhq=JSON."),
    ] = None,
    captions: Annotated[int, typer.Option(min=0, help="Captions per face.")] = 5,
    prompts: Annotated[int, typer.Option(min=0, help="Prompts per face.")] = 6,
    questions: Annotated[int, typer.Option(min=0, help="Questions per face.")] = 10,
    min_size: Annotated[int, typer.Option(min=16, help="Minimum width of a face in the photo, in pixels.")] = 64,
    size: Annotated[
        int, typer.Option(help="Side of the pictures: 256, 512 or 1024. Above 256, smaller faces are skipped.")
    ] = 256,
    seed: Annotated[int, typer.Option(help="Random seed of the wording.")] = 0,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Rebuild blocks that other settings or code made.")
    ] = False,
    engine: Annotated[str, typer.Option(help="local, or ray for a Ray cluster (extra `scale`).")] = "local",
    block_size: Annotated[
        int, typer.Option(min=1, help="Pictures per file and work unit; use 1024 for millions of pictures.")
    ] = 64,
) -> None:
    """Build a data set: detect and measure faces, write captions and questions. `datasets` can load the result."""
    from limner.data.build import BuildProgress
    from limner.data.build import build as build_set
    from limner.data.published_splits import read_splits, with_splits
    from limner.data.releases import parse_columns
    from limner.data.sources import open_sources
    from limner.data.stages import RecordSettings

    settings = RecordSettings(
        captions=captions,
        prompts=prompts,
        questions=questions,
        min_size=min_size,
        size=size,
        shares=parse_shares(shares),
        seed=seed,
    )
    columns = parse_columns(column or [])
    items = open_sources(sources, licence, people, aligned, layout, columns)[:limit]
    if splits := read_splits(split_list or []):
        items = with_splits(items, splits)
    began = time.monotonic()
    with bar("reading") as show:

        def told(now: BuildProgress) -> None:
            show(now.done, now.total, note=f"{now.rows} faces" + (f", {now.errors} skipped" if now.errors else ""))

        manifest = build_set(items, out, settings, workers, rebuild, told, engine=engine, block_size=block_size)
    took = time.monotonic() - began
    parts = ", ".join(f"{name} {number}" for name, number in manifest["splits"].items())
    print(f"{manifest['rows']} faces in {out} ({parts}); {took:.0f} s")
    if manifest["errors"]:
        print(f"{manifest['errors']} pictures were skipped: see {out.rstrip('/')}/errors.jsonl")


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A built set.")],
    out: Annotated[Path | None, typer.Option("--out", help="Output folder. Default: DIR/show.")] = None,
    faces: Annotated[int, typer.Option(min=1, help="Number of faces on the contact sheet.")] = 24,
    seed: Annotated[int, typer.Option(help="Random seed of the choice of faces.")] = 0,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw plots (extra `eval`).")] = True,
) -> None:
    """Write a contact sheet, statistics and plots of a built set, and print the statistics."""
    from limner.data.pairs import is_pair_set
    from limner.data.set_report import contact_sheet, statistics, write_plots
    from limner.faces.picture import save_png
    from limner.files import write_json_atomic

    place = out or folder / "show"
    numbers = statistics(folder)
    if not numbers["rows"]:
        raise InputError(f"{folder} has no rows: see {folder / 'errors.jsonl'}")
    write_json_atomic(place / "statistics.json", numbers)
    save_png(place / "sheet.png", contact_sheet(folder, faces, seed=seed))
    _print_numbers(numbers)
    print(f"contact sheet: {place / 'sheet.png'}")
    if plots and find_spec("matplotlib") is None:
        typer.echo("plots are skipped: they need the package 'matplotlib' (`pip install 'limner[eval]'`)", err=True)
    elif plots:
        for path in write_plots(numbers, folder, place):
            print(f"plot: {path}")
    if is_pair_set(folder):
        data_pairs.report(folder, place, place / "pairs.png", plots)


@app.command()
def stats(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A built set.")],
    out: Annotated[Path | None, typer.Option("--out", help="Output folder. Default: DIR/stats.")] = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw plots (extra `eval`).")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare the statistics of captions and questions with those of UniF²aceD-1M: JSON, plots, one HTML page."""
    from limner.data.stats import compare, word_statistics
    from limner.data.stats_page import write_page, write_word_plots

    place = out or folder / "stats"
    numbers = word_statistics(folder)
    figures = keep(place / "words.json", numbers, None, {"set": str(folder)})["figures"]
    drawn: dict[str, Path] = {}
    if plots and find_spec("matplotlib") is None:
        typer.echo("plots are skipped: they need the package 'matplotlib' (`pip install 'limner[eval]'`)", err=True)
    elif plots:
        drawn = write_word_plots(numbers, place)
    write_page(numbers, drawn, place / "index.html", f"Words of {folder.resolve().name}")
    if as_json:
        print(json.dumps(figures, indent=2, ensure_ascii=False))
        return
    from rich.table import Table

    table = Table("", "measured", "UniF²aceD-1M, published", box=None, pad_edge=False, header_style="bold")
    for row in compare(numbers):
        table.add_row(*row)
    console().print(table)
    print(f"page: {place / 'index.html'}")


def parse_shares(text: str) -> tuple[int, int, int]:
    """Three whole percentages from "90/5/5"; InputError for anything else."""
    parts = text.split("/")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise InputError(f"--shares {text} is not three whole percentages: write them as 90/5/5")
    return int(parts[0]), int(parts[1]), int(parts[2])


def _print_numbers(numbers: dict[str, Any]) -> None:
    from rich.table import Table

    out = console()
    table = Table(box=None, pad_edge=False, show_header=False)
    for name in (
        "rows",
        "splits",
        "sources",
        "with_w",
        "errors",
        "captions",
        "different_captions",
        "questions",
        "yes_no",
    ):
        value = numbers[name]
        table.add_row(
            name.replace("_", " "),
            ", ".join(f"{k} {v:,}" for k, v in value.items()) if isinstance(value, dict) else f"{value:,}",
        )
    for name in ("captions", "prompts"):
        table.add_row(f"tokens of {name}", json.dumps(numbers["tokens"][name])[1:-1].replace('"', ""))
    table.add_row("facts per caption", json.dumps(numbers["facts_per_caption"])[1:-1].replace('"', ""))
    out.print(table)
    table = Table("attribute", "of faces", "confidence", "values", box=None, pad_edge=False, header_style="bold")
    for name, found in numbers["attributes"].items():
        values = ", ".join(f"{value} {share:.0%}" for value, share in list(found["values"].items())[:6])
        table.add_row(name, f"{found['faces']:.0%}", f"{found['confidence']:.2f}", values)
    out.print(table)
