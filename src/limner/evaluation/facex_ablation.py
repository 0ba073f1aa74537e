"""The paper's ablations of FaceX at a small budget: without either assembler, and with the UNet kept as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limner.codecs.perceptual import LPIPS
from limner.evaluation.ablation_runner import Report, Variant, train_cell
from limner.evaluation.edit_benchmark import Case, EditBenchmark
from limner.evaluation.edit_measurement import EditSampling
from limner.evaluation.edit_suites import ROWS, reconstruct, swap
from limner.evaluation.galleries import Gallery
from limner.models.facex.engine import FaceX
from limner.models.facex.pairs import TASKS
from limner.models.facex.task import FaceXTask
from limner.training.config import TrainingConfig

PARTS = "parts"
VARIANTS = (
    Variant("whole", PARTS, {}),
    Variant("no region assembler", PARTS, {"model": {"region_assembler": False}}),
    Variant("no representation assembler", PARTS, {"model": {"representation_assembler": False}}),
    # a fixed UNet has what it paints to lose: γ starts at zero, as published, and words need not be painted from
    Variant("UNet fixed", PARTS, {"freeze_unet": True, "faces": None, "gamma_init": 0.0}),
)

FIGURES = (*(f"{task}.loss" for task in TASKS), "nearer_to_source", "cosine_to_source", "pose", "psnr", "lpips")
"""What is reported of each: the held-out diffusion loss of every task; of swapped faces, the share nearer to the source
than to the target, identity's cosine to the source, degrees between poses; PSNR and LPIPS of people painted anew."""


def run_variant(
    variant: Variant,
    config: TrainingConfig,
    seed: int,
    runs: Path,
    report: Report,
    gallery: Gallery | None,
    sampling: EditSampling,
    lpips: LPIPS | None,
) -> tuple[dict[str, float], list[Case]]:
    """Train one cell, or go on with it, and measure it; a finished one is only measured. Its run stays in ``runs``.

    gallery: people to edit, with LPIPS to measure by; without them only losses are reported. Also returns the swaps.
    """
    weights = "weights/controller.safetensors"
    _, folder, figures = train_cell(variant, config, FaceXTask, seed, runs, weights, report)
    if gallery is None or lpips is None:
        return _reported(figures), []
    editor = FaceX.load(folder / "weights")
    bench = EditBenchmark(editor, gallery, sampling, lambda: lpips, lambda *_: None)
    swaps, cases = swap(bench)
    return _reported({**figures, **reconstruct(bench)[0], **swaps}), cases


def sheet(swaps: Mapping[str, Sequence[Case]]) -> np.ndarray:
    """Variant → its swaps of the same people, as one picture: a row for each of the first of them, uncurated; source,
    target, then a column for each variant."""
    rows = []
    for number, case in enumerate(next(iter(swaps.values()))[:ROWS]):
        rows.append(np.concatenate([*case.shown[:2], *(cases[number].shown[2] for cases in swaps.values())], 1))
    return np.concatenate(rows, 0)


def _reported(figures: Mapping[str, Any]) -> dict[str, float]:
    return {name: figures[name] for name in FIGURES if name in figures}
