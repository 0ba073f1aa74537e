"""Who writes the words of a record: one interface, and the writer that needs no network.

The other writer, which asks models, is `limner.data.llm_writer`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from limner.faces.record import Attribute
from limner.faces.regions import Region
from limner.words.captions import Caption, compose_captions, compose_prompts
from limner.words.claims import read_claims
from limner.words.questions import Question, write_questions

CARRIED = "carried"  # style of a caption that came with its picture
WRITTEN = "written"  # style of a caption that a model wrote


@dataclass(frozen=True)
class Subject:
    """A face to write about: its id, its picture (encoded, 256²), what was measured, and its regions (H, W) uint8.

    captions, questions: what the picture brought along from where it comes.
    """

    id: str
    picture: bytes
    attributes: Mapping[str, Attribute]
    regions: np.ndarray
    captions: Sequence[str] = ()
    questions: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Words:
    """What was written. captions and prompts know their style and the facts they state."""

    captions: list[Caption] = field(default_factory=list)
    prompts: list[Caption] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    def columns(self) -> dict[str, Any]:
        """The four columns of a record (see `shards.FIELDS`)."""
        return {
            "captions": [caption.text for caption in self.captions],
            "prompts": [caption.text for caption in self.prompts],
            "stated": [
                {"style": c.style, "facts": json.dumps(c.stated, default=float)} for c in self.captions + self.prompts
            ],
            "questions": [vars(question) for question in self.questions],
        }


class Writer(Protocol):
    """Writes the words of one face after the other; safe to call from several threads."""

    def write(self, subject: Subject) -> Words:
        """Words about a face. Raises `limner.chat.session.Refused` when this writer has none for it."""
        ...


@dataclass(frozen=True, kw_only=True)
class RuleWriter:
    """The grammar of `limner.words`: says only what was measured, needs nothing but the record, costs nothing.

    What the picture brought along comes first, in `captions` as in `questions`.
    """

    captions: int = 5
    prompts: int = 6
    questions: int = 10
    least: float = 0.6
    seed: int = 0

    def write(self, subject: Subject) -> Words:
        """The same subject and settings give the same words."""
        rng = np.random.default_rng(
            [self.seed, *np.frombuffer(hashlib.sha256(subject.id.encode()).digest()[:16], "<u4")]
        )
        captions = compose_captions(subject.attributes, rng, self.captions, self.least)
        prompts = compose_prompts(subject.attributes, rng, self.prompts, self.least)
        counts = count_parts(subject.regions)
        questions = write_questions(subject.attributes, rng, self.questions, self.least, counts)
        carried = [read_caption(text, CARRIED) for text in subject.captions]
        brought = [carried_question(question, answer) for question, answer in subject.questions]
        return Words(carried + captions, prompts, brought + questions)


def read_caption(text: str, style: str) -> Caption:
    """A caption that no grammar wrote, with the facts that can be read from it without doubt."""
    claims = read_claims(text)
    return Caption(text, style, {name: values[0] for name, values in claims.items() if len(values) == 1})


def carried_question(question: str, answer: str) -> Question:
    """A question that came with a picture. Yes/no questions are told from others by their answer's first word."""
    first = answer.strip().lower().split(maxsplit=1)[:1]
    word = first[0].strip(".,;!") if first else ""
    return (
        Question(question, answer, "yes/no", "", word) if word in ("yes", "no") else Question(question, answer, "open")
    )


def count_parts(regions: np.ndarray) -> dict[str, int]:
    """What can be counted honestly on a region map (H, W): ears that show (more than a sliver of one)."""
    least = regions.size / 2000
    ears = sum(int(np.count_nonzero(regions == ear) > least) for ear in (Region.LEFT_EAR, Region.RIGHT_EAR))
    return {"ears": ears}
