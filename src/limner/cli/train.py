"""`limner train CONFIG`: one loop for everything that is trained here."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli.progress_bar import bar
from limner.cli.terminal import console
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.training.config import TrainingConfig

# `kind` in the [task] table → class of the task, imported when it is used
TASKS = {
    "parser": ("limner.faces.parse_task", "ParserTask"),
    "codec": ("limner.codecs.kl_task", "CodecTask"),
    "facex": ("limner.models.facex.task", "FaceXTask"),
    "facex-base": ("limner.models.facex.base_task", "FaceXBaseTask"),
    "lfq": ("limner.codecs.lfq_task", "LFQTask"),
    "mditface": ("limner.models.mditface.task", "MDiTFaceTask"),
    "unif2ace": ("limner.models.unif2ace.task", "UniF2aceTask"),
}
# `kind` → module whose `shape` gives the sizes for `--plan`
PLANS = {
    "facex": "limner.models.facex.memory_estimate",
    "mditface": "limner.models.mditface.memory_estimate",
    "unif2ace": "limner.models.unif2ace.memory_estimate",
}


def train(
    config: Annotated[Path, typer.Argument(help="Training config, for example configs/face-parser.toml.")],
    run: Annotated[
        Path | None, typer.Option(help="Run folder: log, samples, checkpoints, weights. Default: runs/NAME.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the newest checkpoint of the run.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. train.steps=1000. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print log lines as JSON instead of a progress bar.")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print parameters, memory and speed on typical devices, and exit.")
    ] = False,
    export: Annotated[
        bool, typer.Option("--export", help="Export the weights of the newest checkpoint, and exit.")
    ] = False,
) -> None:
    """Train a model from a training config. Ctrl-C stops a run, --resume continues it exactly.

    On several devices: `torchrun --nproc-per-node 8 -m limner train CONFIG`. Data paths in the config are relative to
    the environment variable LIMNER_DATA (default: the current folder).
    """
    from limner.training.config import read_training_config

    parsed = read_training_config(config, set_)
    if plan:
        return show_plan(parsed, as_json)
    from limner.training.loop import Interrupted
    from limner.training.loop import export as export_weights
    from limner.training.loop import train as run_training
    from limner.training.memory import keep_freed_memory

    keep_freed_memory()
    folder = run or Path("runs") / parsed.name
    reports = os.environ.get("RANK", "0") == "0"  # the first process does
    with bar("reading the data", shown=reports):
        task = make_task(parsed.task, parsed.train.batch_size, parsed.train.seed)
    if export:
        typer.echo(f"weights: {export_weights(task, parsed, folder)}")
        return
    try:
        if not reports:
            run_training(task, parsed, folder, resume=resume)
            return
        if as_json:
            weights = run_training(task, parsed, folder, resume=resume, report=lambda line: print(json.dumps(line)))
        else:
            with _Display(parsed.name, parsed.train.steps) as display:
                weights = run_training(task, parsed, folder, resume=resume, report=display.show)
    except Interrupted as stopped:
        typer.echo(f"{folder}: {stopped}", err=True)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps({"weights": str(weights)}))
    else:
        typer.echo(f"weights: {weights}")


def make_task(settings: dict[str, Any], batch_size: int, seed: int) -> Any:
    """The task of a [task] table, by its `kind`. Raises InputError naming the known kinds or the field."""
    kind = settings.get("kind")
    if kind not in TASKS:
        raise InputError(f"task.kind is {kind!r}; known kinds: {', '.join(sorted(TASKS))}")
    module, name = TASKS[kind]
    with _naming_fields():
        return getattr(importlib.import_module(module), name)(settings, batch_size, seed)


@contextmanager
def _naming_fields() -> Iterator[None]:
    """Bad values of a [task] table become one line that names the field."""
    from pydantic import ValidationError

    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"task.{field}: {first['msg']} (got {first['input']!r})") from None


def show_plan(config: TrainingConfig, as_json: bool) -> None:
    """Print what a training config needs, and whether and how fast it runs on typical devices."""
    from limner.training.memory_estimate import GB, plan, table

    kind = config.task.get("kind")
    if kind not in PLANS:
        raise InputError(f"--plan does not support task.kind = {kind!r}; supported: {', '.join(sorted(PLANS))}")
    with _naming_fields():
        shape = importlib.import_module(PLANS[kind]).shape(config.task)
    settings, needs = config.train, plan(shape, config.train)
    rows = table(shape, settings)
    parts = {name: getattr(needs, name) for name in ("weights", "gradients", "moments", "average", "activations")}
    if as_json:
        facts = {"parameters": needs.parameters, "trained": needs.trained, "tokens": needs.tokens, "flops": needs.flops}
        print(
            json.dumps(
                {
                    "config": config.name,
                    **facts,
                    "bytes_of_one_process": parts,
                    "host_bytes_of_one_process": needs.host,
                    "devices": rows,
                }
            )
        )
        return
    from rich.table import Table

    out = console()
    batch = settings.batch_size * settings.accumulate
    out.print(
        f"{config.name}: {needs.parameters / 1e6:,.1f} M parameters, {needs.trained / 1e6:,.1f} M trained; "
        f"{settings.steps:,} steps of {batch:,} samples of {needs.tokens:,} tokens, {needs.flops / 1e12:.3g} TFLOP each"
    )
    held = ", ".join(f"{name} {size / GB:.2f}" for name, size in parts.items())
    out.print(f"one process alone, in GB: {held}; together {needs.total / GB:.2f}")
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in (
        "device",
        "how many",
        f"GB each, {settings.strategy}",
        "GB of a host",
        "fits",
        "tokens/s",
        "samples/s",
        "days",
    ):
        shown.add_column(name, justify="left" if name == "device" else "right")
    for row in rows:
        fits = "no" if not row["fits"] else "yes" if row["even"] else "accumulate!"
        shown.add_row(
            row["device"], str(row["count"]), f"{row['gigabytes']:.1f}", f"{row['host_gigabytes']:.0f}", fits,
            f"{row['tokens_per_second']:,.0f}",
            f"{row['samples_per_second']:,.1f}", f"{row['days']:,.2f}",
        )  # fmt: skip
    out.print(shown)
    out.print("Estimates: 40 % of the makers' peak. accumulate!: fits, once train.accumulate is a multiple of it.")


class _Display:
    """A progress bar with the loss, the speed and the time left; validations as lines above it."""

    def __init__(self, name: str, steps: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = ("{task.description}", BarColumn(), "{task.completed}/{task.total}", TimeElapsedColumn())
        self.progress = Progress(
            *(TextColumn(c, markup=False) if isinstance(c, str) else c for c in columns), console=console()
        )
        self.bar = self.progress.add_task(name, total=steps)
        self.name = name

    def __enter__(self) -> _Display:
        self.progress.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self.progress.stop()

    def show(self, line: dict[str, Any]) -> None:
        """One log line."""
        if line["kind"] == "note":
            typer.echo(line["text"], err=True)
        elif line["kind"] == "train":
            text = f"{self.name}  loss {line['loss']:.4f}"
            if "samples_per_second" in line:
                hours, rest = divmod(int(line["seconds_left"]), 3600)
                text += f"  {line['samples_per_second']:.1f}/s  {100 * line['utilisation']:.0f} % of peak"
                text += f"  {hours}:{rest // 60:02d}:{rest % 60:02d} left"
            self.progress.update(self.bar, completed=line["step"], description=text)
        else:
            figures = {
                k: v
                for k, v in line.items()
                if k not in ("step", "kind", "time") and not k.startswith(("f1.", "share."))
            }
            shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
            self.progress.console.print(f"step {line['step']}: {shown}")
