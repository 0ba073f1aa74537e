"""What a painter is asked for, in words that it understands: the one place that prompts go through.

The small painters know single faces, described in English by what is there. So negation is turned into positive words
("without a beard": "clean-shaven"), several people become one, symbols are left out, and what describes no face, or
does so in another language, is refused in one line.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from limner.errors import InputError
from limner.words.negation import PERSONS, positive

GRAMMARS = ("captions", "lexicon", "phrases", "questions")
LEAST_KNOWN = 0.5
"""Share of a prompt's words that have to be known; below, only those are painted."""
EXAMPLE = "describe one face in English, for example 'a laughing woman with grey hair'"
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_PLURALS = {
    "women": "woman", "men": "man", "girls": "girl", "boys": "boy", "people": "person", "persons": "person",
    "ladies": "lady", "guys": "guy", "gentlemen": "gentleman", "kids": "child", "children": "child",
    "couple": "person", "couples": "person", "twins": "person", "friends": "person", "family": "person",
    "families": "person", "crowd": "person", "adults": "adult", "teenagers": "teenager",
    "teens": "teenager", "toddlers": "toddler", "babies": "baby", "brothers": "man", "sisters": "woman",
    "grandmothers": "grandmother", "grandfathers": "grandfather", "mothers": "mother", "fathers": "father",
    "parents": "person", "actors": "actor", "actresses": "actress", "students": "student", "individuals": "person",
    "females": "woman", "males": "man", "sons": "boy", "daughters": "girl", "humans": "person", "strangers": "person",
}  # fmt: skip
_ONE = "|".join(sorted(PERSONS, key=len, reverse=True))
_MANY = "|".join(sorted(_PLURALS, key=len, reverse=True))
_COUNT = (
    r"(?:(?:a\s+)?(?:group|pair|couple|crowd|bunch|team|lot|dozen|few|number)\s+of|two|three|four|five|six|seven|eight|"
    r"nine|ten|\d+|several|many|some|both|multiple|various|all|a few|the|a|an)"
)
_GROUP = re.compile(rf"\b(?:{_COUNT}\s+)*(?P<between>(?:[\w-]+\s+){{0,3}}?)(?P<many>{_MANY})\b", re.I)
_ANOTHER = re.compile(
    rf"\s*(?:,\s*(?:and\s+)?(?=a\b|an\b|another\b|one\b|two\b)|\band\b|&|\+|\bwith\b|\bnext to\b|\bbeside\b|"
    rf"\bholding\b|\bhugging\b|\bkissing\b|\bbehind\b)\s*"
    rf"(?:a|an|the|her|his|their|another|one|two|three|some)\s+(?:[\w-]+\s+){{0,3}}?(?:{_ONE}|{_MANY})\b(?!['’])",
    re.I,
)


@dataclass(frozen=True)
class Prompt:
    """Words to paint. asked: as they were given. notes: one line for each thing that is painted otherwise."""

    text: str
    asked: str
    notes: tuple[str, ...] = ()


def understood(asked: str) -> Prompt:
    """A prompt as the small painters understand it. Raises InputError, one line, for words that describe no face."""
    plain, symbols = _plain(asked)
    notes = ["symbols are left out"] if symbols else []
    if not _WORD.search(plain):
        raise InputError(f"nothing in {_quoted(asked)} describes a face: {EXAMPLE}")
    _refuse_script(plain, asked)
    language = language_of(plain)
    if language is not None:
        raise InputError(f"these words look {language}: {EXAMPLE}")
    text, changes = positive(plain)
    notes += changes
    text, several = _one_person(text)
    if several:
        notes.append(f"a picture shows one face: painted as '{text}'")
    text, left_out = _known_part(text, asked)
    if left_out:
        notes.append(f"not understood, and left out: {', '.join(left_out)}")
    text = _with_article(text)
    return Prompt(text, asked, tuple(notes))


def recorded(prompt: Prompt) -> dict[str, Any]:
    """What a recipe says of a prompt: ``text``, and, where it was asked for otherwise, ``asked`` and ``notes``."""
    if prompt.text == prompt.asked:
        return {"text": prompt.text}
    return {"text": prompt.text, "asked": prompt.asked, "notes": prompt.notes}


def language_of(text: str) -> str | None:
    """The language that a text in Latin letters is in, where its words say so; None for English, and for no telling."""
    words = [word.lower() for word in _WORD.findall(text)]
    counts = {language: sum(w in table for w in words) for language, table in _foreign().items()}
    language, count = max(counts.items(), key=lambda item: item[1])
    known = sum(word in vocabulary() for word in words)
    alone = [word for word in words if word not in vocabulary()]
    sure = sum(word in _foreign()[language] for word in alone)
    return language if sure >= 1 and count > len(words) / 3 and count >= known else None


@cache
def vocabulary() -> frozenset[str]:
    """Words that prompts are made of: those of the grammars that wrote the painters' training captions, and more of
    faces. Parts of words with hyphens count as well."""
    texts = [files("limner.words").joinpath(f"{name}.grammar").read_text("utf-8") for name in GRAMMARS]
    words = {word.lower() for text in [*texts, _lines("face_words")] for word in _WORD.findall(text)}
    return frozenset(words | {part for word in words for part in word.split("-")} | set(PERSONS) | set(_PLURALS))


@cache
def _foreign() -> dict[str, frozenset[str]]:
    parts = (line.partition(": ") for line in _lines("languages").splitlines())
    return {language: frozenset(words.split()) for language, _, words in parts}


def _lines(name: str) -> str:
    """A word list of this room without its first line, which says what it is."""
    return files("limner.words").joinpath(f"{name}.txt").read_text("utf-8").partition("\n")[2]


def _plain(text: str) -> tuple[str, bool]:
    """A text without emoji and control characters, spaces single; and whether there were any symbols."""
    text = unicodedata.normalize("NFKC", text)
    kinds = [unicodedata.category(letter) for letter in text]
    kept = "".join(
        " " if kind in ("So", "Cs", "Co", "Cn", "Cc", "Cf") else letter
        for letter, kind in zip(text, kinds, strict=True)
    )
    return re.sub(r"\s+", " ", kept.replace("\ufe0f", "")).strip(), "So" in kinds


def _refuse_script(text: str, asked: str) -> None:
    letters = [letter for letter in text if letter.isalpha()]
    other = [letter for letter in letters if not unicodedata.name(letter, "").startswith("LATIN")]
    if len(other) > 0.2 * len(letters):
        script = unicodedata.name(other[0], "unknown").split()[0].capitalize()
        raise InputError(f"the words {_quoted(asked)} are in another script ({script}): {EXAMPLE}")


def _one_person(text: str) -> tuple[str, bool]:
    """A text about one person, and whether it was about several."""
    several = False

    def single(found: re.Match[str]) -> str:
        nonlocal several
        many = found["many"].lower()
        several = True
        return f"a {found['between']}{_PLURALS[many]}"

    if not re.search(rf"\b(?:{_MANY})['’]", text, re.I):  # men's clothes are one person's
        text = re.sub(r"\b(?:two|three|four|several|many|some|\d+) faces\b", "people", text, flags=re.I)
        text = re.sub(rf"\bgroup of (?:{_MANY})\b", "people", text, flags=re.I)
        text = _GROUP.sub(single, text)
    first = re.search(rf"\b(?:{_ONE})\b(?!['’])", text, re.I)
    if first is not None:
        rest = text[first.end() :]
        fewer = _ANOTHER.sub("", rest)
        if another := _ANOTHER.search(rest):
            several = True
            own = rest[: another.start()]
            if re.search(r"\b(?:with|wearing|who)\b", own):  # what follows is said of the other one
                fewer = own
        text = text[: first.end()] + fewer
    if several:
        text = re.sub(r"\b(?:together|each other|(?:hugging|kissing|embracing|holding hands))\b|\bwho are\b", "", text)
        text = re.sub(r"\bare\b", "is", text)
    return _tidy(text), several


def _known_part(text: str, asked: str) -> tuple[str, list[str]]:
    """The text, or the part of it that is understood where that is less than half; and the words left out."""
    words = _WORD.findall(text)
    known = [word for word in words if _is_known(word)]
    faces = [word for word in known if _base(word) in PERSONS or _base(word) in (*_PLURALS, *_FACE_WORDS)]
    if not faces:
        raise InputError(f"the words {_quoted(asked)} describe no face that is understood: {EXAMPLE}")
    if len(known) >= LEAST_KNOWN * len(words):
        return text, []
    unknown = [word for word in words if not _is_known(word)]
    return _tidy(" ".join(filter(None, map(_known_piece, text.split())))), unknown


def _known_piece(piece: str) -> str:
    """What of a piece between spaces is understood; nothing of one that holds unknown words only."""
    words = _WORD.findall(piece)
    if words and not any(map(_is_known, words)):
        return ""
    kept = re.sub(_WORD, lambda found: found[0] if _is_known(found[0]) else "", piece)
    return re.sub(r"[^\w,.'’-]", "", kept)


def _is_known(word: str) -> bool:
    word = _base(word)
    if word in vocabulary():
        return True
    return "-" in word and all(part in vocabulary() for part in word.split("-"))


def _base(word: str) -> str:
    """A word in small letters, without 's."""
    return re.sub(r"['’]s?$", "", word.lower())


_FACE_WORDS = frozenset((
    "anyone", "bald", "beard", "bearded", "bespectacled", "blonde", "brows", "brunette", "clean-shaven",
    "expression", "eyebrows", "eyed", "eyes", "face", "freckles", "glasses", "goatee", "grin", "hair", "haired",
    "he", "headshot", "laughing", "lips", "moustache", "mustache", "nose", "portrait", "profile", "redhead",
    "selfie", "she", "smile", "smiling", "somebody", "someone", "stubble", "they", "wrinkles",
))  # fmt: skip


def _with_article(text: str) -> str:
    """A bare noun gets the article that the painters' captions have: man, a man."""
    if re.match(rf"(?:(?!a\b|an\b|the\b)[\w-]+\s+){{0,2}}(?:{_ONE})\b(?!['’])", text, re.I):
        first = text.split()[0].lower()
        if first not in (
            "a",
            "an",
            "the",
            "one",
            "this",
            "her",
            "his",
            "my",
            "portrait",
            "photo",
            "picture",
            "close-up",
        ):
            return _tidy(f"a {text}")
    if not re.search(rf"\b(?:{_ONE}|he|she|they|his|her|their|this|face|portrait|photo|picture)\b", text, re.I):
        return f"a person, {text}"
    return text


def _tidy(text: str) -> str:
    """Single spaces, no stray commas or joining words, and the right article."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([,.;!?])", r"\1", text)
    text = re.sub(r"\b(?:and|but)\s+(?=(?:with|who|wearing)\b)", "", text)
    text = re.sub(
        r"(?:\b(?:a|an|the|with|and|who|who is|is|wearing|but|or|of|in)\s*)+(?=[,.;]|$)", "", text.strip(), flags=re.I
    )
    text = re.sub(r"\.(?:\s*\.)+", ".", re.sub(r"[.,]\s*,", ",", text))
    text = re.sub(r"(?:,\s*)+", ", ", text).strip(" ,;")
    text = re.sub(r"\ban (?=[^aeiou\W])", "a ", text, flags=re.I)
    return re.sub(r"\ba (?=[aeio]|un(?!i))", "an ", text)


def _quoted(text: str) -> str:
    shown = " ".join(text.split())
    return f"'{shown if len(shown) <= 60 else shown[:57] + '…'}'"
