"""Captions and questions written by models, in the stages of UniF²aceD-1M (section 3 of UniF²ace).

A vision-language model describes the picture; asked a second time, it corrects and completes that description with
what attribute classifiers measured; a language model writes questions from the refined description. The prompts are
ours (`limner/chat/prompts`), because the paper's were not to be had. Short prompts for painting stay the grammar's: the
paper has none, and a record needs some (our choice).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from limner.chat.budget import Estimate, estimate_prompt
from limner.chat.prompts import Prompt, load_prompt
from limner.chat.session import Question as Request
from limner.chat.session import Refused, Session
from limner.data.caption_writers import WRITTEN, RuleWriter, Subject, Words, read_caption
from limner.faces.vocabulary import VOCABULARY
from limner.words.grammar import spoken
from limner.words.questions import Question

STAGES = ("caption", "refine", "questions")
CAPTION_LIMIT = 600  # tokens of an answer; about 180 are expected
QUESTION_LIMIT = 120  # tokens for each question; about 70 are expected
_TYPICAL = "x" * 700  # a description of 120 words, for estimates

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Described(BaseModel):
    caption: Annotated[str, StringConstraints(strip_whitespace=True)] = ""
    refusal: str = ""


class _Asked(BaseModel):
    question: Text
    answer: Text
    kind: Literal["yes/no", "choice", "open", "count", "cannot be seen"]
    about: str = ""
    value: str | int | float | bool | None = ""


class _Questions(BaseModel):
    questions: list[_Asked] = Field(min_length=1)


@dataclass(frozen=True)
class ModelWriter:
    """The three stages over two sessions (which may be one and the same endpoint).

    questions: how many a face. least: confidence (0..1) from which on a measurement is shown to the model.
    """

    vlm: Session
    llm: Session
    rules: RuleWriter
    questions: int = 8
    least: float = 0.6
    temperature: float = 0.7
    folder: Path | None = None

    def prompts(self) -> list[Prompt]:
        """The three prompts, the user's own where the folder holds them."""
        return [load_prompt(name, self.folder) for name in STAGES]

    def write(self, subject: Subject) -> Words:
        """One caption and its questions; prompts from the grammar. Raises Refused with what a model did instead."""
        caption = self._described(self._caption(subject))
        refined = self._described(self._refine(subject, caption))
        found = self.llm.ask(self._question(subject, refined), _Questions).questions
        questions = {asked.question: _finished(asked) for asked in found[: self.questions]}
        grammar = self.rules.write(subject)
        return Words([read_caption(refined, WRITTEN)], grammar.prompts, list(questions.values()))

    def estimate(self, subjects: Sequence[Subject], left: Mapping[str, int]) -> list[Estimate]:
        """What it costs to ask what is `left` (stage → requests), by the example of some faces.

        Where a prompt holds an answer that is not there yet, one of typical length stands in for it.
        """
        stages = {
            "caption": (self._caption, 180),
            "refine": (lambda subject: self._refine(subject, _TYPICAL), 180),
            "questions": (lambda subject: self._question(subject, _TYPICAL), 70 * self.questions),
        }
        found: list[Estimate] = []
        for session, names in ((self.vlm, STAGES[:2]), (self.llm, STAGES[2:])):
            prompt = answer = most = 0.0
            for name in names:
                make, expected = stages[name]
                requests = [make(subject) for subject in subjects]
                lengths = [estimate_prompt(request.messages, session.client.endpoint) for request in requests]
                prompt += left[name] * sum(lengths) / max(1, len(lengths))
                answer += left[name] * expected
                most += left[name] * max((request.limit for request in requests), default=0)
            total = sum(left[name] for name in names)
            found.append(Estimate(session.client.endpoint, total, round(prompt), round(answer), round(most)))
        return found

    def _described(self, request: Request) -> str:
        answer = self.vlm.ask(request, _Described)
        if answer.refusal or not answer.caption:
            raise Refused(f"vlm refused: {answer.refusal[:160] or 'an empty caption'}")
        return answer.caption

    def _caption(self, subject: Subject) -> Request:
        messages = load_prompt("caption", self.folder).messages(_data_url(subject.picture))
        return Request(
            messages=messages, limit=CAPTION_LIMIT, row=subject.id, stage="caption", temperature=self.temperature
        )

    def _refine(self, subject: Subject, caption: str) -> Request:
        messages = load_prompt("refine", self.folder).messages(
            _data_url(subject.picture), caption=caption, attributes=measured(subject, self.least)
        )
        return Request(
            messages=messages, limit=CAPTION_LIMIT, row=subject.id, stage="refine", temperature=self.temperature
        )

    def _question(self, subject: Subject, caption: str) -> Request:
        messages = load_prompt("questions", self.folder).messages(
            caption=caption, count=str(self.questions), vocabulary=", ".join(VOCABULARY)
        )
        limit = QUESTION_LIMIT * self.questions
        return Request(messages=messages, limit=limit, row=subject.id, stage="questions", temperature=self.temperature)


def measured(subject: Subject, least: float) -> str:
    """The sure attributes as lines "hair colour: brown (0.93)"."""
    lines = [
        f"{name.replace('_', ' ')}: {spoken(found.value)} ({found.confidence:.2f})"
        for name, found in subject.attributes.items()
        if found.confidence >= least
    ]
    return "\n".join(lines) or "(nothing)"


def _finished(asked: _Asked) -> Question:
    """As a record holds it; what a question is about counts only when it is one of our attributes."""
    value: Any = asked.value
    text = {True: "yes", False: "no", None: ""}[value] if value is None or isinstance(value, bool) else str(value)
    about = asked.about.strip().replace(" ", "_")
    return Question(
        asked.question, asked.answer, asked.kind, about if about in VOCABULARY else "", text.strip().lower()
    )


def _data_url(picture: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
