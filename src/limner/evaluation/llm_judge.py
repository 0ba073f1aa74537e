"""Language models as judges: Desc, Conv and VLM-score of UniF²ace, with the rubric in a file and every verdict kept.

The rubrics are ours (`limner/chat/prompts`: desc, conv, vlm), because the paper's were not to be had. What a judge said
is in `judge-….verdicts.jsonl` before it counts, so a run that stops goes on without asking again.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field

from limner.chat.budget import Estimate, estimate_prompt
from limner.chat.prompts import load_prompt
from limner.chat.session import Question, Refused, Session
from limner.evaluation.image_text_pairs import Pair
from limner.faces.picture import encode_jpeg

LIMIT = 300  # tokens of a verdict; about 60 are expected
EXPECTED = 60
COLUMNS = {"desc": ("answer", "reference"), "conv": ("question", "answer", "reference")}


class _Ten(BaseModel):
    reason: str = ""
    score: Annotated[float, Field(ge=1, le=10)]


class _Hundred(BaseModel):
    reason: str = ""
    score: Annotated[float, Field(ge=0, le=100)]


@dataclass(frozen=True)
class Verdict:
    """A score and why, or (score None) what the judge did instead."""

    id: str
    score: float | None
    reason: str


def text_requests(rubric: str, records: Sequence[dict[str, Any]], folder: Path | None = None) -> list[Question]:
    """Requests for `desc` (answer, reference) or `conv` (question, answer, reference)."""
    prompt = load_prompt(rubric, folder)
    return [
        Question(
            messages=prompt.messages(**{name: record[name] for name in COLUMNS[rubric]}),
            limit=LIMIT,
            row=str(record["id"]),
            stage=rubric,
            temperature=0.0,
        )
        for record in records
    ]


def picture_requests(pairs: Sequence[Pair], folder: Path | None = None) -> list[Question]:
    """Requests for the VLM-score (0..100) of pictures painted from words."""
    prompt = load_prompt("vlm", folder)

    def url(pair: Pair) -> str:
        return f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(pair.picture(), 95)).decode()}"

    return [
        Question(
            messages=prompt.messages(url(pair), text=pair.text), limit=LIMIT, row=pair.id, stage="vlm", temperature=0.0
        )
        for pair in pairs
    ]


def estimate(session: Session, requests: Sequence[Question]) -> Estimate:
    """What the verdicts will cost that the session's journal does not hold: those of this judge on these very texts."""
    left = [request for request in requests if not session.is_kept(request, _form(request))]
    prompt = sum(estimate_prompt(request.messages, session.client.endpoint) for request in left)
    return Estimate(session.client.endpoint, len(left), prompt, EXPECTED * len(left), LIMIT * len(left))


def _form(request: Question) -> type[_Ten] | type[_Hundred]:
    return _Hundred if request.stage == "vlm" else _Ten


def judge(
    session: Session, requests: Sequence[Question], threads: int, progress: Callable[[int, int], None] | None = None
) -> list[Verdict]:
    """A verdict on every request, in order. An error (a dead endpoint, a spent budget) ends it; verdicts are kept."""

    def one(request: Question) -> Verdict:
        try:
            found = session.ask(request, _form(request))
        except Refused as error:
            return Verdict(request.row, None, str(error))
        return Verdict(request.row, found.score, found.reason)

    verdicts: list[Verdict] = []
    pool = ThreadPoolExecutor(threads)
    try:
        for verdict in pool.map(one, requests):
            verdicts.append(verdict)
            if progress is not None:
                progress(len(verdicts), len(requests))
    except BaseException:
        session.client.pace.stop()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return verdicts


def summarise(scores: Sequence[float | None], seed: int = 0, draws: int = 1000) -> dict[str, Any]:
    """Mean with a 95 % bootstrap interval, count, and how many had no score."""
    given = np.array([score for score in scores if score is not None], np.float64)
    figures: dict[str, Any] = {"judged": len(given), "without_score": len(scores) - len(given)}
    if len(given):
        rng = np.random.default_rng(seed)
        means = given[rng.integers(0, len(given), (draws, len(given)))].mean(1)
        low, high = np.percentile(means, (2.5, 97.5))
        figures |= {"mean": float(given.mean()), "low": float(low), "high": float(high)}
    return figures
