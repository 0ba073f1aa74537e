"""The paper's ablations at a small budget: the same model, data and steps, with other losses and other experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from limner.evaluation.cells import Report, Variant, train_cell
from limner.evaluation.frechet import features, frechet_distance
from limner.faces.batches import to_pictures
from limner.models.unif2ace.painting import guided_logits, read_words
from limner.models.unif2ace.prepared import unpad
from limner.models.unif2ace.task import UniF2aceTask
from limner.models.unif2ace.transformer import UniF2aceTransformer
from limner.models.unif2ace.unmasking import all_masked, confidence
from limner.training.recipe import Recipe
from limner.weights.tensors import load_into


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


def run_variant(
    variant: Variant, recipe: Recipe, seed: int, runs: Path, painted: int, report: Report
) -> dict[str, Any]:
    """Train one cell, or go on with it, and measure it; a finished one is only measured. Its run stays in ``runs``."""

    def make(table: dict[str, Any], batch_size: int, seed: int) -> UniF2aceTask:
        return UniF2aceTask({**table, "sheets": False}, batch_size, seed)

    task, folder, validated = train_cell(variant, recipe, make, seed, runs, "weights.safetensors", report)
    figures = {key: validated[key] for key in ("mask", "score", "answer")}
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
