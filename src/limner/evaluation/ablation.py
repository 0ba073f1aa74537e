"""The paper's ablations at a small budget: the same model, data and steps, with other losses and other experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.evaluation.ablation_cell import measure_cell
from limner.files import atomic_write, write_json_atomic
from limner.json_lines import parse_object
from limner.models.unif2ace.task import UniF2aceTask
from limner.training.checkpoint import find_checkpoints
from limner.training.journal import read_journal
from limner.training.loop import train
from limner.training.recipe import Recipe, check_same_run

Report = Callable[[str, dict[str, Any]], None]
"""(variant and seed, log line)."""


@dataclass(frozen=True)
class Variant:
    """One row of a table: its name, the table it belongs to, and what of the recipe's [task] it changes.

    published: what the paper reports for it: FID, and Desc where it does.
    """

    name: str
    table: str
    task: dict[str, Any]
    published: dict[str, float]

    @property
    def cell(self) -> str:
        """Name of the cell that is trained for it: rows that ask for the same training share one."""
        return next(v.name for v in VARIANTS if v.task == self.task)


def _loss(**weights: float) -> dict[str, Any]:
    """Another loss, with both levels of experts."""
    return {**_experts(True, True), **weights}


def _experts(token: bool, sequence: bool) -> dict[str, Any]:
    """Other experts, with the paper's loss."""
    model = {"token_experts": 8 if token else 0, "sequence_experts": sequence}
    return {"alpha": 0.01, "mask_weight": 1.0, "model": model}


VARIANTS = (
    Variant("mask only", "loss", _loss(alpha=0.0), {"fid": 77.463}),
    Variant("score only", "loss", _loss(mask_weight=0.0), {"fid": 69.694}),
    Variant("D3Diff α = 0.1", "loss", _loss(alpha=0.1), {"fid": 68.903}),
    Variant("D3Diff α = 0.01", "loss", _loss(alpha=0.01), {"fid": 66.005}),
    Variant("D3Diff α = 0.001", "loss", _loss(alpha=0.001), {"fid": 72.736}),
    Variant("no experts", "experts", _experts(False, False), {"fid": 72.877, "desc": 4.988}),
    Variant("token level", "experts", _experts(True, False), {"fid": 67.415, "desc": 5.678}),
    Variant("sequence level", "experts", _experts(False, True), {"fid": 69.312, "desc": 5.864}),
    Variant("both levels", "experts", _experts(True, True), {"fid": 66.005, "desc": 6.023}),
)

FIGURES = (
    "mask",
    "score",
    "answer",
    "frechet",
    "kernel_times_1000",
    "wishes",
    "caption_precision",
    "caption_recall",
    "caption_f1",
)
"""What is reported of each: held-out cross-entropy of masked codes, score entropy (a bound on −log p, both in nats),
cross-entropy of answers; and, if pictures are painted, what ``measure_cell`` says of them and of captions."""

COMPARED = {"fid": ("frechet", False), "desc": ("caption_f1", True)}
"""The paper's figure → ours that stands for it, and whether more is better. Scale, features and judges differ, so only
the order of the rows is compared."""

SPOKEN = {"fid": "FID", "desc": "Desc"}


def choose_variants(names: Sequence[str]) -> list[Variant]:
    """Variants by name or table; all for none. ``InputError`` for a name that is none."""
    known = {v.name: [v] for v in VARIANTS}
    for table in ("loss", "experts"):
        known[table] = [v for v in VARIANTS if v.table == table]
    for name in names:
        if name not in known:
            raise InputError(f"there is no variant {name!r}: choose among {', '.join(known)}")
    return [v for name in names for v in known[name]] if names else list(VARIANTS)


def run_variants(
    variants: Sequence[Variant], recipe: Recipe, seeds: int, runs: Path, painted: int, report: Report
) -> dict[str, list[dict[str, Any]]]:
    """Variant → the figures of each seed; a cell that several variants ask for is trained once a seed."""
    results: dict[str, list[dict[str, Any]]] = {variant.name: [] for variant in variants}
    for seed in range(recipe.train.seed, recipe.train.seed + seeds):
        cells: dict[str, dict[str, Any]] = {}
        for variant in variants:
            if variant.cell not in cells:
                cells[variant.cell] = run_variant(variant, recipe, seed, runs, painted, report)
            results[variant.name].append(cells[variant.cell])
    return results


def run_variant(
    variant: Variant, recipe: Recipe, seed: int, runs: Path, painted: int, report: Report
) -> dict[str, Any]:
    """Train one cell, or go on with it, and measure it.

    Its run stays in ``runs`` with what was measured, and neither is done again. ``InputError`` for a run of another
    recipe.
    """
    name = f"{variant.cell.replace(' ', '-').replace('α-=-', '')}-{seed}".lower()
    sizes = {**recipe.task.get("model", {}), **variant.task["model"]}
    task_table = {**recipe.task, **variant.task, "model": sizes, "sheets": False}
    changed = recipe.model_copy(update={"task": task_table, "train": recipe.train.model_copy(update={"seed": seed})})
    folder = runs / name
    check_same_run(folder, changed)
    kept = folder / f"measured-{painted}.json"
    found, steps = find_checkpoints(folder / "checkpoints"), recipe.train.steps
    finished = bool(found) and found[-1].step >= steps and (folder / "weights.safetensors").is_file()
    if finished and kept.is_file():
        return parse_object(kept.read_text(encoding="utf-8"), str(kept))
    task = UniF2aceTask(task_table, recipe.train.batch_size, seed)
    if not finished:
        train(task, changed, folder, resume=bool(found), report=lambda line: report(name, line))
    validated = [line for line in read_journal(folder / "log.jsonl") if line["kind"] == "validate"]
    figures = {key: validated[-1][key] for key in ("mask", "score", "answer")}
    if painted:
        figures |= measure_cell(task, folder / "weights.safetensors", painted)
    write_json_atomic(kept, figures)
    return figures


def summarise(results: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Variant → figure → mean over seeds, lowest, highest, spread (highest − lowest) and the values themselves."""
    summary: dict[str, Any] = {}
    for name, runs in results.items():
        summary[name] = {}
        for figure in FIGURES:
            values = [run[figure] for run in runs if run.get(figure) is not None]
            if values:
                low, high = min(values), max(values)
                found = {"mean": float(np.mean(values)), "low": low, "high": high, "spread": high - low}
                summary[name][figure] = {**found, "values": values}
    return summary


def compare_orders(summary: dict[str, Any]) -> dict[str, Any]:
    """Table → the paper's figure → its order of the rows, best first, and ours by the mean over seeds.

    same: whether they are one order. pairs: how many pairs of rows there are; alike: of how many the better one is the
    paper's; apart: of how many of those the values of all seeds lie on the paper's side. Rows without the figure are
    left out, and an order of fewer than two rows is none.
    """
    orders: dict[str, Any] = {}
    for table in ("loss", "experts"):
        for published, (figure, more) in COMPARED.items():
            rows = [
                v for v in VARIANTS
                if v.table == table and published in v.published and figure in summary.get(v.name, {})
            ]  # fmt: skip
            if len(rows) < 2:
                continue
            paper = sorted(rows, key=lambda v: -v.published[published] if more else v.published[published])
            means = {v.name: summary[v.name][figure]["mean"] for v in rows}
            ours = sorted(means, key=lambda name: -means[name] if more else means[name])
            pairs = [(a.name, b.name) for k, a in enumerate(paper) for b in paper[k + 1 :]]
            alike = [(a, b) for a, b in pairs if (means[a] > means[b] if more else means[a] < means[b])]
            lows, highs = ({name: summary[name][figure][end] for name in means} for end in ("low", "high"))
            apart = [(a, b) for a, b in alike if (lows[a] > highs[b] if more else highs[a] < lows[b])]
            orders.setdefault(table, {})[published] = {
                "by": figure,
                "paper": [v.name for v in paper],
                "ours": ours,
                "same": len(alike) == len(pairs),
                "pairs": len(pairs),
                "alike": len(alike),
                "apart": len(apart),
            }
    return orders


def markdown(summary: dict[str, Any]) -> str:
    """The tables as Markdown, mean (lowest – highest) over seeds, with the paper's figures in columns of their own, and
    whether the rows come in the paper's order."""
    lines, orders = [], compare_orders(summary)
    for table in ("loss", "experts"):
        variants = [v for v in VARIANTS if v.table == table and v.name in summary]
        if not variants:
            continue
        shown = [f for f in FIGURES if any(f in summary[v.name] for v in variants)]
        paper = [name for name in COMPARED if any(name in v.published for v in variants)]
        heads = [*shown, *(f"paper's {SPOKEN[name]}" for name in paper)]
        lines += [f"| {table} | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
        for v in variants:
            cells = [_cell(summary[v.name].get(figure)) for figure in shown]
            cells += [str(v.published.get(name, "–")) for name in paper]
            lines.append(f"| {v.name} | {' | '.join(cells)} |")
        lines.append("")
        for name, found in orders.get(table, {}).items():
            verdict = "yes" if found["same"] else "no"
            lines.append(
                f"{table}, {found['by']} for the paper's {SPOKEN[name]}: paper's order: {verdict} "
                f"({found['alike']} of {found['pairs']} pairs, {found['apart']} of them beyond the spread over seeds)"
            )
        lines.append("")
    return "\n".join(lines)


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    return f"{found['mean']:.3f}" + (f" ({found['low']:.3f} – {found['high']:.3f})" if len(found["values"]) > 1 else "")


def draw(summary: dict[str, Any], file: Path) -> None:
    """Bars of every figure, tables side by side, a dot a seed. (.png, .svg, .pdf)"""
    from matplotlib.figure import Figure

    tables = [t for t in ("loss", "experts") if any(v.table == t and v.name in summary for v in VARIANTS)]
    shown = [f for f in FIGURES if any(f in found for found in summary.values())]
    figure = Figure(figsize=(5 * len(tables), 2.4 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), len(tables), squeeze=False)
    for column, table in enumerate(tables):
        names = [v.name for v in VARIANTS if v.table == table and v.name in summary]
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
