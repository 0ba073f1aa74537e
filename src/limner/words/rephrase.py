"""Questions in other words: the grammar asks for each attribute in a few ways, people ask in many.

What is asked stays the same, so the answer stays true. The ways stand in ``rephrasings.txt``; some of them no training
text has, they serve for measuring how far understanding carries.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

REPHRASED_AS = 1
"""To be raised when this file rephrases otherwise (a changed ``rephrasings.txt`` is seen): prepared sets are made again
then."""
ANEW = 0.6
"""Chance that a question is asked in another way, where another is known."""
PERSON, THE, SPELLING, HURRY = 0.25, 0.2, 0.4, 0.1
"""Chances of "this person" for "she", of "the hair" for "her hair", of American spelling, of a question typed in a
hurry."""
AMERICAN = {"colour": "color", "grey": "gray", "moustache": "mustache"}
PARTS = "hair|eyes|nose|lips|face|skin|mouth|ears|eyebrows|forehead|jaw|beard|teeth|expression|cheeks|chin|hairline"
_THEIR = {"she": "her", "he": "his", "they": "their"}
_THEY = {their: they for they, their in _THEIR.items()}
_SLOT = re.compile(r"\{(\w+)(?::([^}]+))?\}")
_PATTERNS = {
    "they": "(?P<they>she|he|they)",
    "their": "(?P<their>her|his|their)",
    "someone": r"(?:(?P<they>she|he|they)|the \w+)",
    "be": "(?:is|are)",
    "do": "(?:does|do)",
}


@dataclass(frozen=True)
class Ways:
    """asked: patterns of whole questions. ways: how else the same is asked; held_out: how no training text asks it."""

    asked: tuple[re.Pattern[str], ...]
    ways: tuple[str, ...]
    held_out: tuple[str, ...]


def rephrase(question: str, random: np.random.Generator) -> str:
    """A question in other words, or in its own."""
    found = _known(question)
    if found is not None and random.random() < ANEW:
        match, known = found
        question = _filled(str(random.choice(known.ways)), match)
    else:
        question = _of_anybody(question, random)
    return _spelled(question, random)


def held_out_phrasing(question: str, random: np.random.Generator) -> str | None:
    """A question in words that ``rephrase`` never uses; None if there are none for it."""
    found = _known(question)
    return None if found is None else _filled(str(random.choice(found[1].held_out)), found[0])


def rephrased_as() -> str:
    """Tells one way of rephrasing from another."""
    return f"{REPHRASED_AS}-{hashlib.sha256(_text().encode()).hexdigest()[:16]}"


def _text() -> str:
    return (files("limner.words") / "rephrasings.txt").read_text(encoding="utf-8")


@cache
def phrasings() -> tuple[Ways, ...]:
    """What ``rephrasings.txt`` says."""
    blocks = "\n".join(line for line in _text().splitlines() if not line.startswith("#")).split("\n\n")
    return tuple(_ways(block.strip("\n").split("\n")) for block in blocks if block.strip())


def _ways(lines: list[str]) -> Ways:
    asked = [re.compile(_SLOT.sub(_pattern, line.replace("?", r"\?").replace(".", r"\.")), re.I) for line in lines
             if not line.startswith(" ")]  # fmt: skip
    others = [line.strip() for line in lines if line.startswith(" ")]
    held_out = tuple(line.removeprefix("~ ") for line in others if line.startswith("~"))
    return Ways(tuple(asked), tuple(line for line in others if not line.startswith("~")), held_out)


def _pattern(slot: re.Match[str]) -> str:
    name, values = slot.groups()
    return _PATTERNS.get(name) or f"(?P<{name}>{values or '[a-z-]+'})"


def _known(question: str) -> tuple[Mapping[str, str], Ways] | None:
    """What the first pattern that fits a question found in it, and its ways."""
    for known in phrasings():
        for pattern in known.asked:
            match = pattern.fullmatch(question)
            if match is not None:
                return {name: part for name, part in match.groupdict().items() if part}, known
    return None


def _filled(way: str, found: Mapping[str, str]) -> str:
    they = found.get("they", _THEY.get(found.get("their", ""), "they")).lower()
    be, do = ("are", "do") if they == "they" else ("is", "does")
    words = {"they": they, "their": _THEIR[they], "be": be, "do": do, **{k: found[k] for k in "vw" if k in found}}
    text = way.format(**words)
    return text[0].upper() + text[1:]


def _of_anybody(question: str, random: np.random.Generator) -> str:
    """Now and then "this person" for "she", "the hair" for "her hair"."""
    if random.random() < PERSON:
        question = re.sub(r"^(Is|Does|Can|Has) (?:she|he)\b", r"\1 this person", question)
        question = re.sub(r"^Are they\b", "Is this person", question)
        question = re.sub(r"^Do they\b", "Does this person", question)
    if random.random() < THE:
        question = re.sub(rf"\b(?:her|his|their) (?=(?:{PARTS})\b)", "the ", question)
    return question


def _spelled(question: str, random: np.random.Generator) -> str:
    """Now and then as in America, or in a hurry."""
    if random.random() < SPELLING:
        for british, american in AMERICAN.items():
            question = question.replace(british, american)
    return question[0].lower() + question[1:].rstrip("?.") if random.random() < HURRY else question
