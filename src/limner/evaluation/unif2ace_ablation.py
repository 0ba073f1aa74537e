"""The paper's ablations at a small budget: the same model, data and steps, with other losses and other experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limner.evaluation.ablation_metrics import measure_cell
from limner.evaluation.ablation_runner import Report, Variant, train_cell
from limner.files import write_json_atomic
from limner.json_lines import parse_object
from limner.models.unif2ace.task import UniF2aceTask
from limner.training.config import TrainingConfig


def _loss(**weights: float) -> dict[str, Any]:
    """Another loss, with both levels of experts."""
    return {**_experts(True, True), **weights}


def _experts(token: bool, sequence: bool) -> dict[str, Any]:
    """Other experts, with the paper's loss."""
    model = {"token_experts": 8 if token else 0, "sequence_experts": sequence}
    return {"alpha": 0.01, "mask_weight": 1.0, "model": model}


WHOLE = "D3Diff α = 0.01"
"""The paper's loss and both levels of experts: a row of both tables."""

VARIANTS = (
    Variant("mask only", "loss", _loss(alpha=0.0), {"fid": 77.463}),
    Variant("score only", "loss", _loss(mask_weight=0.0), {"fid": 69.694}),
    Variant("D3Diff α = 0.1", "loss", _loss(alpha=0.1), {"fid": 68.903}),
    Variant(WHOLE, "loss", _loss(alpha=0.01), {"fid": 66.005}),
    Variant("D3Diff α = 0.001", "loss", _loss(alpha=0.001), {"fid": 72.736}),
    Variant("no experts", "experts", _experts(False, False), {"fid": 72.877, "desc": 4.988}),
    Variant("token level", "experts", _experts(True, False), {"fid": 67.415, "desc": 5.678}),
    Variant("sequence level", "experts", _experts(False, True), {"fid": 69.312, "desc": 5.864}),
    Variant("both levels", "experts", _experts(True, True), {"fid": 66.005, "desc": 6.023}, same_as=WHOLE),
)

LOSSES = ("mask", "score", "answer")
"""Held-out cross-entropy of masked codes, score entropy (a bound on −log p, both in nats), cross-entropy of answers."""

FIGURES = (
    *LOSSES,
    "frechet",
    "kernel_times_1000",
    "wishes",
    "caption_precision",
    "caption_recall",
    "caption_f1",
)
"""What is reported of each: losses; and, if pictures are painted, what ``measure_cell`` says of them and captions."""

COMPARED = {"fid": ("frechet", False), "desc": ("caption_f1", True)}
"""The paper's figure → ours that stands for it, and whether more is better."""


def run_variant(
    variant: Variant, config: TrainingConfig, seed: int, runs: Path, painted: int, report: Report
) -> dict[str, float | None]:
    """Train one cell, or go on with it, and measure it.

    Its run stays in ``runs`` with what was measured, and neither is done again, for this variant or for another that
    shares the cell.
    """
    plain = config.model_copy(update={"task": {**config.task, "sample_sheets": False}})
    task, folder, validated = train_cell(variant, plain, UniF2aceTask, seed, runs, "weights.safetensors", report)
    losses: dict[str, float | None] = {key: validated[key] for key in LOSSES}
    if not painted:
        return losses
    kept = folder / f"measured-{painted}-at-{validated['step']}.json"  # after more steps, measured anew
    if not kept.is_file():
        write_json_atomic(kept, measure_cell(task, folder / "weights.safetensors", painted))
    return losses | parse_object(kept.read_text(encoding="utf-8"), str(kept))
