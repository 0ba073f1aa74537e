"""`limner evaluate judge`: model-based metrics of pictures and texts, beside the published figures of UniF²ace."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli.data_recaption import DryRun, Limit, MaxCost, Prompts, Rpm, Threads, Timeout, Tpm, Tries, Yes
from limner.cli.progress_bar import bar
from limner.cli.result_file import store
from limner.cli.terminal import console
from limner.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from limner.chat.endpoint import Endpoint
    from limner.chat.session import Question

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Model-based metrics: VQAscore, CLIP score, KID, VLM-score, Desc, Conv.",
)
Pairs = Annotated[
    Path, typer.Argument(metavar="PAIRS", help="A .jsonl file with image and text on each line, or a built set.")
]
Split = Annotated[str | None, typer.Option(help="Split of a built set: train, validation or test. Default: all.")]
Column = Annotated[str, typer.Option(help="Texts of a built set: prompts or captions.")]
Folder = Annotated[Path, typer.Option("--model", help="Folder of a model in transformers format.")]
Out = Annotated[Path, typer.Option(help="Folder for the JSON result.")]
Model = Annotated[
    str | None, typer.Option("--model", help="Judge model at LIMNER_JUDGE_URL. Default: LIMNER_JUDGE_MODEL.")
]
PriceOption = Annotated[
    str | None, typer.Option("--judge-price", metavar="IN/OUT", help="Price per million input/output tokens.")
]
RESULTS = Path("results")


@app.command()
def vqascore(
    pairs: Pairs, model: Folder, split: Split = None, column: Column = "prompts", limit: Limit = None,
    out: Out = RESULTS,
) -> None:  # fmt: skip
    """VQAscore: probability that a VQA model answers "Yes" to whether the picture shows the text."""
    from limner.evaluation.image_text_pairs import read_pairs
    from limner.evaluation.llm_judge import summarise
    from limner.evaluation.vqascore import load_vqa_model, vqa_scores

    found = read_pairs(pairs, split, column, limit)
    with bar("judging") as progress:
        scores = vqa_scores(load_vqa_model(model), found, progress)
    settings = {"pairs": str(pairs), "model": model.name, "scores": dict(zip([pair.id for pair in found], scores))}
    place = _result(out, "vqascore", model.resolve().name, pairs)
    _store(place, summarise(scores), settings, "VQAscore-CF5", "VQAscore-LV")


@app.command()
def clip(
    pairs: Pairs, model: Folder, split: Split = None, column: Column = "prompts", limit: Limit = None,
    out: Out = RESULTS,
) -> None:  # fmt: skip
    """CLIP score: 100 times the cosine of picture and text embeddings."""
    from limner.evaluation.clip_score import ClipScorer
    from limner.evaluation.image_text_pairs import read_pairs
    from limner.evaluation.llm_judge import summarise

    found = read_pairs(pairs, split, column, limit)
    with bar("judging") as progress:
        scores = ClipScorer.load(model).score(found, progress)
    settings = {"pairs": str(pairs), "model": model.name, "scores": dict(zip([pair.id for pair in found], scores))}
    _store(_result(out, "clip", model.resolve().name, pairs), summarise(scores), settings)


@app.command()
def kid(
    painted: Annotated[Path, typer.Argument(metavar="PAINTED", help="Folder of pictures, or a built set.")],
    real: Annotated[Path, typer.Argument(metavar="REAL", help="Folder of pictures, or a built set.")],
    subsets: Annotated[int, typer.Option(min=1, help="Number of random subsets.")] = 100,
    size: Annotated[int, typer.Option(min=2, help="Pictures per subset.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the subsets.")] = 0,
    limit: Limit = None,
    out: Out = RESULTS,
) -> None:
    """Kernel distance (KID's estimator) and Fréchet distance of two sets, in EfficientNet-lite0's feature space."""
    from limner.evaluation.frechet import PROTOCOL, features, frechet_distance
    from limner.evaluation.frechet import kid as kernel

    one, other = (features(_pictures(place, limit)) for place in (painted, real))
    mean, deviation = kernel(one, other, subsets, size, seed)
    figures = {
        "protocol": PROTOCOL,
        "painted": len(one),
        "real": len(other),
        "kid_times_1000": 1000 * mean,
        "kid_times_1000_deviation": 1000 * deviation,
        "frechet": frechet_distance(one, other),
    }
    settings = {"painted": str(painted), "real": str(real), "subsets": subsets, "size": min(size, len(one), len(other))}
    _store(_result(out, "kid", None, painted, real), figures, settings, "FID", seed=seed, other="other features")


@app.command()
def vlm(
    pairs: Pairs, model: Model = None, split: Split = None, column: Column = "prompts", limit: Limit = None,
    out: Out = RESULTS, concurrency: Threads = 8, rpm: Rpm = None, tpm: Tpm = None, timeout: Timeout = 120.0,
    tries: Tries = 6, price: PriceOption = None, max_cost: MaxCost = None, prompts: Prompts = None, yes: Yes = False,
    dry_run: DryRun = False,
) -> dict[str, Any] | None:  # fmt: skip
    """VLM-score: a vision-language model rates from 0 to 100 how well pictures match their texts."""
    from limner.evaluation.image_text_pairs import read_pairs
    from limner.evaluation.llm_judge import picture_requests

    requests = picture_requests(read_pairs(pairs, split, column, limit), prompts)
    end = _judge(model, price, rpm, tpm, timeout, tries)
    return _ask("vlm", requests, end, pairs, out, concurrency, max_cost, prompts, yes, dry_run, "VLM-score")


@app.command()
def desc(
    answers: Annotated[Path, typer.Argument(metavar="FILE", help="A .jsonl file with answer and reference per line.")],
    model: Model = None, limit: Limit = None, out: Out = RESULTS, concurrency: Threads = 8, rpm: Rpm = None,
    tpm: Tpm = None, timeout: Timeout = 120.0, tries: Tries = 6, price: PriceOption = None, max_cost: MaxCost = None,
    prompts: Prompts = None, yes: Yes = False, dry_run: DryRun = False,
) -> dict[str, Any] | None:  # fmt: skip
    """Desc: a language model rates descriptions from 1 to 10 against references."""
    end = _judge(model, price, rpm, tpm, timeout, tries)
    requests = _texts("desc", answers, limit, prompts)
    return _ask(
        "desc", requests, end, answers, out, concurrency, max_cost, prompts, yes, dry_run, "Desc-GPT", "Desc-DS"
    )


@app.command()
def conv(
    answers: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .jsonl file with question, answer and reference on each line.")
    ],
    model: Model = None, limit: Limit = None, out: Out = RESULTS, concurrency: Threads = 8, rpm: Rpm = None,
    tpm: Tpm = None, timeout: Timeout = 120.0, tries: Tries = 6, price: PriceOption = None, max_cost: MaxCost = None,
    prompts: Prompts = None, yes: Yes = False, dry_run: DryRun = False,
) -> dict[str, Any] | None:  # fmt: skip
    """Conv: a language model rates answers to questions from 1 to 10 against references."""
    end = _judge(model, price, rpm, tpm, timeout, tries)
    requests = _texts("conv", answers, limit, prompts)
    return _ask(
        "conv", requests, end, answers, out, concurrency, max_cost, prompts, yes, dry_run, "Conv-GPT", "Conv-DS"
    )


@app.command()
def published(
    as_json: Annotated[bool, typer.Option("--json", help="Print all stored figures as JSON.")] = False,
) -> None:
    """Published figures of UniF²ace and its baselines."""
    from rich.table import Table

    from limner.evaluation.published import published as stored

    found = stored()
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    metrics = list(found["metrics"])
    table = Table("model", "parameters", *metrics, box=None, pad_edge=False, header_style="bold")
    for name, row in found["models"].items():
        table.add_row(name, row["parameters"], *(f"{row[m]:g}" if m in row else "–" for m in metrics))
    console().print(table)
    print(f"source: {found['source']}; {found['note']}")


def _judge(
    model: str | None, price: str | None, rpm: float | None, tpm: float | None, timeout: float, tries: int
) -> Endpoint:
    from limner.chat.endpoint import Endpoint, Price

    return Endpoint.from_environment(
        "judge",
        model,
        price=Price.parse(price) if price else None,
        requests_per_minute=rpm,
        tokens_per_minute=tpm,
        timeout=timeout,
        tries=tries,
    )


def _texts(rubric: str, answers: Path, limit: int | None, prompts: Path | None) -> list[Question]:
    from limner.evaluation.image_text_pairs import read_records
    from limner.evaluation.llm_judge import COLUMNS, text_requests

    return text_requests(rubric, read_records(answers, COLUMNS[rubric])[:limit], prompts)


def _ask(
    rubric: str, requests: list[Question], end: Endpoint, source: Path, out: Path, threads: int, most: float | None,
    prompts: Path | None, yes: bool, dry_run: bool, *metrics: str,
) -> dict[str, Any] | None:  # fmt: skip
    """Estimate, agree, ask, store the scores beside published ones, and return their summary; None when not agreed."""
    from limner.chat.prompts import load_prompt
    from limner.chat.session import book_journal
    from limner.cli.data_recaption import agree, open_sessions
    from limner.evaluation.llm_judge import estimate, judge, summarise

    with ExitStack() as stack:
        [session], journal, ledger = open_sessions(stack, out / f"judge-{rubric}.verdicts.jsonl", [end], most)
        book_journal(journal, ledger, [session])
        if not agree([estimate(session, requests)], ledger, yes, dry_run):
            return None
        with bar("judging") as progress:
            verdicts = judge(session, requests, threads, progress)
        spent = dict(ledger.summary())
    prompt = load_prompt(rubric, prompts)
    settings = {
        "source": str(source),
        "judge": end.model,
        "rubric": f"{rubric} {prompt.version} {prompt.digest}",
        "spent": spent,
        "verdicts": {verdict.id: [verdict.score, verdict.reason] for verdict in verdicts},
    }
    scores = [verdict.score for verdict in verdicts]
    summary = summarise(scores)
    _store(_result(out, rubric, end.model, source), summary, settings, *metrics)
    return summary


def _result(out: Path, measure: str, judge: str | None, *sources: Path) -> Path:
    """Where a result goes: its name says measure, judge and what was judged, so that none takes another's place.

    A folder or set goes by its name, a file by its folder's name and its own without the suffix.
    """
    parts = [] if judge is None else [judge]
    for source in (place.resolve() for place in sources):
        parts.append(source.name if source.is_dir() else f"{source.parent.name}-{source.stem}")
    name = ".".join(re.sub(r"[^\w.-]+", "-", part) for part in parts)
    return out / f"judge-{measure}.{name}.json"


def _store(
    path: Path, figures: dict[str, Any], settings: dict[str, Any], *metrics: str, seed: int | None = 0,
    other: str = "other judge",
) -> None:  # fmt: skip
    """Store what was measured, and print it with what is published beside it, never mixed.

    other: what, besides the set, the published figures were taken with that ours were not.
    """
    from limner.evaluation.published import published as stored
    from limner.evaluation.published import reference

    known = reference(*metrics)
    remarks = [
        f"published {metric}: {', '.join(f'{name} {figure:g}' for name, figure in models.items())}"
        for metric, models in known.items()
    ]
    if known:
        remarks.append(f"({stored()['source']}; other set and {other}: no number-by-number comparison)")
    store(path, figures, seed, {**settings, "published": known}, remarks)


def _pictures(place: Path, limit: int | None) -> np.ndarray:
    """Pictures of a folder or a built set at 256 px: (N, 256, 256, 3) uint8."""
    from itertools import islice

    import numpy as np

    from limner.data.shards import is_built, iterate
    from limner.faces.geometry import resize
    from limner.faces.picture import is_picture_name, read_picture

    if is_built(place):
        found = [read_picture(row["image"]["bytes"]) for row in islice(iterate(place, None, ["image"]), limit)]
    else:
        files = sorted(p for p in place.glob("*") if is_picture_name(p)) if place.is_dir() else []
        found = [read_picture(file) for file in files[:limit]]
    if not found:
        raise InputError(f"{place} holds no pictures: give a folder of pictures or a built set")
    return np.stack([x if x.shape[:2] == (256, 256) else resize(x, (256, 256)) for x in found])
