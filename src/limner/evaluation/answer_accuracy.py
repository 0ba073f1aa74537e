"""Whether answers about faces are right, kind by kind, and whether captions say what the analysers saw.

The truth is what the analysers measured in the same pictures: how well a model reads what they read, not how well it
knows people.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.shards import iterate, unpack_attributes
from limner.data.texts import brought_along, check_choice, missing, texts_of
from limner.faces.picture import read_picture
from limner.models.unif2ace.answers import EncodedPhoto
from limner.models.unif2ace.caption_instructions import request
from limner.models.unif2ace.engine import LIMIT, UniF2ace
from limner.progress import ProgressCallback
from limner.settings import BATCH
from limner.words.claims import read_claims
from limner.words.facts import LEAST_CONFIDENCE, choose_facts
from limner.words.topics import TOPICS

Asked = Mapping[str, str]
"""A question of a built set: question, answer, kind, about, value."""

_NUMBERS = {"none": 0, "no": 0, "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_REFUSAL = re.compile(
    r"\b(?:cannot|can't|can not|not possible|no way to|do not know|don't know|does not (?:show|tell|say)|"
    r"nothing in the picture|would be a guess|rather not|hidden|unknown)\b",
    re.IGNORECASE,
)
_WORDS = {topic.attribute: topic.words for topic in TOPICS}


def refuses(answer: str) -> bool:
    """Whether an answer says that the picture does not tell."""
    return _REFUSAL.search(answer) is not None


def short_answer(asked: Asked, answer: str) -> str:
    """What an answer comes down to, in the form of the question's ``value``; "" where it comes down to nothing.

    yes or no; a number in digits; the one value of the attribute asked for that is named; "refused".
    """
    if refuses(answer):
        return "refused"
    said = re.findall(r"[\w'-]+", answer.lower())
    if asked["kind"] == "yes/no":
        return next((word for word in said[:1] if word in ("yes", "no")), "")
    if asked["kind"] == "count":
        found = [word if word.isdigit() else str(_NUMBERS[word]) for word in said if word.isdigit() or word in _NUMBERS]
        return found[0] if found else ""
    text = f" {' '.join(said)} "
    named = []
    values = _WORDS.get(asked["about"], {})
    for value, words in sorted(values.items(), key=lambda pair: -len(pair[1])):  # longest first: "very light", "light"
        for phrase in (words, value.replace("_", " ")):
            if f" {phrase} " in text:
                named.append(value)
                text = text.replace(f" {phrase} ", " … ")
                break
    return named[0].replace("_", " ") if len(named) == 1 else ""


def is_right(asked: Asked, answer: str) -> bool | None:
    """Whether an answer is right; None for a question whose answer is free text, which this cannot judge."""
    if asked["kind"] == "cannot be seen":
        return refuses(answer)
    if not asked["value"]:
        return None
    return short_answer(asked, answer) == asked["value"].replace("_", " ")


def commonest_right(train: Iterable[Asked], test: Sequence[Asked]) -> dict[str, float]:
    """Kind → share that is right when one always says what was commonest in training for the same thing asked.

    The same thing is the attribute, or the words of the question where it is about none.
    """
    seen: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for asked in train:
        if asked["value"]:
            seen[_thing(asked)][asked["value"]] += 1
    overall: dict[str, Counter[str]] = defaultdict(Counter)
    for (kind, _), counts in seen.items():
        overall[kind] += counts
    right: dict[str, list[bool]] = defaultdict(list)
    for asked in test:
        if asked["kind"] == "cannot be seen":
            right[asked["kind"]].append(True)  # who always refuses is always right here, and nowhere else
        elif asked["value"]:
            counts = seen.get(_thing(asked)) or overall[asked["kind"]]
            right[asked["kind"]].append(bool(counts) and counts.most_common(1)[0][0] == asked["value"])
    return {kind: float(np.mean(found)) for kind, found in sorted(right.items())}


def _thing(asked: Asked) -> tuple[str, str]:
    return asked["kind"], asked["about"] or asked["question"]


def measure_answers(
    engine: UniF2ace, folder: str | Path, count: int, progress: ProgressCallback, texts: str = "both"
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ask the questions of a built set's test faces, whose people no training picture shows; every one on its own.

    Returns figures by kind, with those of the commonest answer beside them (of the training faces; in a set without
    any, of the test faces themselves), and every question with its answer. texts: whose questions, those the source
    brought along ("carried"), the grammar's, or both.
    """
    kept = {"both": (True, False), "carried": (True,), "grammar": (False,)}[check_choice(texts)]

    def chosen(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        for row in iterate(folder, split, [*columns, "questions"]):
            yield {**row, "questions": [asked for asked in row["questions"] if brought_along(asked) in kept]}

    rows = list(islice((row for row in chosen("test", ["id", "image"]) if row["questions"]), count or None))
    if not rows:
        raise missing(texts, folder, ("questions",))
    log = ask_all(engine, rows, progress)
    trained = [asked for row in chosen("train", []) for asked in row["questions"]]
    return {"faces": len(rows), **summarise_answers(log, commonest_right(trained or log, log))}, log


def ask_all(engine: UniF2ace, rows: Sequence[Mapping[str, Any]], progress: ProgressCallback) -> list[dict[str, Any]]:
    """Ask every face its questions, each on its own; every question with what was said and whether it is right.

    rows: id, encoded aligned image and questions (``Asked``) of each face, as a built set has them.
    """
    log: list[dict[str, Any]] = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        look = engine.read_aligned(np.stack([read_picture(row["image"]["bytes"]) for row in part]))
        for number in range(max(len(row["questions"]) for row in part)):
            asked = [row["questions"][min(number, len(row["questions"]) - 1)] for row in part]
            answers, _ = engine.answer_faces(look, [each["question"] for each in asked], limit=60)
            for row, each, answer in zip(part, asked, answers, strict=True):
                if number < len(row["questions"]):
                    log.append({"id": row["id"], **each, "said": answer, "right": is_right(each, answer)})
        progress(min(start + BATCH, len(rows)), len(rows))
    return log


def summarise_answers(log: Sequence[Mapping[str, Any]], commonest: Mapping[str, float]) -> dict[str, Any]:
    """Questions, share right and the commonest answer's, by kind and over all that can be answered."""
    kinds: dict[str, Any] = {}
    for kind in sorted({each["kind"] for each in log}):
        judged = [each["right"] for each in log if each["kind"] == kind and each["right"] is not None]
        kinds[kind] = {
            "judged": len(judged),
            "right": float(np.mean(judged)) if judged else None,
            "commonest_answer_right": commonest.get(kind),
        }
    answerable = [each for each in log if each["kind"] != "cannot be seen" and each["right"] is not None]
    sizes = [
        (kinds[kind]["judged"], commonest[kind]) for kind in commonest if kind != "cannot be seen" and kind in kinds
    ]
    total = sum(size for size, _ in sizes)
    return {
        "questions": len(log),
        "kinds": kinds,
        "attributes": _by_attribute(answerable),
        "answerable_right": float(np.mean([each["right"] for each in answerable])) if answerable else None,
        "answerable_commonest": sum(size * share for size, share in sizes) / total if total else None,
        "refused_though_answerable": float(np.mean([refuses(each["said"]) for each in answerable]))
        if answerable
        else None,
    }


def _by_attribute(answerable: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = sorted({each["about"] for each in answerable if each["about"]})
    found = {name: [each["right"] for each in answerable if each["about"] == name] for name in names}
    return {name: {"judged": len(right), "right": float(np.mean(right))} for name, right in found.items()}


def measure_captions(
    engine: UniF2ace, folder: str | Path, count: int, progress: ProgressCallback, texts: str = "both"
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Describe a built set's test faces and compare what the captions claim with what the analysers measured.

    The set's own first caption of each face is measured the same way, as what free description can reach. Short ones
    are asked for, too: how long both kinds are, how many ended by themselves, and whether short ones are one sentence;
    and full ones, which say all that the model is sure of (``survey``). texts: whose captions are the set's own.
    """
    columns = ["id", "image", "attributes", "captions", "stated"]
    rows = list(islice(iterate(folder, "test", columns), count or None))
    owned = [texts_of(row, check_choice(texts)).captions for row in rows]
    if not all(owned):
        raise missing(texts, folder)
    log = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        look = engine.read_aligned(np.stack([read_picture(row["image"]["bytes"]) for row in part]))
        written, tokens = _write(engine, look, "long")
        short, few = _write(engine, look, "short")
        full = engine.describe(look, "full").faces
        for k, row in enumerate(part):
            told = {"id": row["id"], "caption": written[k], "own": owned[start + k][0], "tokens": tokens[k]}
            log.append({**told, "short": short[k], "short_tokens": few[k], "full": full[k].text})
        progress(min(start + BATCH, len(rows)), len(rows))
    truths = [choose_facts(unpack_attributes(row["attributes"]), LEAST_CONFIDENCE) for row in rows]
    figures: dict[str, Any] = {"faces": len(rows)}
    for name, key in (("model", "caption"), ("short", "short"), ("full", "full"), ("set", "own")):
        said = [each[key] for each in log]
        figures[name] = {**claims_right(said, truths), "distinct_4": distinct(said, 4)}
    figures["model"] |= lengths([each["tokens"] for each in log], LIMIT)
    figures["short"] |= lengths([each["short_tokens"] for each in log], LIMIT)
    figures["short"]["one_sentence"] = _share([is_one_sentence(each["short"]) for each in log])
    figures["attributes"] = claims_by_attribute([each["caption"] for each in log], truths)
    figures["attributes_full"] = claims_by_attribute([each["full"] for each in log], truths)
    return figures, log


def _write(engine: UniF2ace, look: EncodedPhoto, length: str) -> tuple[list[str], list[int]]:
    """A description of every face, and how many tokens each has."""
    question = request(length)
    texts, told = engine.answer_faces(look, [question] * look.count, LIMIT)
    around = look.cache.length + len(engine.turn(question, ""))  # picture, question, start and end of text
    return texts, [length - around for batch in told for length in batch.lengths()]


def lengths(tokens: Sequence[int], limit: int) -> dict[str, float | None]:
    """Mean and most tokens of answers, and the share that ended by themselves, before ``limit``."""
    return {
        "tokens_mean": float(np.mean(tokens)) if tokens else None,
        "tokens_most": max(tokens) if tokens else None,
        "ended": _share([count < limit for count in tokens]),
    }


def is_one_sentence(text: str) -> bool:
    """Whether a text is one whole sentence: something, one full stop, at its end."""
    return re.fullmatch(r"[^.!?]*[^.!?\s][.!?]", text.strip()) is not None


def _share(found: Sequence[bool]) -> float | None:
    return float(np.mean(found)) if found else None


def claims_by_attribute(texts: Sequence[str], truths: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Attribute → how often it is claimed where it was measured, and the share right; how often it was measured, and
    the share said rightly."""
    claimed: Counter[str] = Counter()
    right: Counter[str] = Counter()
    known: Counter[str] = Counter()
    for text, truth in zip(texts, truths, strict=True):
        claims = read_claims(text)
        known.update(truth.keys())
        claimed.update(name for name in claims if name in truth)
        right.update(name for name, values in claims.items() if name in truth and truth[name] in values)
    return {
        name: {
            "claimed": claimed[name],
            "precision": right[name] / claimed[name] if claimed[name] else None,
            "known": known[name],
            "recall": right[name] / known[name],
        }
        for name in sorted(known)
    }


def claims_right(texts: Sequence[str], truths: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Precision of claims whose attribute was measured, recall of measured attributes, and attributes a text."""
    right, claimed, known, said = 0, 0, 0, 0
    for text, truth in zip(texts, truths, strict=True):
        claims = read_claims(text)
        judged = {name: values for name, values in claims.items() if name in truth}
        right += sum(truth[name] in values for name, values in judged.items())
        claimed, known, said = claimed + len(judged), known + len(truth), said + len(claims)
    return {
        "precision": right / claimed if claimed else None,
        "recall": right / known if known else None,
        "attributes": said / len(texts) if texts else None,
    }


def distinct(texts: Sequence[str], n: int) -> float | None:
    """Different n-grams of words over all n-grams of all texts; None without any."""
    grams: list[tuple[str, ...]] = []
    for text in texts:
        words = re.findall(r"[\w'-]+", text.lower())
        grams += zip(*(words[k:] for k in range(n)))
    return len(set(grams)) / len(grams) if grams else None
