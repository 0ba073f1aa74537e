"""Whether questions are understood in words that no training text has: the same ones in both, the set's and others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.shards import iterate
from limner.errors import InputError
from limner.evaluation.answers import ask_all
from limner.models.unif2ace.engine import UniF2ace
from limner.progress import Progress
from limner.words.rephrase import held_out_phrasing


def measure_phrasings(
    engine: UniF2ace, folder: str | Path, count: int, seed: int, progress: Progress
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ask a built set's test faces what can be judged and asked in another way, in both ways, every one on its own.

    Returns the shares right of both, over all and by attribute, and every question in other words with what was said.
    """
    own, other = [], []
    for number, row in enumerate(islice(iterate(folder, "test", ["id", "image", "questions"]), count or None)):
        random = np.random.default_rng([seed, number])
        phrased = [(each, held_out_phrasing(each["question"], random)) for each in row["questions"] if each["value"]]
        pairs = [(each, words) for each, words in phrased if words is not None]
        if pairs:
            own.append({**row, "questions": [each for each, _ in pairs]})
            other.append({**row, "questions": [{**each, "question": words} for each, words in pairs]})
    if not own:
        raise InputError("none of these faces' questions can be asked in other words: measure on more faces")
    known = ask_all(engine, own, lambda done, _: progress(done, 2 * len(own)))
    log = ask_all(engine, other, lambda done, _: progress(len(own) + done, 2 * len(own)))
    names = sorted({each["about"] for each in log if each["about"]})
    return {
        "faces": len(own),
        "questions": len(log),
        **_rights(known, log),
        "attributes": {
            name: _rights(*([each for each in some if each["about"] == name] for some in (known, log)))
            for name in names
        },
    }, log


def _rights(known: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    return {
        name: float(np.mean([bool(each["right"]) for each in some])) if some else None
        for name, some in (("own_words", known), ("other_words", other))
    }
