"""`limner data write`: the words of a built set written anew, by the grammar or by models."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli.progress_bar import bar
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.chat.budget import Estimate, Ledger
    from limner.chat.endpoint import Endpoint
    from limner.chat.journal import Journal
    from limner.chat.session import Session

SAMPLE = 16  # faces an estimate looks at
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first N rows.")]
Threads = Annotated[int, typer.Option("--concurrency", min=1, max=256, help="Concurrent requests.")]
Rpm = Annotated[float | None, typer.Option("--rpm", help="Rate limit per endpoint, in requests per minute.")]
Tpm = Annotated[float | None, typer.Option("--tpm", help="Rate limit per endpoint, in tokens per minute.")]
Timeout = Annotated[float, typer.Option(help="Timeout of a request in seconds.")]
Tries = Annotated[int, typer.Option(min=1, help="Maximum attempts per request.")]
MaxCost = Annotated[
    float | None, typer.Option(min=0, help="Maximum cost, including earlier runs into the same folder.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation before the first request.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the cost estimate and exit.")]
Prompts = Annotated[
    Path | None, typer.Option(help="Folder of prompt files that replace the built-in ones of the same name.")
]


def write(
    folder: Annotated[Path, typer.Argument(metavar="SET", help="A built set.")],
    out: Annotated[Path, typer.Option("--out", help="Output set; an interrupted run is continued.")],
    vlm: Annotated[
        str | None, typer.Option(help="Vision-language model. Default: texts come from the grammar.")
    ] = None,
    llm: Annotated[str | None, typer.Option(help="Language model for questions. Default: the VLM.")] = None,
    questions: Annotated[
        int | None, typer.Option(min=1, help="Questions per face. Default: 8 by models, 10 by the grammar.")
    ] = None,
    captions: Annotated[int, typer.Option(min=1, help="Captions per face by the grammar; models write one.")] = 5,
    seed: Annotated[int, typer.Option(help="Random seed of the grammar.")] = 0,
    limit: Limit = None,
    concurrency: Threads = 8,
    rpm: Rpm = None,
    tpm: Tpm = None,
    timeout: Timeout = 120.0,
    tries: Tries = 6,
    vlm_price: Annotated[
        str | None,
        typer.Option(metavar="IN/OUT", help="Price of the VLM per million input/output tokens, e.g. 0.15/0.60."),
    ] = None,
    llm_price: Annotated[str | None, typer.Option(metavar="IN/OUT", help="Price of the LLM, as --vlm-price.")] = None,
    max_cost: MaxCost = None,
    prompts: Prompts = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Rewrite captions and questions of a set, with the grammar or with models behind OpenAI-compatible endpoints.

    LIMNER_VLM_URL and LIMNER_VLM_KEY configure the VLM endpoint (…_PRICE, …_EXTRA: see docs/data.md), LIMNER_LLM_… the
    LLM endpoint, which defaults to the VLM's.
    """
    from limner.data.caption_writers import RuleWriter
    from limner.data.recaption import write_set
    from limner.data.shards import read_shards

    total = min(read_shards(folder, ["id"]).num_rows, limit or sys.maxsize)
    if not total:
        raise InputError(f"{folder} has no rows")
    source = json.loads((folder / "manifest.json").read_text("utf-8")).get("files", {})
    origin = {name: found["sha256"][:16] for name, found in source.items()}
    if vlm is None:
        if llm is not None:
            raise InputError("--llm needs --vlm: the LLM writes questions about the descriptions of the VLM")
        rules = RuleWriter(captions=captions, questions=questions or 10, seed=seed)
        made = {"by": "rules", "captions": captions, "questions": questions or 10, "seed": seed, "source": origin}
        with _bar(total) as show:
            manifest = write_set(folder, out, rules, made, 1, limit, show)
        _report(manifest, out)
        return
    patience = {"requests_per_minute": rpm, "tokens_per_minute": tpm, "timeout": timeout, "tries": tries}
    _write_by_models(
        folder, out, vlm, llm, questions or 8, limit, concurrency, patience, (vlm_price, llm_price), max_cost, prompts,
        yes, dry_run, total, origin,
    )  # fmt: skip


def _write_by_models(
    folder: Path, out: Path, vlm: str, llm: str | None, questions: int, limit: int | None, threads: int,
    patience: dict[str, Any], prices: tuple[str | None, str | None], max_cost: float | None, prompts: Path | None,
    yes: bool, dry_run: bool, total: int, origin: dict[str, str],
) -> None:  # fmt: skip
    from limner.chat.endpoint import Endpoint, Price
    from limner.chat.session import book_journal
    from limner.data.caption_writers import RuleWriter
    from limner.data.llm_writer import STAGES, ModelWriter
    from limner.data.recaption import ANSWERS, prepare_folder, read_set, subject_of, write_set

    price = [Price.parse(text) if text else None for text in prices]
    seeing = Endpoint.from_environment("vlm", vlm, None, price=price[0], **patience)
    asking = Endpoint.from_environment("llm", llm, seeing, price=price[1], **patience)
    with ExitStack() as stack:
        if not (out / "manifest.json").is_file():
            prepare_folder(out, {})
        sessions, journal, ledger = open_sessions(stack, out / ANSWERS, [seeing, asking], max_cost)
        writer = ModelWriter(sessions[0], sessions[1], RuleWriter(), questions, folder=prompts)
        answered = book_journal(journal, ledger, sessions)
        left = {stage: total - sum(1 for _, found in answered if found == stage) for stage in STAGES}
        subjects = [subject_of(row) for _, row in islice(read_set(folder, limit), SAMPLE)]
        estimates = writer.estimate(subjects, {stage: max(0, number) for stage, number in left.items()})
        if not agree(estimates, ledger, yes, dry_run):
            return
        made = {
            "by": "models",
            "vlm": {"model": seeing.model, "url": seeing.url, "extra": dict(seeing.extra)},
            "llm": {"model": asking.model, "url": asking.url, "extra": dict(asking.extra)},
            "prompts": {prompt.name: f"{prompt.version} {prompt.digest}" for prompt in writer.prompts()},
            "questions": questions,
            "source": origin,
        }

        def stop() -> None:
            for session in sessions:
                session.client.pace.stop()

        with _bar(total) as show:
            manifest = write_set(folder, out, writer, made, threads, limit, show, stop)
        spent = ledger.summary()
        tokens = ", ".join(f"{name} {number:,}" for name, number in spent["tokens"].items())
        print(f"answers: {len(journal):,} kept in {out / ANSWERS}; tokens: {tokens}; cost: {spent['cost']:.2f}")
        _report(manifest, out)


def open_sessions(
    stack: ExitStack, path: Path, endpoints: list[Endpoint], most: float | None
) -> tuple[list[Session], Journal, Ledger]:
    """One session for each endpoint over one journal and one ledger; `stack` closes them."""
    from limner.chat.budget import Ledger
    from limner.chat.endpoint import ChatClient
    from limner.chat.journal import Journal
    from limner.chat.session import Session

    journal, ledger = stack.enter_context(Journal(path)), Ledger(most)
    clients = [stack.enter_context(ChatClient(endpoint)) for endpoint in endpoints]
    return [Session(client, journal, ledger) for client in clients], journal, ledger


def agree(estimates: list[Estimate], ledger: Ledger, yes: bool, dry_run: bool) -> bool:
    """Show what it will cost and ask. False when the user does not want it; InputError when nobody can be asked."""
    from limner.chat.budget import check_estimates, show_estimates

    typer.echo(show_estimates(estimates), err=True)
    if ledger.cost:
        typer.echo(f"earlier runs here cost {ledger.cost:.2f}", err=True)
    check_estimates(estimates, ledger.most, ledger.cost)
    if dry_run:
        return False
    if yes or not any(estimate.requests for estimate in estimates):
        return True
    if not sys.stdin.isatty():
        raise InputError("the cost must be confirmed, but the input is not a terminal: pass --yes")
    return typer.confirm("Ask them?", err=True)


@contextmanager
def _bar(total: int) -> Iterator[Any]:
    with bar("writing") as show:
        yield lambda now: show(now.done, total, note=f"{now.refused} refused" if now.refused else "")


def _report(manifest: dict[str, Any], out: Path) -> None:
    print(f"{manifest['rows']} faces in {out}")
    if manifest["errors"]:
        print(f"{manifest['errors']} faces were refused words: see {out / 'errors.jsonl'}")
