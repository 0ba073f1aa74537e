"""Whether answers about age and sex agree with the prompts that generated portraits were painted from.

No analyser's word is in it: the prompt says who was to be painted. A painter may not have followed it, so no model is
right everywhere.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.evaluation.answers import commonest_right, is_right
from limner.faces.attributes import age_group
from limner.faces.record import Attribute
from limner.models.unif2ace.engine import UniF2ace
from limner.progress import Progress
from limner.settings import BATCH
from limner.words.questions import write_questions

TABLES = (("prompts.csv", "prompt"), ("labels.csv", "label"))
"""Tables a folder of portraits may have: the file, and its column of words beside ``file``."""

QUESTIONS = 8
"""Questions written for a portrait, of which those that a picture can answer are asked."""

_SEX = {"woman": re.compile(r"\b(?:woman|female|girl|lady)\b"), "man": re.compile(r"\b(?:man|male|boy|gentleman)\b")}
_AGE = re.compile(r"\b(\d+(?:\.\d+)?)[- ](year|month)s?[- ]old\b")
_GROUPS = (
    ("child", re.compile(r"\b(?:baby|toddler|child|infant)\b")),
    ("middle-aged", re.compile(r"\bmiddle-aged\b")),
    ("older", re.compile(r"\b(?:elderly|senior)\b")),
)


def stated_facts(text: str) -> dict[str, str]:
    """What a prompt says of ``gender_presentation`` and ``age_group``; one it says nothing, or two things, of is left
    out. An age in years is put into its group as measured ages are."""
    lowered = text.lower()
    sexes = [sex for sex, pattern in _SEX.items() if pattern.search(lowered)]
    groups = [group for group, pattern in _GROUPS if pattern.search(lowered)]
    if (age := _AGE.search(lowered)) is not None:
        years = float(age[1]) / (12 if age[2] == "month" else 1)
        groups = [str(age_group(years, 1.0, "prompt").value)]
    found = {"gender_presentation": sexes, "age_group": groups}
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def read_portraits(folder: Path) -> list[tuple[Path, dict[str, str]]]:
    """Files whose words state something, with what they state. ``InputError`` where there is no such table."""
    table, column = next(((folder / name, column) for name, column in TABLES if (folder / name).is_file()), (None, ""))
    if table is None:
        names = " or ".join(f"{name} (columns file, {column})" for name, column in TABLES)
        raise InputError(f"{folder} has no {names}: this suite needs the words portraits were painted from")
    with table.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    if rows and not {"file", column} <= set(rows[0]):
        raise InputError(f"{table} needs the columns file and {column}")
    found = [(folder / row["file"], stated_facts(row[column])) for row in rows]
    return [(file, facts) for file, facts in found if facts]


def measure_prompted(
    engine: UniF2ace, folder: Path, count: int, seed: int, progress: Progress
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ask about age and sex on the first ``count`` portraits (0: all) that show exactly one face.

    Returns figures by attribute, with what always giving this folder's commonest answer would reach, and every question
    with its answer.
    """
    portraits = read_portraits(folder)[: count or None]
    if not portraits:
        raise InputError(f"no words in {folder} state an age or a sex")
    log: list[dict[str, Any]] = []
    unclear = 0
    for start in range(0, len(portraits), BATCH):
        for index, (file, facts) in enumerate(portraits[start : start + BATCH], start):
            try:
                look = engine.look(file)
            except InputError:
                unclear += 1
                continue
            if look.count != 1:
                unclear += 1
                continue
            measured = {name: Attribute(value, 1.0, "prompt") for name, value in facts.items()}
            written = write_questions(measured, np.random.default_rng([seed, index]), QUESTIONS)
            for asked in (vars(question) for question in written if question.about in facts):
                said = engine.ask(look, asked["question"], limit=60).text
                log.append({"id": file.name, **asked, "said": said, "right": is_right(asked, said)})
        progress(min(start + BATCH, len(portraits)), len(portraits))
    return {"portraits": len(portraits) - unclear, "without_one_face": unclear, **summarise(log)}, log


def summarise(log: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By attribute: questions, share right, and the commonest answer's share."""
    figures = {}
    for name in sorted({each["about"] for each in log}):
        asked = [each for each in log if each["about"] == name and each["right"] is not None]
        commonest = commonest_right(asked, asked)
        kinds = [each["kind"] for each in asked]
        figures[name] = {
            "judged": len(asked),
            "right": float(np.mean([each["right"] for each in asked])),
            "commonest_answer_right": sum(commonest[kind] for kind in kinds) / len(kinds),
        }
    return figures
