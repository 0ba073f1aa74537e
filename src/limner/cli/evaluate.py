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
    help="Evaluate weights; write tables and figures. Data paths are relative to LIMNER_DATA.",
)
app.add_typer(judge_app, name="judge")
app.add_typer(paper_app, name="paper")
Out = Annotated[Path, typer.Option(help="Folder for the JSON result.")]
Sheet = Annotated[
    Path | None,
    typer.Option(help="Also write a sheet (.png, .jpg) with pictures of the set; check their licence."),
]
Seed = Annotated[int, typer.Option(help="Random seed of noise and prompts.")]
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
    """Pixel accuracy and F1 of the region parser on 350 held-out photographs."""
    from limner.evaluation.parser_accuracy import evaluate_parser, parser_sheet

    figures = evaluate_parser(pairs, weights)
    store(out / "face-parser.json", figures, None, {"pairs": pairs, "weights": weights})
    if sheet is not None:
        picture(sheet, parser_sheet(pairs, weights))


@app.command()
def codec(
    pictures: Annotated[str, typer.Option(help="Folder of held-out faces.")] = "synth",
    last: Annotated[int, typer.Option(help="Use the last N pictures by name; 0 uses all.")] = 500,
    align: Annotated[bool, typer.Option("--align", help="Detect and align each face first.")] = False,
    weights: Engine = "kl-codec-nano",
    lpips: Annotated[str, typer.Option(help="LPIPS weights.")] = "lpips/alex.safetensors",
    attributes: Annotated[
        bool, typer.Option("--attributes", help="Also measure how many attributes survive (age, hair, glasses …).")
    ] = False,
    out: Out = RESULTS,
    sheet: Sheet = None,
) -> None:
    """PSNR, LPIPS, sharpness and decoding time of a codec; for a discrete codec also codebook usage."""
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
    count: Annotated[int, typer.Option(help="Number of held-out maps.")] = 300,
    words: Annotated[
        bool, typer.Option("--words", help="Also condition on prompts read from the photographs.")
    ] = False,
    weights: Engine = "mditface-nano",
    steps: Steps = 28,
    seed: Seed = 0,
    out: Out = RESULTS,
    sheet: Sheet = None,
) -> None:
    """Mask accuracy: generate from hand-drawn region maps, parse the pictures, compare."""
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
    count: Annotated[int, typer.Option(help="Number of prompts.")] = 500,
    weights: Engine = "mditface-nano",
    steps: Steps = 28,
    seed: Seed = 0,
    out: Out = RESULTS,
) -> None:
    """Prompt alignment: share of the attributes stated in prompts that the reader measures in the pictures."""
    from limner.evaluation.generation_metrics import follow_words
    from limner.models.mditface.engine import MDiTFace

    with bar("painting") as progress:
        figures, log = follow_words(MDiTFace.load(weights), count, seed, {"steps": steps}, progress)
    settings = {"weights": weights, "steps": steps, "prompts": log}
    store(out / "mditface-words.json", figures, seed, settings)


@app.command()
def fidelity(
    faces: Annotated[Path, typer.Argument(metavar="SET", help="Built set that the model was trained on.")],
    mode: Annotated[str, typer.Option(help="Condition on words, mask or both.")] = "both",
    count: Annotated[int, typer.Option(help="Number of held-out faces; 0 uses all.")] = 0,
    texts: Annotated[str, typer.Option(help="Texts: of the source (carried), of the grammar, or both.")] = "grammar",
    weights: Engine = "mditface-nano",
    steps: Steps = 28,
    seed: Seed = 0,
    out: Out = RESULTS,
    sheet: Sheet = None,
) -> None:
    """Fréchet and kernel distance to held-out faces, and similarity to the nearest training face."""
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
    count: Annotated[int, typer.Option(help="Number of pictures, in rows of eight.")] = 64,
    weights: Engine = "mditface-nano",
    steps: Steps = 28,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Output file.")] = Path("docs/images/mditface-samples.jpg"),
) -> None:
    """A sheet of uncurated samples for random prompts."""
    from limner.evaluation.generation_metrics import sample_sheet
    from limner.models.mditface.engine import MDiTFace

    with bar("painting") as progress:
        picture(out, sample_sheet(MDiTFace.load(weights), count, steps, seed, progress))


@app.command()
def watermark(
    pictures: Annotated[list[str], typer.Option(help="Folder of photographs. Repeatable.")],
    marked: Annotated[int, typer.Option(help="Number of pictures to watermark and attack.")] = 500,
    unmarked: Annotated[int, typer.Option(help="Number of unmarked pictures, for the false positive rate.")] = 2000,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    out: Out = RESULTS,
) -> None:
    """Detection rate of the watermark after each attack, false positive rate, and PSNR."""
    from limner.evaluation.watermark import evaluate_watermark

    with bar("looking for marks") as progress:
        figures = evaluate_watermark(pictures, marked, unmarked, seed, progress)
    settings = {"pictures": pictures, "marked": marked, "unmarked": unmarked}
    store(out / "watermark.json", figures, seed, settings)


@app.command()
def groups(
    pairs: Annotated[str, typer.Option(help="Folder of labelled faces.")] = "celebamask",
    count: Annotated[int, typer.Option(min=1, help="Number of held-out photographs.")] = 350,
    words: Annotated[Path, typer.Option(help="Result file of `limner evaluate words`.")] = RESULTS
    / "mditface-words.json",
    out: Out = RESULTS,
    document: Annotated[Path | None, typer.Option(help="Also write the tables into this document.")] = None,
) -> None:
    """Reading accuracy and prompt alignment by perceived gender, age and skin tone, as predicted by the reader."""
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
