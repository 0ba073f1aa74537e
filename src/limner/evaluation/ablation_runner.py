"""Ablations at a small budget: cells that differ in one thing, each trained once for every seed, averaged and drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from limner.errors import InputError
from limner.files import atomic_write
from limner.training.checkpoint import find_checkpoints
from limner.training.config import TrainingConfig, check_same_run
from limner.training.loop import train
from limner.training.run_log import read_run_log
from limner.training.task import Task

Report = Callable[[str, dict[str, Any]], None]
"""(variant and seed, log line)."""
Made = TypeVar("Made", bound=Task)
PUBLISHED = {"fid": "FID", "desc": "Desc"}
"""What papers report of their ablations: our name and theirs."""


@dataclass(frozen=True)
class Variant:
    """One row: its name, the table it belongs to, and what of the recipe's [task] it changes.

    published: what the paper reports for it, by the names in ``PUBLISHED``. same_as: the variant that asks for the same
    training and has its cell trained for both.
    """

    name: str
    table: str
    task: dict[str, Any]
    published: dict[str, float] = field(default_factory=dict)
    same_as: str | None = None

    @property
    def cell(self) -> str:
        """Name of the cell that is trained for it."""
        return self.same_as or self.name


def choose(variants: Sequence[Variant], names: Iterable[str]) -> list[Variant]:
    """Variants by name or table; all for no names. ``InputError`` for a name that is none."""
    known = {v.name: [v] for v in variants}
    for table in tables(variants):
        known[table] = [v for v in variants if v.table == table]
    chosen: list[Variant] = []
    for name in names:
        if name not in known:
            raise InputError(f"there is no variant {name!r}: choose among {', '.join(known)}")
        chosen += known[name]
    return chosen or list(variants)


def tables(variants: Iterable[Variant]) -> list[str]:
    """Their tables, each once, in order."""
    return list(dict.fromkeys(v.table for v in variants))


def train_cell(
    variant: Variant,
    config: TrainingConfig,
    make: Callable[[dict[str, Any], int, int], Made],
    seed: int,
    runs: Path,
    weights: str,
    report: Report,
) -> tuple[Made, Path, dict[str, float]]:
    """Train one cell below ``runs``, or go on with it; a finished one is left as it is.

    make: of the task, from its settings, batch size and seed. weights: the file in a run's folder that ends it.
    Returns the task, the run's folder and what it was last validated with. ``InputError`` for a run of another recipe.
    """
    name = f"{variant.cell.replace(' ', '-').replace('α-=-', '')}-{seed}".lower()
    sizes = {**config.task.get("model", {}), **variant.task.get("model", {})}
    table = {**config.task, **variant.task, "model": sizes}
    changed = config.model_copy(update={"task": table, "train": config.train.model_copy(update={"seed": seed})})
    folder = runs / name
    check_same_run(folder, changed)
    task = make(table, config.train.batch_size, seed)
    found = find_checkpoints(folder / "checkpoints")
    if not (found and found[-1].step >= config.train.steps and (folder / weights).is_file()):
        train(task, changed, folder, resume=bool(found), report=lambda line: report(name, line))
    validated = [line for line in read_run_log(folder / "log.jsonl") if line["kind"] == "validate"]
    return task, folder, validated[-1]


def summarise(results: Mapping[str, Sequence[Mapping[str, float | None]]], figures: Sequence[str]) -> dict[str, Any]:
    """Variant → figure → mean over seeds, lowest, highest, spread (highest − lowest) and the values themselves."""
    summary: dict[str, Any] = {}
    for name, runs in results.items():
        summary[name] = {}
        for figure in figures:
            values = [value for run in runs if (value := run.get(figure)) is not None]
            if values:
                low, high = min(values), max(values)
                found = {"mean": float(np.mean(values)), "low": low, "high": high, "spread": high - low}
                summary[name][figure] = {**found, "values": values}
    return summary


def markdown(summary: Mapping[str, Any], variants: Sequence[Variant], figures: Sequence[str]) -> str:
    """The tables as Markdown: mean (lowest – highest) over seeds, and what the paper reports in columns of its own.

    Its figures are of another scale: only the order compares.
    """
    lines = []
    for table in tables(variants):
        rows = [v for v in variants if v.table == table and v.name in summary]
        if not rows:
            continue
        shown = [f for f in figures if any(f in summary[v.name] for v in rows)]
        paper = [name for name in PUBLISHED if any(name in v.published for v in rows)]
        heads = [*shown, *(f"paper's {PUBLISHED[name]}" for name in paper)]
        lines += [f"| {' | '.join([table, *heads])} |", "|---" * (len(heads) + 1) + "|"]
        for v in rows:
            cells = [_cell(summary[v.name].get(figure)) for figure in shown]
            cells += [str(v.published.get(name, "–")) for name in paper]
            lines.append(f"| {' | '.join([v.name, *cells])} |")
        lines.append("")
    return "\n".join(lines)


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    return f"{found['mean']:.3f}" + (f" ({found['low']:.3f} – {found['high']:.3f})" if len(found["values"]) > 1 else "")


def draw(summary: Mapping[str, Any], variants: Sequence[Variant], figures: Sequence[str], file: Path) -> None:
    """Bars of every figure, tables side by side, a dot a seed. (.png, .svg, .pdf)"""
    from matplotlib.figure import Figure

    drawn = [v for v in variants if v.name in summary]
    columns = tables(drawn)
    shown = [f for f in figures if any(f in found for found in summary.values())]
    figure = Figure(figsize=(5 * len(columns), 2.4 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), len(columns), squeeze=False)
    for column, table in enumerate(columns):
        names = [v.name for v in drawn if v.table == table]
        for row, name in enumerate(shown):
            axis = axes[row][column]
            found = [summary[variant].get(name, {"mean": np.nan, "values": []}) for variant in names]
            axis.bar(range(len(names)), [f["mean"] for f in found], color="#9bb7d4")
            for place, f in enumerate(found):
                axis.plot([place] * len(f["values"]), f["values"], "k.")
            every = [value for f in found for value in f["values"]]
            if every:
                room = (max(every) - min(every)) or 1.0
                axis.set_ylim(min(every) - room, max(every) + 0.3 * room)
            axis.set_xticks(range(len(names)), names, rotation=20, ha="right")
            axis.set_ylabel(name)
    with atomic_write(file) as temporary:
        figure.savefig(temporary, dpi=120)
