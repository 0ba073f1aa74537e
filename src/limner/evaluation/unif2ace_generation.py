"""Generation by UniF²ace: prompt alignment, and Fréchet distance to held-out faces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from limner.evaluation.fidelity import UNSEEN, measure_fidelity, read_pictures, read_set
from limner.evaluation.generation_metrics import follow_words
from limner.models.unif2ace.engine import UniF2ace
from limner.progress import ProgressCallback

SHOWN = 64
"""Paintings on a sheet, at most."""

WISHES = 200
"""Default number of prompts."""


def paint_suite(
    engine: UniF2ace,
    folder: Path,
    count: int,
    faces: int,
    seed: int,
    settings: dict[str, Any],
    progress: ProgressCallback,
    keep: Callable[[str, np.ndarray], None] | None = None,
    texts: str = "grammar",
) -> tuple[dict[str, Any], list[dict[str, Any]], np.ndarray]:
    """Paint ``count`` prompts with known wishes (0: 200), and the prompts of ``faces`` unseen faces (0: all).

    settings: of ``UniF2ace.paint``. texts: whose prompts, as of ``read_set``. keep: called with every prompt with known
    wishes and its painting. Returns figures, every prompt with its verdicts, and a sheet of the first paintings of
    faces' prompts.
    """
    unseen = read_set(folder, UNSEEN, faces, texts)
    wishes = count or WISHES
    total = wishes + len(unseen)
    figures, log = follow_words(engine, wishes, seed, settings, lambda done, _: progress(done, total), keep)
    painted = []
    for index, face in enumerate(unseen):
        painted.append(np.asarray(engine.paint(face.words, seed=seed + index, **settings)[0].image))
        progress(wishes + index + 1, total)
    real = np.stack([face.picture for face in unseen])
    fidelity, _ = measure_fidelity(np.stack(painted), real, read_pictures(folder, "train"))
    shown = painted[: len(painted) - len(painted) % 8 or len(painted)][:SHOWN]
    sheet = np.concatenate([np.concatenate(shown[k : k + 8], 1) for k in range(0, len(shown), 8)], 0)
    return {**figures, "fidelity": fidelity}, log, sheet
