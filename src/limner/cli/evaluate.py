"""`limner evaluate`: every figure in the documents comes from one of these commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limner.cli.evaluate_facex import facex, facex_ablation
from limner.cli.evaluate_paper import app as paper_app
from limner.cli.evaluate_unif2ace import unif2ace, unif2ace_ablation, unif2ace_experts
from limner.cli.judge import app as judge_app
from limner.cli.progress_bar import bar
from limner.cli.result_file import picture, store

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Measure weights and write tables and figures. Paths of data sets start from LIMNER_DATA.",
)
app.add_typer(judge_app, name="judge")
app.add_typer(paper_app, name="paper")
Out = Annotated[Path, typer.Option(help="Folder the result (JSON) is written to.")]
Sheet = Annotated[
    Path | None,
    typer.Option(help="Also draw a sheet (.png, .jpg) of the set's pictures: mind their licence."),
]
Seed = Annotated[int, typer.Option(help="Seed of noise and prompts.")]
Steps = Annotated[int, typer.Option(help="Sampling steps.")]
Engine = Annotated[str, typer.Option(help="Weights: a registry name or a path.")]
RESULTS = Path("results")


@app.command()
def parser(
    pairs: Annotated[str, typer.Option(help="Folder of labelled faces.")] = "celebamask",
    weights: Engine = "face-parser",
    out: Out = RESULTS,
    sheet: Sheet = None,
) -> None:
    """Pixel accuracy and F1 of the region parser on 350 photographs it has never seen."""
    from limner.evaluation.parser_accuracy import evaluate_parser, parser_sheet

    figures = evaluate_parser(pairs, weights)
    store(out / "face-parser.json", figures, None, {"pairs": pairs, "weights": weights})
    if sheet is not None:
        picture(sheet, parser_sheet(pairs, weights))


@app.command()
def codec(
    pictures: Annotated[str, typer.Option(help="Folder of faces the codec was not trained on.")] = "synth",
    last: Annotated[int, typer.Option(help="How many of its last pictures, by name; 0: all of them.")] = 500,
    align: Annotated[bool, typer.Option("--align", help="Find each face and cut it out aligned first.")] = False,
    weights: Engine = "kl-codec-nano",
    lpips: Annotated[str, typer.Option(help="LPIPS weights.")] = "lpips/alex.safetensors",
    attributes: Annotated[
        bool, typer.Option("--attributes", help="Also what of age, hair, glasses, … is still read afterwards.")
    ] = False,
    out: Out = RESULTS,
    sheet: Sheet = None,
) -> None:
    """PSNR, LPIPS, sharpness and decoding time of a codec; of a discrete one also how much of its codebook is used."""
    from limner.codecs.discrete import load_codec
    from limner.codecs.perceptual import LPIPS
    from limner.evaluation.codec_fidelity import attributes_kept, codec_sheet, evaluate_codec
    from limner.evaluation.face_sets import face_set
    from limner.faces.data_folders import data_root

    faces = face_set(pictures, last, align)
    loaded = load_codec(weights)
    figures = evaluate_codec(faces, loaded, LPIPS.load(data_root() / lpips))
    if attributes:
        from limner.faces.reader import FaceReader

        with bar("reading") as progress:
            figures["attributes_kept"] = attributes_kept(faces, loaded, FaceReader.load(), progress)
    name = f"{Path(weights).name}.{pictures.replace('/', '-')}"
    store(out / f"{name}.json", figures, None, {"pictures": pictures, "last": last, "align": align})
    if sheet is not None:
        picture(sheet, codec_sheet(faces[:6], loaded))


@app.command()
def masks(
    pairs: Annotated[str, typer.Option(help="Folder of labelled faces.")] = "celebamask",
    count: Annotated[int, typer.Option(help="How many unseen maps to repaint.")] = 300,
    words: Annotated[bool, typer.Option("--words", help="Also give words read from the photographs.")] = False,
    weights: Engine = "mditface-nano",
    steps: Steps = 28,
    seed: Seed = 0,
    out: Out = RESULTS,
    sheet: Sheet = None,
) -> None:
    """How well paintings follow hand-drawn region maps: repaint, parse again, compare."""
    from limner.evaluation.generation_metrics import follow_masks
    from limner.models.mditface.engine import MDiTFace

    with bar("repainting") as progress:
        figures, drawn = follow_masks(MDiTFace.load(weights), pairs, count, words, steps, seed, progress)
    name = f"mditface-masks{'-words' if words else ''}"
    store(out / f"{name}.json", figures, seed, {"pairs": pairs, "weights": weights, "steps": steps})
    if sheet is not None:
        picture(sheet, drawn)


@app.command()
def words(
    count: Annotated[int, typer.Option(help="How many prompts to paint.")] = 500,
    weights: Engine = "mditface-nano",
    steps: Steps = 28,
    seed: Seed = 0,
    out: Out = RESULTS,
) -> None:
    """How many of the wishes stated in prompts the analysers find again in the paintings."""
    from limner.evaluation.generation_metrics import follow_words
    from limner.models.mditface.engine import MDiTFace

    with bar("painting") as progress:
        figures, log = follow_words(MDiTFace.load(weights), count, seed, {"steps": steps}, progress)
    settings = {"weights": weights, "steps": steps, "prompts": log}
    store(out / "mditface-words.json", figures, seed, settings)


@app.command()
def fidelity(
    faces: Annotated[Path, typer.Argument(metavar="SET", help="Built set whose training faces the painter saw.")],
    mode: Annotated[str, typer.Option(help="Paint from words, mask, or both.")] = "both",
    count: Annotated[int, typer.Option(help="How many unseen faces to paint after; 0: all there are.")] = 0,
    texts: Annotated[str, typer.Option(help="Words of the source (carried), the grammar's, or both.")] = "grammar",
    weights: Engine = "mditface-nano",
    steps: Steps = 28,
    seed: Seed = 0,
    out: Out = RESULTS,
    sheet: Sheet = None,
) -> None:
    """Fréchet and kernel distance to unseen faces, and how like the nearest training face paintings are."""
    import numpy as np

    from limner.data.texts import check_choice
    from limner.errors import InputError
    from limner.evaluation.fidelity import (
        MODES,
        UNSEEN,
        measure_fidelity,
        neighbour_sheet,
        paint_set,
        read_pictures,
        read_set,
    )
    from limner.faces.data_folders import data_root
    from limner.models.mditface.engine import MDiTFace

    if mode not in MODES:
        raise InputError(f"--mode {mode}: choose {', '.join(MODES)}")
    folder = data_root() / faces
    unseen = read_set(folder, UNSEEN, count, check_choice(texts))
    seen = read_pictures(folder, "train")
    with bar("painting") as progress:
        painted = paint_set(MDiTFace.load(weights), unseen, mode, steps, seed, progress)
    figures, nearest = measure_fidelity(painted, np.stack([face.picture for face in unseen]), seen)
    settings = {"weights": weights, "mode": mode, "steps": steps, "training_faces": len(seen), "texts": texts}
    store(out / f"mditface-fidelity-{mode}.json", figures, seed, settings)
    if sheet is not None:
        picture(sheet, neighbour_sheet(painted, seen, nearest))


@app.command()
def samples(
    count: Annotated[int, typer.Option(help="How many pictures, in rows of eight.")] = 64,
    weights: Engine = "mditface-nano",
    steps: Steps = 28,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="The sheet.")] = Path("docs/images/mditface-samples.jpg"),
) -> None:
    """A sheet of uncurated paintings of drawn prompts."""
    from limner.evaluation.generation_metrics import sample_sheet
    from limner.models.mditface.engine import MDiTFace

    with bar("painting") as progress:
        picture(out, sample_sheet(MDiTFace.load(weights), count, steps, seed, progress))


@app.command()
def watermark(
    pictures: Annotated[list[str], typer.Option(help="Folder of photographs; may be given several times.")],
    marked: Annotated[int, typer.Option(help="How many to mark, attack and look at.")] = 500,
    unmarked: Annotated[int, typer.Option(help="How many to look at as they are.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the draw, the messages and the crops.")] = 0,
    out: Out = RESULTS,
) -> None:
    """How often the watermark is found again after each attack, false alarms, and PSNR."""
    from limner.evaluation.watermark import evaluate_watermark

    with bar("looking for marks") as progress:
        figures = evaluate_watermark(pictures, marked, unmarked, seed, progress)
    settings = {"pictures": pictures, "marked": marked, "unmarked": unmarked}
    store(out / "watermark.json", figures, seed, settings)


@app.command()
def groups(
    pairs: Annotated[str, typer.Option(help="Folder of labelled faces.")] = "celebamask",
    count: Annotated[int, typer.Option(min=1, help="How many of its unseen photographs to read.")] = 350,
    words: Annotated[Path, typer.Option(help="What `limner evaluate words` stored.")] = RESULTS / "mditface-words.json",
    out: Out = RESULTS,
    document: Annotated[Path | None, typer.Option(help="Also write the tables into this document.")] = None,
) -> None:
    """How well reading and painting do by perceived gender, age and skin tone. The groups are the reader's guesses."""
    from limner.errors import InputError
    from limner.evaluation.subgroups import fill, measure_painting, measure_reading
    from limner.files import write_bytes_atomic
    from limner.json_lines import parse_object

    if not words.is_file():
        raise InputError(f"{words} is not there: make it with `limner evaluate words`, or name another with --words")
    stored = parse_object(words.read_text(encoding="utf-8"), str(words))
    painting = measure_painting(stored.get("settings", {}).get("prompts", []))
    with bar("reading") as progress:
        reading = measure_reading(pairs, count, progress)
    settings = {"pairs": pairs, "count": count, "words": words.name, "words_commit": stored.get("commit")}
    result = store(out / "groups.json", {"reading": reading, "painting": painting}, None, settings)
    if document is not None:
        filled = fill(document.read_text(encoding="utf-8"), result["figures"])
        write_bytes_atomic(document, filled.encode("utf-8"))


app.command()(facex)
app.command()(facex_ablation)
app.command()(unif2ace)
app.command()(unif2ace_experts)
app.command()(unif2ace_ablation)
