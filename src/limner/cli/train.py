"""`limner train RECIPE`: one loop for everything that is trained here."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from limner.errors import InputError

# kind in a recipe's [task] table → where that task lives; a task is loaded only when a recipe asks for it
TASKS = {
    "parser": ("limner.faces.parse_task", "ParserTask"),
    "codec": ("limner.codecs.kl_task", "CodecTask"),
    "facex": ("limner.models.facex.task", "FaceXTask"),
    "facex-base": ("limner.models.facex.base_task", "FaceXBaseTask"),
    "lfq": ("limner.codecs.lfq_task", "LFQTask"),
    "mditface": ("limner.models.mditface.task", "MDiTFaceTask"),
    "unif2ace": ("limner.models.unif2ace.task", "UniF2aceTask"),
}


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, for example recipes/face-parser.toml.")],
    run: Annotated[
        Path | None, typer.Option(help="Folder for log, samples, checkpoints and weights. Default: runs/NAME.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint of the run.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a field: train.steps=1000.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print log lines as JSON instead of a progress bar.")] = False,
) -> None:
    """Train what a recipe describes. Stop with Ctrl-C; `--resume` goes on as if nothing had happened.

    The recipe's data paths start from the folder in the environment variable LIMNER_DATA (default: here).
    """
    from limner.training.loop import Interrupted
    from limner.training.loop import train as run_training
    from limner.training.memory import keep_freed_memory
    from limner.training.recipe import read_recipe

    keep_freed_memory()
    parsed = read_recipe(recipe, set_)
    folder = run or Path("runs") / parsed.name
    task = make_task(parsed.task, parsed.train.batch_size, parsed.train.seed)
    try:
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
    """The task that a recipe's [task] table names by `kind`. Raises InputError naming the known kinds or the field."""
    from pydantic import ValidationError

    kind = settings.get("kind")
    if kind not in TASKS:
        raise InputError(f"task.kind is {kind!r}; known kinds: {', '.join(sorted(TASKS))}")
    module, name = TASKS[kind]
    try:
        return getattr(importlib.import_module(module), name)(settings, batch_size, seed)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"task.{field}: {first['msg']} (got {first['input']!r})") from None


class _Display:
    """A progress bar with the loss, the speed and the time left; validations as lines above it."""

    def __init__(self, name: str, steps: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = ("{task.description}", BarColumn(), "{task.completed}/{task.total}", TimeElapsedColumn())
        self.progress = Progress(*(TextColumn(c) if isinstance(c, str) else c for c in columns))
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
            figures = {k: v for k, v in line.items() if k not in ("step", "kind", "time") and not k.startswith("f1.")}
            shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
            self.progress.console.print(f"step {line['step']}: {shown}")
