"""What the words of a built set are like: the table and the figure by which UniF²aceD-1M is described, for any set."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from limner.data.set_report import summary
from limner.data.shards import iterate, read_shards
from limner.errors import InputError
from limner.faces.vocabulary import VOCABULARY
from limner.words.grammar import count_tokens, spoken

FAMILIES = ("appearance", "action", "emotion")
PUBLISHED = Path(__file__).with_name("published.json")
_OPENINGS = 12  # ways to begin a question that are listed


def published() -> dict[str, Any]:
    """Published numbers of data sets, by name, each with its source. Never mixed with measured ones."""
    return json.loads(PUBLISHED.read_text("utf-8"))


def word_statistics(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Numbers on captions and questions of a built set, ready for JSON.

    Tokens are words and punctuation marks (`count_tokens`). Attributes of a caption are the facts it states: exact for
    captions of the grammar, read from the text for others (`limner.words.claims`). `wheel` counts them: family →
    attribute → value. Raises InputError for an empty set.
    """
    if not read_shards(folder, ["id"]).num_rows:
        raise InputError(f"{folder} holds no rows")
    tokens: list[int] = []
    stated: list[int] = []
    by_family: dict[str, list[int]] = {family: [] for family in (*FAMILIES, "picture")}
    styles: Counter[str] = Counter()
    wheel: dict[str, dict[str, Counter[str]]] = {family: {} for family in by_family}
    kinds: Counter[str] = Counter()
    openings: Counter[str] = Counter()
    about: Counter[str] = Counter()
    lengths: dict[str, list[int]] = {"question": [], "answer": []}
    rows = 0
    for row in iterate(folder, None, ["captions", "stated", "questions"]):
        rows += 1
        for text, entry in zip(row["captions"], row["stated"]):
            facts = json.loads(entry["facts"])
            tokens.append(count_tokens(text))
            stated.append(len(facts))
            styles[entry["style"]] += 1
            found = Counter(VOCABULARY[name].family for name in facts if name in VOCABULARY)
            for family, counts in by_family.items():
                counts.append(found[family])
            for name, value in facts.items():
                if name in VOCABULARY:
                    values = wheel[VOCABULARY[name].family].setdefault(name, Counter())
                    values[_bucket(name, value)] += 1
        for question in row["questions"]:
            kinds[question["kind"]] += 1
            openings[" ".join(question["question"].lower().split()[:2])] += 1
            about[VOCABULARY[question["about"]].family if question["about"] in VOCABULARY else "other"] += 1
            for part, counts in lengths.items():
                counts.append(count_tokens(question[part]))
    return {
        "pictures": rows,
        "captions": len(tokens),
        "styles": dict(styles),
        "tokens_per_caption": summary(tokens),
        "attributes_per_caption": summary(stated),
        "by_family": {family: summary(counts) for family, counts in by_family.items()},
        "attributes": sum(len(wheel[family]) for family in FAMILIES),
        "questions": sum(kinds.values()),
        "kinds": dict(kinds.most_common()),
        "about": dict(about.most_common()),
        "openings": dict(openings.most_common(_OPENINGS)),
        "tokens_per_question": summary(lengths["question"]),
        "tokens_per_answer": summary(lengths["answer"]),
        "wheel": {
            family: {name: dict(values.most_common()) for name, values in sorted(attributes.items())}
            for family, attributes in wheel.items()
        },
        "histograms": {"tokens": _histogram(tokens), "attributes": _histogram(stated)},
    }


def compare(numbers: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of a table: what, measured on this set, published for UniF²aceD-1M ("–" where nothing is)."""
    reference = published()["UniF2aceD-1M"]

    def mean(name: str) -> str:
        found = numbers[name]
        return f"{found['mean']:.1f}" if found else "–"

    rows = [(name, f"{numbers[name]:,}", f"{reference[name]:,}") for name in ("pictures", "captions")]
    rows += [(name, mean(name), f"{reference[name]:g}") for name in ("tokens_per_caption", "attributes_per_caption")]
    rows += [(f"of these {family}", f"{numbers['by_family'][family].get('mean', 0):.1f}", "–") for family in FAMILIES]
    rows += [(name, f"{numbers[name]:,}", f"{reference[name]:,}") for name in ("attributes", "questions")]
    rows += [(name, mean(name), "–") for name in ("tokens_per_question", "tokens_per_answer")]
    return [(name.replace("_", " "), ours, theirs) for name, ours, theirs in rows]


def _bucket(name: str, value: Any) -> str:
    return f"{10 * int(value // 10)}s" if name == "age" and not isinstance(value, str) else spoken(value)


def _histogram(numbers: list[int]) -> dict[str, int]:
    """How often each number occurs, in order."""
    return {str(number): count for number, count in sorted(Counter(numbers).items())}
