"""`limner evaluate unif2ace…`: answers, captions and paintings; ablations; the picture of experts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from limner.cli.bars import bar
from limner.cli.cells import run_cells
from limner.cli.stored import picture, store
from limner.errors import InputError

SUITES = ("answers", "captions", "painting", "prompted")
Out = Annotated[Path, typer.Option(help="Folder the result (JSON) is written to.")]
RESULTS = Path("results")


def unif2ace(
    faces: Annotated[Path, typer.Argument(metavar="SET", help="Built set whose held-out faces to measure on.")],
    suite: Annotated[str, typer.Option(help="answers, captions, painting or prompted.")] = "answers",
    count: Annotated[int, typer.Option(help="How many faces (painting: prompts, too); 0: all.")] = 0,
    weights: Annotated[str, typer.Option(help="Weights: a registry name or a path.")] = "unif2ace-nano",
    steps: Annotated[int, typer.Option(help="Sampling steps of paintings.")] = 18,
    guidance: Annotated[float | None, typer.Option(help="Guidance of paintings; default: the weights' own.")] = None,
    sampler: Annotated[str, typer.Option(help="Sampler of paintings: confidence or leap.")] = "confidence",
    seed: Annotated[int, typer.Option(help="Seed of prompts, paintings, and of questions about prompts.")] = 0,
    log: Annotated[Path | None, typer.Option(help="Also write every question, caption or prompt to this file.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw a sheet of the first paintings.")] = None,
    out: Out = RESULTS,
) -> None:
    """Measure UniF²ace on faces of people it never saw.

    answers: share right by kind of question, beside the commonest answer's. captions: precision and recall of what
    they claim, and how varied they are. painting: wishes granted, and the Fréchet distance to unseen faces. prompted:
    answers about age and sex of generated portraits, held against the words they were made from: prompts.csv or
    labels.csv in the folders, below LIMNER_DATA, that the set was built from.
    """
    if suite not in SUITES:
        raise InputError(f"--suite {suite}: choose {', '.join(SUITES)}")
    from limner.faces.folders import data_root
    from limner.models.unif2ace.engine import UniF2ace

    engine, folder = UniF2ace.load(weights), data_root() / faces
    settings: dict[str, Any] = {"weights": weights, "set": str(faces)}
    if suite == "painting":
        from limner.evaluation.unif2ace import paint_suite

        painting = {"steps": steps, "sampler": sampler} | ({} if guidance is None else {"guidance": guidance})
        with bar("painting") as progress:
            figures, entries, drawn = paint_suite(engine, folder, count, seed, painting, progress)
        settings |= painting
        if sheet is not None:
            picture(sheet, drawn)
    elif suite == "prompted":
        from limner.evaluation.prompted import measure_prompted

        with bar(suite) as progress:
            figures, entries = measure_prompted(engine, folder, data_root(), count, seed, progress)
    else:
        from limner.evaluation.answers import measure_answers, measure_captions

        measure = measure_answers if suite == "answers" else measure_captions
        with bar(suite) as progress:
            figures, entries = measure(engine, folder, count, progress)
    if log is not None:
        from limner.files import write_json_atomic

        write_json_atomic(log, entries)
    seeded = suite in ("painting", "prompted")
    store(out / f"unif2ace-{suite}.{folder.resolve().name}.json", figures, seed if seeded else None, settings)


def unif2ace_experts(
    data: Annotated[Path, typer.Argument(metavar="PREPARED", help="Prepared set whose held-out faces to route.")],
    weights: Annotated[Path, typer.Option(help="Exported weights, or the folder of a run (newest checkpoint).")],
    faces: Annotated[int, typer.Option(min=1, help="How many held-out faces.")] = 128,
    plot: Annotated[Path, typer.Option(help="Where to draw it.")] = Path("docs/images/unif2ace-experts.png"),
    seed: Annotated[int, typer.Option(help="Seed of masks and of the words chosen.")] = 0,
    out: Out = RESULTS,
) -> None:
    """Draw which experts each layer uses for each task, on both levels."""
    from limner.evaluation.experts import draw_experts, load_model, measure_experts
    from limner.faces.folders import data_root
    from limner.models.unif2ace.prepared import Prepared

    shares = measure_experts(load_model(weights), Prepared.open(data_root() / data), faces, seed)
    draw_experts(shares, plot)
    store(out / "unif2ace-experts.json", shares, seed, {"weights": str(weights), "set": str(data), "faces": faces})
    print(f"drawn in {plot}")


def unif2ace_ablation(
    recipe: Annotated[Path, typer.Argument(help="Budget of one cell.")] = Path("recipes/unif2ace-ablation.toml"),
    variants: Annotated[
        list[str] | None, typer.Option("--variant", help="A variant, or loss, or experts; may be given several times.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each.")] = 2,
    paint: Annotated[int, typer.Option(min=0, help="Paintings per cell for a Fréchet distance; 0: none.")] = 0,
    runs: Annotated[Path, typer.Option(help="Folder of the runs; finished ones are not trained again.")] = Path(
        "runs/unif2ace-ablation"
    ),
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As of `limner train`.")] = None,
    plot: Annotated[Path, typer.Option(help="Where to draw it.")] = Path("docs/images/unif2ace-ablation.png"),
    out: Out = RESULTS,
) -> None:
    """Train and compare the paper's ablations of loss and experts at a small budget, and draw them.

    Stop with Ctrl-C and start again at will: runs go on after their checkpoints.
    """
    from limner.evaluation.ablation import FIGURES, VARIANTS, run_variant
    from limner.evaluation.cells import choose, draw, markdown, summarise
    from limner.training.recipe import read_recipe

    parsed, chosen = read_recipe(recipe, set_), choose(VARIANTS, variants or [])
    first = parsed.train.seed
    results = run_cells(
        chosen,
        seeds,
        runs,
        lambda variant, seed, report: run_variant(variant, parsed, first + seed, runs, paint, report),
    )
    summary = summarise(results, FIGURES)
    draw(summary, VARIANTS, FIGURES, plot)
    store(out / "unif2ace-ablation.json", summary, first, {"recipe": parsed.model_dump(), "seeds": seeds})
    print(markdown(summary, VARIANTS, FIGURES))
    print(f"drawn in {plot}")
