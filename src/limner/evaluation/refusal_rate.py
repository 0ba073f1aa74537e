"""How far refusing carries: questions no picture answers, on topics and in phrasings that no training text has."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.shards import iterate, unpack_attributes
from limner.evaluation.answer_accuracy import ask_all
from limner.models.unif2ace.engine import UniF2ace
from limner.progress import ProgressCallback
from limner.words.questions import held_out_questions

EACH = 8
"""Questions a face."""


def measure_refusals(
    engine: UniF2ace, folder: str | Path, count: int, seed: int, progress: ProgressCallback
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ask a built set's test faces ``EACH`` questions of the grammar's ``held_out``, every one on its own.

    Returns the share refused, over all and of the question refused least, and every question with what was said. What
    is refused that could be answered is in ``measure_answers``.
    """
    rows = []
    for number, row in enumerate(islice(iterate(folder, "test", ["id", "image", "attributes"]), count or None)):
        random = np.random.default_rng([seed, number])
        questions = held_out_questions(unpack_attributes(row["attributes"]), random, EACH)
        rows.append({**row, "questions": [asdict(each) for each in questions]})
    log = ask_all(engine, rows, progress)
    by_topic: dict[str, list[bool]] = defaultdict(list)
    for each in log:
        by_topic[topic_of(each["question"])].append(bool(each["right"]))
    least = sorted((float(np.mean(found)), topic) for topic, found in by_topic.items())
    return {
        "faces": len(rows),
        "questions": len(log),
        "refused": float(np.mean([each["right"] for each in log])) if log else None,
        "topics": len(by_topic),
        "refused_least": {topic: share for share, topic in least[:5]},
    }, log


def topic_of(question: str) -> str:
    """A question without who it is about."""
    words = {"she", "he", "they", "her", "his", "their", "him", "them", "is", "are", "does", "do"}
    return " ".join(word for word in question.rstrip("?.").split() if word.lower() not in words).lower()
