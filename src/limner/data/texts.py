"""Which texts of a built set are used: those its source brought along, those the grammar wrote, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limner.data.caption_writers import CARRIED
from limner.errors import InputError

CHOICES = ("carried", "grammar", "both")
COLUMNS = ("captions", "prompts", "questions", "stated")


@dataclass(frozen=True)
class Texts:
    """What is said of one face."""

    captions: tuple[str, ...]
    prompts: tuple[str, ...]
    questions: tuple[tuple[str, str], ...]
    carried: tuple[str, ...]
    """The captions that came with the picture; they are also among ``captions``, unless only the grammar's are used."""


def check_choice(name: str) -> str:
    """The choice itself. Raises InputError for another word."""
    if name not in CHOICES:
        raise InputError(f"--texts {name}: choose {', '.join(CHOICES[:-1])} or {CHOICES[-1]}")
    return name


def texts_of(row: Mapping[str, Any], choice: str) -> Texts:
    """The texts of a row with COLUMNS.

    carried: the captions and questions that came with the picture (MM-CelebA-HQ's ten captions, UniF²aceD-1M's caption
    and questions); the captions are the prompts, too, for such a set has no others. grammar: what `limner data build`
    or a model wrote. both: all of them; prompts are the grammar's and the carried captions. A row without carried texts
    has none of them: it is for the caller to say so.
    """
    styles = [stated["style"] for stated in row.get("stated") or ()]
    captions, prompts = tuple(row.get("captions") or ()), tuple(row.get("prompts") or ())
    asked = row.get("questions") or ()
    brought = tuple(text for text, style in zip(captions, styles) if style == CARRIED)
    written = tuple(text for place, text in enumerate(captions) if styles[place : place + 1] != [CARRIED])
    theirs = tuple((q["question"], q["answer"]) for q in asked if brought_along(q))
    ours = tuple((q["question"], q["answer"]) for q in asked if not brought_along(q))
    if choice == "carried":
        return Texts(brought, brought, theirs, brought)
    if choice == "grammar":
        return Texts(written, prompts, ours, brought)
    return Texts(captions, (*prompts, *brought), (*theirs, *ours), brought)


def brought_along(question: Mapping[str, Any]) -> bool:
    """Whether a question came with its picture: those do not say which attribute they are about. (The grammar's only
    such questions are those that no picture answers.)"""
    return not question.get("about") and question.get("kind") in ("yes/no", "open")


def missing(choice: str, where: Any, what: Sequence[str] = ("captions",)) -> InputError:
    """For a face that has no text of the kind chosen."""
    kinds = " or ".join(what)
    if choice == "carried":
        return InputError(f"{where} has a face whose source brought no {kinds} along: use --texts both, or grammar")
    return InputError(f"{where} has a face without {kinds}: build the set again with them")
