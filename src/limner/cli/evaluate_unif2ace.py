"""`limner evaluate unif2ace…`: answers, captions and generation; ablations; expert usage."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from limner.cli.ablation import run_cells
from limner.cli.progress_bar import bar
from limner.cli.result_file import keep, store
from limner.cli.terminal import console
from limner.errors import InputError

SUITES = ("answers", "phrasings", "refusals", "captions", "painting", "prompted")
Out = Annotated[Path, typer.Option(help="Folder for the JSON result.")]
RESULTS = Path("results")


def unif2ace(
    faces: Annotated[Path, typer.Argument(metavar="SET", help="Built set; its held-out faces are used.")],
    suite: Annotated[str, typer.Option(help=f"{', '.join(SUITES[:-1])} or {SUITES[-1]}.")] = "answers",
    count: Annotated[
        int, typer.Option(min=0, help="Number of faces, 0 uses all; painting: number of prompts, 0 uses 200.")
    ] = 0,
    unseen: Annotated[
        int | None,
        typer.Option("--faces", min=0, help="Painting: faces for the Fréchet distance; 0 uses all."),
    ] = None,
    weights: Annotated[str, typer.Option(help="Weights: a registry name or a path.")] = "unif2ace-nano",
    steps: Annotated[int, typer.Option(help="Sampling steps.")] = 18,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale. Default: from the weights.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Sampling temperature. Default: from the weights (leap: 1).")
    ] = None,
    sampler: Annotated[str, typer.Option(help="Sampler: confidence or leap.")] = "confidence",
    best: Annotated[
        int | None,
        typer.Option(min=1, help="Candidates per prompt; the one that best matches the prompt counts."),
    ] = None,
    texts: Annotated[
        str | None,
        typer.Option(help="Answers, captions, painting: texts of the source (carried), of the grammar, or both."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    log: Annotated[Path | None, typer.Option(help="Also write every question, caption or prompt to this file.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also write a sheet of the first samples.")] = None,
    judge_files: Annotated[
        Path | None, typer.Option(help="Also write the inputs of `limner evaluate judge` into this folder.")
    ] = None,
    plot: Annotated[
        bool | None, typer.Option("--plot/--no-plot", help="Plot the result. Default: on with --out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON result. Default: results.")] = None,
) -> None:
    """Evaluate UniF²ace on held-out people.

    answers: accuracy by kind of question, with the majority-answer baseline. phrasings: the same for questions in
    held-out wordings. refusals: refusal rate on unanswerable questions about held-out topics. captions: precision and
    recall of claimed attributes, diversity and length. painting: prompt alignment, and Fréchet distance to held-out
    faces. prompted: answers about age and sex of generated portraits, compared with their prompts (prompts.csv or
    labels.csv in the source folders of the set, below LIMNER_DATA).
    """
    if texts is not None:
        from limner.data.texts import check_choice

        check_choice(texts)
        if suite not in ("answers", "captions", "painting"):
            raise InputError("--texts is for --suite answers, captions or painting: leave it out")
    if suite not in SUITES:
        raise InputError(f"--suite {suite}: choose {', '.join(SUITES)}")
    if suite != "painting":
        given = {
            "--faces": unseen, "--guidance": guidance, "--temperature": temperature, "--best": best, "--sheet": sheet,
        }  # fmt: skip
        if unfit := [name for name, value in given.items() if value is not None]:
            raise InputError(f"{unfit[0]} is for --suite painting: leave it out")
    from limner.evaluation.llm_judge_files import FILES, PromptGallery, write_texts
    from limner.evaluation.unif2ace_report import bars, draw_bars, published_for
    from limner.faces.data_folders import data_root
    from limner.models.unif2ace.engine import UniF2ace

    if judge_files is not None and suite not in FILES:
        raise InputError(f"--judge-files: choose --suite {', '.join(FILES)}, which judges can read")
    if plot and find_spec("matplotlib") is None:
        raise InputError("--plot needs the package 'matplotlib': `pip install 'limner[eval]'`")
    engine, folder = UniF2ace.load(weights), data_root() / faces
    settings: dict[str, Any] = {"weights": weights, "set": str(faces), "count": count}
    if texts is not None:
        settings["texts"] = texts
    told: list[str] = []
    if suite == "painting":
        from limner.evaluation.unif2ace_generation import paint_suite

        chosen = {"guidance": guidance, "temperature": temperature, "best": best}
        painting = {"steps": steps, "sampler": sampler, **{k: v for k, v in chosen.items() if v is not None}}
        gallery = None if judge_files is None else PromptGallery(judge_files)
        keeping = None if gallery is None else gallery.add
        with bar("painting") as progress:
            figures, entries, drawn = paint_suite(
                engine, folder, count, unseen or 0, seed, painting, progress, keeping, texts or "grammar"
            )
        settings |= {"faces": unseen or 0, **painting}
        if gallery is not None:
            told.append(f"for judges: {gallery.write()}")
        if sheet is not None:
            from limner.faces.picture import save_picture

            save_picture(sheet, drawn)
            told.append(f"sheet in {sheet}")
    elif suite == "prompted":
        from limner.evaluation.prompt_answers import measure_prompted

        with bar(suite) as progress:
            figures, entries = measure_prompted(engine, folder, data_root(), count, seed, progress)
    elif suite in ("phrasings", "refusals"):
        from limner.evaluation.paraphrase_robustness import measure_phrasings
        from limner.evaluation.refusal_rate import measure_refusals

        measure_words = measure_phrasings if suite == "phrasings" else measure_refusals
        with bar(suite) as progress:
            figures, entries = measure_words(engine, folder, count, seed, progress)
    else:
        from limner.evaluation.answer_accuracy import measure_answers, measure_captions

        measure = measure_answers if suite == "answers" else measure_captions
        with bar(suite) as progress:
            figures, entries = measure(engine, folder, count, progress, texts or "both")
        if judge_files is not None:
            told.append(f"for judges: {write_texts(judge_files, suite, entries)}")
    if log is not None:
        from limner.files import write_json_atomic

        write_json_atomic(log, entries)
    seeded = suite in ("painting", "phrasings", "prompted", "refusals")
    settings["published"] = published_for(suite)
    kind = suite if best in (None, 1) else f"{suite}-best-{best}"
    path = (out or RESULTS) / f"unif2ace-{kind}.{folder.resolve().name}.json"
    result = keep(path, figures, seed if seeded else None, settings)
    if plot or (plot is None and out is not None and find_spec("matplotlib") is not None):
        draw_bars(bars(suite, figures), path.with_suffix(".png"))
        told.append(f"drawn in {path.with_suffix('.png')}")
    if as_json:
        print(json.dumps(result["figures"], indent=2))
        return
    _print_table(suite, result["figures"])
    print("\n".join([*told, f"stored in {path}"]))


def _print_table(suite: str, figures: dict[str, Any]) -> None:
    from rich.table import Table

    from limner.evaluation.published import published
    from limner.evaluation.unif2ace_report import MODEL, PUBLISHED, table_rows

    table = Table("figure", "ours", f"{MODEL}, published", box=None, pad_edge=False, header_style="bold")
    for row in table_rows(suite, figures):
        table.add_row(*row)
    console().print(table)
    if PUBLISHED[suite]:
        found = published()
        print(f"published: {found['set']}; other set, other judges and features: no number-by-number comparison")


def unif2ace_experts(
    data: Annotated[Path, typer.Argument(metavar="PREPARED", help="Prepared set; its held-out faces are used.")],
    weights: Annotated[
        Path,
        typer.Option(help="A registry name, exported weights, or the folder of a run (newest checkpoint)."),
    ] = Path("unif2ace-nano"),
    faces: Annotated[int, typer.Option(min=1, help="Number of held-out faces.")] = 128,
    plot: Annotated[Path, typer.Option(help="File of the plot.")] = Path("docs/images/unif2ace-experts.png"),
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    out: Out = RESULTS,
) -> None:
    """Plot expert usage by layer and task, on both levels."""
    from limner.evaluation.expert_usage import draw_experts, load_model, measure_experts
    from limner.faces.data_folders import data_root
    from limner.models.unif2ace.prepared import PreparedConversations

    shares = measure_experts(load_model(weights), PreparedConversations.open(data_root() / data), faces, seed)
    draw_experts(shares, plot)
    store(out / "unif2ace-experts.json", shares, seed, {"weights": str(weights), "set": str(data), "faces": faces})
    print(f"drawn in {plot}")


def unif2ace_ablation(
    config: Annotated[Path, typer.Argument(help="Training config of one cell.")] = Path(
        "configs/unif2ace-ablation.toml"
    ),
    variants: Annotated[
        list[str] | None,
        typer.Option("--variant", help="Variant, or group of variants (loss, experts). Repeatable. Default: all."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds per variant.")] = 2,
    paint: Annotated[
        int, typer.Option(min=0, help="Held-out faces for generation and captioning per cell; 0 compares only losses.")
    ] = 128,
    runs: Annotated[Path, typer.Option(help="Folder of the runs; finished runs are reused.")] = Path(
        "runs/unif2ace-ablation"
    ),
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, as in `limner train`.")
    ] = None,
    plot: Annotated[Path, typer.Option(help="File of the plot.")] = Path("docs/images/unif2ace-ablation.png"),
    out: Out = RESULTS,
) -> None:
    """The paper's ablations of loss and experts, at a small budget.

    Reports held-out losses, Fréchet and kernel distance, prompt alignment and caption F1 (instead of Desc) of each
    cell, and whether the ranking agrees with the paper's. Interrupted runs continue from their checkpoints.
    """
    from limner.evaluation.ablation_order import compare_orders, spell_orders
    from limner.evaluation.ablation_runner import choose, draw, markdown, summarise
    from limner.evaluation.unif2ace_ablation import COMPARED, FIGURES, VARIANTS, run_variant
    from limner.training.config import read_training_config

    parsed, chosen = read_training_config(config, set_), choose(VARIANTS, variants or [])
    if paint == 1:
        raise InputError("--paint 1: a Fréchet distance needs at least two paintings; 0 for none")
    first = parsed.train.seed
    results = run_cells(
        chosen,
        seeds,
        runs,
        lambda variant, seed, report: run_variant(variant, parsed, first + seed, runs, paint, report),
    )
    summary = summarise(results, FIGURES)
    orders = compare_orders(summary, VARIANTS, COMPARED)
    draw(summary, VARIANTS, FIGURES, plot)
    settings = {"config": parsed.model_dump(), "seeds": seeds, "paint": paint}
    store(out / "unif2ace-ablation.json", {"cells": summary, "paper_order": orders}, first, settings)
    print(markdown(summary, VARIANTS, FIGURES))
    print(spell_orders(orders))
    print(f"drawn in {plot}")
