"""Whether answers about age and sex agree with the prompts that generated portraits were painted from.

No analyser's word is in it: the prompt says who was to be painted. A painter may not have followed it, so no model is
right everywhere. Only faces of a built set's test and validation parts are asked about, which nothing was trained on.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.shards import iterate
from limner.errors import InputError
from limner.evaluation.answer_accuracy import ask_all, commonest_right
from limner.faces.attributes import age_group
from limner.faces.record import Attribute
from limner.models.unif2ace.engine import UniF2ace
from limner.progress import ProgressCallback
from limner.words.claims import read_claims
from limner.words.questions import write_questions

TABLES = (("prompts.csv", "prompt"), ("labels.csv", "label"))
"""Tables that the folder portraits came from may have: the file, and its column of words beside ``file``."""

QUESTIONS = 12
"""Questions written about a portrait; those that no picture can answer, or no rule can judge, are not asked."""

SPREAD = 2.0
"""Years by which a painted age may miss the asked one: nearer to a border of age groups, nothing is asked about it."""

_AGE = re.compile(r"\b(\d+(?:\.\d+)?)[- ](year|month)s?[- ]old\b")
_STATED = ("gender_presentation", "age_group")


def stated_facts(text: str) -> dict[str, Attribute]:
    """What a prompt says of ``gender_presentation`` and ``age_group``. An age in years is put into its group as
    measured ages are; where several are named, or nothing but a teenager, the group is left out."""
    claims = read_claims(text)
    facts = {name: Attribute(claims[name][0], 1.0, "prompt") for name in _STATED if name in claims}
    ages = [float(number) / (12 if unit == "month" else 1) for number, unit in _AGE.findall(text.lower())]
    if ages or "teen" in text.lower():
        facts.pop("age_group", None)
    if len(ages) == 1:
        facts["age_group"] = age_group(ages[0], SPREAD, "prompt")
    return facts


def read_words(folder: Path) -> dict[str, str]:
    """File name → the words a portrait was painted from; {} for a folder without such a table. ``InputError`` where the
    table lacks a column."""
    table, column = next(((folder / name, column) for name, column in TABLES if (folder / name).is_file()), (None, ""))
    if table is None:
        return {}
    with table.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    if rows and not {"file", column} <= set(rows[0]):
        raise InputError(f"{table} needs the columns file and {column}")
    return {row["file"]: row[column] for row in rows}


def prompted_rows(folder: Path, sources: Path, seed: int) -> list[dict[str, Any]]:
    """Held-out faces of a built set whose source, a folder below ``sources``, has words that state something.

    Each with id, image, and questions about what is stated.
    """
    words: dict[str, dict[str, str]] = {}
    rows = []
    for split in ("test", "validation"):
        for row in iterate(folder, split, ["id", "image"]):
            source, _, name = row["id"].rpartition("/")
            if source not in words:
                words[source] = read_words(sources / source)
            facts = stated_facts(words[source].get(name, ""))
            written = write_questions(facts, np.random.default_rng([seed, len(rows)]), QUESTIONS) if facts else []
            asked = [vars(question) for question in written if question.about in facts and question.value]
            if asked:
                rows.append({**row, "questions": asked})
    return rows


def measure_prompted(
    engine: UniF2ace, folder: Path, sources: Path, count: int, seed: int, progress: ProgressCallback
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ask about age and sex on ``count`` portraits drawn by ``seed`` (0: all).

    Returns figures by source and attribute, with what always giving the commonest answer would reach, and every
    question with its answer. ``InputError`` where no held-out face has words that state either.
    """
    rows = prompted_rows(folder, sources, seed)
    if not rows:
        names = " or ".join(f"{name} (columns file, {column})" for name, column in TABLES)
        raise InputError(
            f"no held-out face of {folder} comes from a folder in {sources} with {names} that state an age or a sex"
        )
    if count:
        rows = [rows[k] for k in np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])]
    log = ask_all(engine, rows, progress)
    figures = {}
    for source in sorted({_source(each) for each in log}):
        asked = [each for each in log if _source(each) == source]
        figures[source] = {"portraits": len({each["id"] for each in asked}), **summarise(asked)}
    return figures, log


def _source(asked: Mapping[str, Any]) -> str:
    return asked["id"].rpartition("/")[0]


def summarise(log: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By attribute: questions, share right, and the share that this log's own commonest answers reach."""
    figures = {}
    for name in sorted({each["about"] for each in log}):
        asked = [each for each in log if each["about"] == name]
        commonest = commonest_right(asked, asked)
        figures[name] = {
            "judged": len(asked),
            "right": float(np.mean([each["right"] for each in asked])),
            "commonest_answer_right": sum(commonest[each["kind"]] for each in asked) / len(asked),
        }
    return figures
