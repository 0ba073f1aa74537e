"""Verbs of `limner data` that make pictures of one person in motion: directions, pairs, shape."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from limner.cli.progress_bar import bar
from limner.errors import InputError

Out = Annotated[Path, typer.Option("--out", help="Folder to write to; an earlier run in it is continued.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")]


def directions(
    folder: Annotated[Path, typer.Argument(metavar="SET", help="A built set of synthetic faces.")],
    out: Annotated[Path, typer.Option("--out", help="Output .safetensors file.")],
    as_json: AsJson = False,
) -> None:
    """Fit directions in the generator's w space, each changing one factor (yaw, smile, light, age …)."""
    from limner.data.directions import fit_directions, read_measured

    w, factors, identity = read_measured(folder)
    found = fit_directions(w, factors, identity)
    found.save(out)
    if as_json:
        print(json.dumps(found.facts))
        return
    for name, facts in found.facts["held_out"].items():
        print(f"{name:<12} R² {facts['r2']:.2f} on held-out faces, of {facts['faces']:,}")
    print(f"directions: {out}")


def shape(
    folders: Annotated[list[Path], typer.Argument(metavar="SET…", help="Built sets of faces.")],
    out: Annotated[Path, typer.Option("--out", help="Output .safetensors file.")],
    as_json: AsJson = False,
) -> None:
    """Fit the linear face shape model (identity and expression bases) on the meshes of built sets."""
    from limner.data.fit_shape import fit_sets

    facts = fit_sets(folders, out)
    print(json.dumps(facts) if as_json else "\n".join(f"{name} {value}" for name, value in facts.items()))


def pairs(
    out: Out,
    count: Annotated[int, typer.Option("--people", min=1, help="Number of synthetic people to try.")] = 1000,
    start: Annotated[int, typer.Option(min=0, help="Index of the first synthetic person.")] = 0,
    from_folders: Annotated[
        Path | None,
        typer.Option(help="Use videos or frames in DIR/<person>/ instead of synthetic people (extra `video`)."),
    ] = None,
    variants: Annotated[
        int | None,
        typer.Option(min=2, help="Pictures per person. Default: 4 for synthetic people, at most 8 from videos."),
    ] = None,
    limit: Annotated[float, typer.Option(help="Maximum identity distance between pictures of one person.")] = 0.5,
    differs: Annotated[float, typer.Option(help="Minimum change of motion or light, in standard deviations.")] = 0.5,
    moved: Annotated[float, typer.Option(help="Probability of changing each factor of a synthetic picture.")] = 0.4,
    every: Annotated[float, typer.Option(help="Seconds between the frames taken from a video.")] = 0.5,
    stride: Annotated[int, typer.Option(min=1, help="Frames between those taken from a folder of frames.")] = 12,
    frames: Annotated[int, typer.Option(min=1, help="Maximum number of frames per clip.")] = 40,
    min_size: Annotated[int, typer.Option(min=16, help="Minimum width of a face in a video, in pixels.")] = 64,
    size: Annotated[
        int, typer.Option(help="Side of the pictures: 256, 512 or 1024. Above 256, smaller faces are skipped.")
    ] = 256,
    directions_from: Annotated[
        str, typer.Option("--directions", help="File of `limner data directions`, or a name from `limner models list`.")
    ] = "synth-directions",
    licence: Annotated[str | None, typer.Option(help="Licence of the videos.")] = None,
    shares: Annotated[str, typer.Option(help="Percentage of people in train/validation/test.")] = "90/5/5",
    seed: Annotated[int, typer.Option(help="Random seed of the motions.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes. Default: one per core.")] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Rebuild blocks that other settings or code made.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep blocks that other code or weights made; build only missing ones.")
    ] = False,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet to this PNG file.")] = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw plots into OUT/show (extra `eval`).")] = True,
    as_json: AsJson = False,
) -> None:
    """Build a pair set: pictures of one person with different motion and light, synthetic or from videos."""
    from limner.cli.data import parse_shares
    from limner.data import synthetic_pairs, video_people
    from limner.data.build import build
    from limner.data.stages import RecordSettings

    splits = parse_shares(shares)
    record = RecordSettings(captions=1, prompts=2, questions=2, shares=splits, min_size=min_size, size=size)
    chosen: dict[str, Any] = {"limit": limit, "differs": differs, "seed": seed, "record": record}
    if from_folders is not None:
        settings = video_people.VideoSettings(
            variants=variants or 8, every=every, stride=stride, frames=frames, **chosen
        )
        items, build_spec = video_people.find_people(from_folders, licence), video_people.build_spec()
    else:
        settings = synthetic_pairs.PairSettings(variants=variants or 4, moved=moved, **chosen)
        items = [synthetic_pairs.SyntheticPerson(index) for index in range(start, start + count)]
        build_spec = synthetic_pairs.build_spec(directions_from)
    began, made = time.monotonic(), [0, 0]
    with bar("making pairs") as show:

        def told(now: Any) -> None:
            show(now.done, now.total, note=f"{now.rows} pictures" + (f", {now.errors} dropped" if now.errors else ""))
            made[:] = now.done - now.kept, now.rows

        manifest = build(items, out, settings, workers, rebuild, told, build_spec=build_spec, keep=keep)
    took = time.monotonic() - began
    if not manifest["rows"]:
        raise InputError(f"no person has two usable pictures: see {out / 'errors.jsonl'} for why")
    if not as_json:
        rate = f", {made[1] / took:.2f} pictures kept a second" if made[1] else ""
        print(f"{made[0]} people in {took:.0f} s{rate}; {manifest['rows']} pictures in {out}")
    report(out, out / "show", sheet, plots, as_json)


def report(folder: Path, place: Path, sheet: Path | None, plots: bool, as_json: bool = False) -> None:
    """Numbers of a pair set to the screen and to `place`, with plots there; a contact sheet where `sheet` says."""
    from importlib.util import find_spec

    from limner.data.pair_report import pair_sheet, summarise, write_pair_plots
    from limner.faces.picture import save_png
    from limner.files import write_json_atomic

    numbers = summarise(folder)
    write_json_atomic(place / "pairs.json", numbers)
    if sheet is not None:
        save_png(sheet, pair_sheet(folder))
    if plots and find_spec("matplotlib") is None:
        typer.echo("plots are skipped: they need the package 'matplotlib' (`pip install 'limner[eval]'`)", err=True)
    elif plots:
        write_pair_plots(folder, place)
    if as_json:
        print(json.dumps(numbers))
        return
    print(
        f"{numbers['people']} people, {numbers['pictures']} pictures, {numbers['pairs']} pairs; "
        f"{numbers['survived']:.0%} of the moved pictures kept"
    )
    for reason, number in numbers["dropped"].items():
        print(f"  dropped {number}: {reason}")
    print("factor        pictures (5 % .. 95 %)    change within pairs (median, 95 %)")
    for name, covered in numbers["covered"].items():
        change = numbers["change_within_pairs"][name]
        if covered and change:
            low, high, middle, most = covered["p5"], covered["p95"], change["p50"], change["p95"]
            print(f"{name:<12} {low:>9.2f} .. {high:<9.2f} {middle:>12.2f} {most:>9.2f}")
