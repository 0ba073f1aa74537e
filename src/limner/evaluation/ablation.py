"""The paper's ablations at a small budget: the same model, data and steps, with other losses and other experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.evaluation.frechet import features, frechet_distance
from limner.faces.batches import to_pictures
from limner.files import atomic_write
from limner.models.unif2ace.painting import guided_logits, read_words
from limner.models.unif2ace.prepared import unpad
from limner.models.unif2ace.task import UniF2aceTask
from limner.models.unif2ace.transformer import UniF2aceTransformer
from limner.models.unif2ace.unmasking import all_masked, confidence
from limner.training.checkpoint import find_checkpoints
from limner.training.journal import read_journal
from limner.training.loop import train
from limner.training.recipe import Recipe
from limner.weights.tensors import load_into

Report = Callable[[str, dict[str, Any]], None]
"""(variant and seed, log line)."""


@dataclass(frozen=True)
class Variant:
    """One cell: its name, the table it belongs to, and what of the recipe's [task] it changes.

    published: what the paper reports for it: FID, and Desc where it does.
    """

    name: str
    table: str
    task: dict[str, Any]
    published: dict[str, float]


def _experts(token: bool, sequence: bool) -> dict[str, Any]:
    return {"model": {"token_experts": 8 if token else 0, "sequence_experts": sequence}}


VARIANTS = (
    Variant("mask only", "loss", {"alpha": 0.0}, {"fid": 77.463}),
    Variant("score only", "loss", {"alpha": 0.01, "mask_weight": 0.0}, {"fid": 69.694}),
    Variant("D3Diff α = 0.1", "loss", {"alpha": 0.1}, {"fid": 68.903}),
    Variant("D3Diff α = 0.01", "loss", {"alpha": 0.01}, {"fid": 66.005}),
    Variant("D3Diff α = 0.001", "loss", {"alpha": 0.001}, {"fid": 72.736}),
    Variant("no experts", "experts", _experts(False, False), {"fid": 72.877, "desc": 4.988}),
    Variant("token level", "experts", _experts(True, False), {"fid": 67.415, "desc": 5.678}),
    Variant("sequence level", "experts", _experts(False, True), {"fid": 69.312, "desc": 5.864}),
    Variant("both levels", "experts", _experts(True, True), {"fid": 66.005, "desc": 6.023}),
)

FIGURES = ("mask", "score", "answer", "frechet")
"""What is reported of each: held-out cross-entropy of masked codes, score entropy (a bound on −log p, both in nats),
cross-entropy of answers, and the Fréchet distance of paintings to unseen faces, if pictures are painted."""


def choose_variants(names: Sequence[str]) -> list[Variant]:
    """Variants by name or table; all for none. ``InputError`` for a name that is none."""
    known = {v.name: [v] for v in VARIANTS}
    for table in ("loss", "experts"):
        known[table] = [v for v in VARIANTS if v.table == table]
    for name in names:
        if name not in known:
            raise InputError(f"there is no variant {name!r}: choose among {', '.join(known)}")
    return [v for name in names for v in known[name]] if names else list(VARIANTS)


def run_variant(
    variant: Variant, recipe: Recipe, seed: int, runs: Path, painted: int, report: Report
) -> dict[str, Any]:
    """Train one cell, or go on with it, and measure it; a finished one is only measured. Its run stays in ``runs``."""
    name = f"{variant.name.replace(' ', '-').replace('α-=-', '')}-{seed}".lower()
    sizes = {**recipe.task.get("model", {}), **variant.task.get("model", {})}
    task_table = {**recipe.task, **variant.task, "model": sizes, "sheets": False}
    changed = recipe.model_copy(update={"task": task_table, "train": recipe.train.model_copy(update={"seed": seed})})
    folder, task = runs / name, UniF2aceTask(task_table, recipe.train.batch_size, seed)
    found = find_checkpoints(folder / "checkpoints")
    if not (found and found[-1].step >= recipe.train.steps and (folder / "weights.safetensors").is_file()):
        train(task, changed, folder, resume=bool(found), report=lambda line: report(name, line))
    validated = [line for line in read_journal(folder / "log.jsonl") if line["kind"] == "validate"]
    figures = {key: validated[-1][key] for key in ("mask", "score", "answer")}
    if painted:
        model = UniF2aceTransformer(task.config)
        load_into(model, folder / "weights.safetensors")
        figures["frechet"] = _frechet(model.eval().requires_grad_(False), task, painted)
    return figures


def _frechet(model: UniF2aceTransformer, task: UniF2aceTask, count: int) -> float:
    """Paintings of held-out prompts against the held-out faces, both through the codec: what the codec loses, neither
    side has."""
    from limner.codecs.discrete import LFQCodec

    codec, settings = LFQCodec.load(task.data.header["codec"]), task.settings
    rows, rng = task.held_out[:count], np.random.default_rng(0)
    made, real = [], []
    empty = read_words(model, [[]])
    for start in range(0, len(rows), 16):
        batch = task.data.batch(rows[start : start + 16], rng, long=False)
        words = read_words(model, unpad(batch["texts"]))
        predict = guided_logits(model, words, empty, settings.guidance)
        codes = all_masked(words.count, task.config.image_tokens, task.config.codebook)
        codes = confidence(predict, codes, settings.sample_steps, seed=start, temperature=settings.temperature)
        made.append(to_pictures(codec.decode(codes)))
        real.append(to_pictures(codec.decode(batch["codes"])))
    return frechet_distance(features(np.concatenate(made)), features(np.concatenate(real)))


def summarise(results: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Variant → figure → mean over seeds, spread (largest − smallest) and the values themselves."""
    summary: dict[str, Any] = {}
    for name, runs in results.items():
        summary[name] = {}
        for figure in FIGURES:
            values = [run[figure] for run in runs if figure in run]
            if values:
                spread = max(values) - min(values)
                summary[name][figure] = {"mean": float(np.mean(values)), "spread": spread, "values": values}
    return summary


def markdown(summary: dict[str, Any]) -> str:
    """The tables as Markdown, with the paper's FID beside ours (of another scale, so only the order compares)."""
    lines = []
    for table in ("loss", "experts"):
        variants = [v for v in VARIANTS if v.table == table and v.name in summary]
        if not variants:
            continue
        shown = [f for f in FIGURES if any(f in summary[v.name] for v in variants)]
        lines += [f"| {table} | {' | '.join(shown)} | paper's FID |", "|---" * (len(shown) + 2) + "|"]
        for v in variants:
            cells = [_cell(summary[v.name].get(figure)) for figure in shown]
            lines.append(f"| {v.name} | {' | '.join(cells)} | {v.published['fid']} |")
        lines.append("")
    return "\n".join(lines)


def _cell(found: dict[str, Any] | None) -> str:
    return "–" if found is None else f"{found['mean']:.3f} ± {found['spread'] / 2:.3f}"


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
