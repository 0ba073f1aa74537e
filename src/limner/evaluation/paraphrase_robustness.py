"""Whether questions are understood in words that no training text has: the same ones in both, the set's and others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.shards import iterate
from limner.errors import InputError
from limner.evaluation.answer_accuracy import ask_all
from limner.models.unif2ace.engine import UniF2ace
from limner.progress import ProgressCallback
from limner.words.rephrase import held_out_phrasing


def measure_phrasings(
    engine: UniF2ace, folder: str | Path, count: int, seed: int, progress: ProgressCallback
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ask a built set's test faces what can be judged and asked in another way, in both ways, every one on its own.

    Returns the shares right of both, over all and by attribute, and every question in other words with what was said.
    """
    rows = []
    for number, row in enumerate(islice(iterate(folder, "test", ["id", "image", "questions"]), count or None)):
        random = np.random.default_rng([seed, number])
        phrased = [(each, held_out_phrasing(each["question"], random)) for each in row["questions"] if each["value"]]
        asked = [
            {**each, "question": question, "words": words}
            for each, other in phrased
            if other is not None
            for words, question in (("own", each["question"]), ("other", other))
        ]
        if asked:
            rows.append({**row, "questions": asked})
    if not rows:
        raise InputError("none of these faces' questions can be asked in other words: measure on more faces")
    log = ask_all(engine, rows, progress)
    own, other = ([each for each in log if each["words"] == words] for words in ("own", "other"))
    names = sorted({each["about"] for each in other if each["about"]})
    return {
        "faces": len(rows),
        "questions": len(other),
        **_rights(own, other),
        "attributes": {
            name: _rights(*([each for each in some if each["about"] == name] for some in (own, other)))
            for name in names
        },
    }, other


def _rights(own: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    return {
        name: float(np.mean([bool(each["right"]) for each in some])) if some else None
        for name, some in (("own_words", own), ("other_words", other))
    }
