"""The phrases of requests.grammar, ready to be drawn from.

Each phrase in the file has a role ("worn: glasses"). From it follow the forms that a request is put together of
("with glasses", "wearing glasses", "glasses" between commas, "wears glasses"), so the file lists each wording once.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, product
from typing import Literal

import numpy as np

from limner.words.grammar import load

Form = Literal["adj", "with", "doing", "scene", "lack", "tag", "verb"]
NOUN_PHRASE: tuple[Form, ...] = ("adj", "with", "doing", "scene", "lack")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_DETERMINER = re.compile(r"^(?:an? |any |\{their\} )")


@dataclass(frozen=True)
class Options:
    """Texts and their running sum of weights."""

    texts: tuple[str, ...]
    sums: tuple[float, ...]

    def draw(self, rng: np.random.Generator) -> str:
        """One of the texts."""
        return self.texts[bisect(self.sums, rng.random() * self.sums[-1])]

    @property
    def weight(self) -> float:
        """The sum of all weights."""
        return self.sums[-1]


@dataclass(frozen=True)
class Phrase:
    """What can be said of one fact, or of several that share a noun ("long curly hair").

    states: the attributes that it states. forms: form → texts; verbs are written "head + rest" ("has + a beard").
    place: adjectives are ordered by it. adjectives: what stands in the place of `<a>` or `<value>`. near: its `doing`
    stands right after the noun ("a man in his fifties"). denial: it says that something is not there.
    """

    states: tuple[str, ...]
    forms: Mapping[Form, Options]
    place: int
    adjectives: str = ""
    near: bool = False
    denial: bool = False

    def draw(self, form: Form, rng: np.random.Generator) -> str:
        """A text of this form; "{their}" and the like are still to be filled in."""
        text = self.forms[form].draw(rng)
        return text.replace("<a>", self.adjectives).replace("<value>", self.adjectives) if "<" in text else text

    def share(self, form: Form) -> float:
        """The share of a form in the weight of all that can stand in a noun phrase, 0..1."""
        if form not in self.forms:
            return 0.0
        others = sum(self.forms[each].weight for each in NOUN_PHRASE if each in self.forms)
        return self.forms[form].weight / others


def bare(text: str) -> str:
    """A noun phrase without its article: "a beard" → "beard"."""
    return _DETERMINER.sub("", text)


def _expanded(text: str) -> Iterator[str]:
    """The text for each combination of its choices."""
    parts = _CHOICE.split(text)
    options = [part.split("|") if k % 2 else [part] for k, part in enumerate(parts)]
    return ("".join(words) for words in product(*options))


def _forms(role: str, text: str) -> list[tuple[Form, str, float]]:
    """The forms that follow from a phrase with a role, each with its share of the weight."""
    plain = bare(text)
    match role:
        case "adj":
            return [("adj", text, 1.0), ("tag", text, 0.5), ("verb", f"is + {text}", 1.0)]
        case "attr":
            return [("adj", text, 1.0)]
        case "noun":
            return [("with", text, 1.0), ("tag", plain, 1.0), ("verb", f"has + {text}", 1.0)]
        case "worn":
            verbs = (("wears", 0.5), ("is wearing", 0.4), ("has", 0.2))
            tags = ((plain, 1.0), (f"wearing {text}", 0.4), (f"with {text}", 0.15))
            return [
                ("with", text, 1.0),
                ("doing", f"wearing + {text}", 1.0),
                *(("tag", tag, share) for tag, share in tags),
                *(("verb", f"{verb} + {text}", share) for verb, share in verbs),
            ]
        case "doing":
            return [("doing", text, 1.0), ("tag", text, 1.0), ("verb", f"is + {text}", 1.0)]
        case "scene":
            return [("scene", text, 1.0)]
        case "tag":
            return [("tag", text, 1.0)]
        case "lack":  # no "without" between commas: "without glasses, moustache" could deny both
            return [
                ("lack", text, 1.0),
                ("tag", f"no {plain}", 1.0),
                ("verb", f"doesn't have + {text}", 0.4),
                ("verb", f"has no + {plain}", 0.4),
            ]
        case "unworn":
            return [
                *_forms("lack", text),
                ("doing", f"not wearing + {text}", 0.6),
                ("tag", f"not wearing {text}", 0.2),
                ("verb", f"isn't wearing + {text}", 0.7),
                ("verb", f"doesn't wear + {text}", 0.4),
            ]
        case "not":
            return [
                ("doing", f"not {text}", 1.0),
                ("tag", f"not {text}", 1.0),
                ("verb", f"isn't {text}", 1.0),
                ("verb", f"is not {text}", 0.4),
            ]
        case "verb":
            return [("verb", text, 1.0)]
        case _:
            raise ValueError(f"requests.grammar: unknown role {role!r} in front of {text!r}")


@cache
def forms_of(rule: str) -> Mapping[Form, Options]:
    """The forms of a rule whose phrases have roles; empty when there is no such rule."""
    found: dict[Form, list[tuple[str, float]]] = {}
    for weight, alternative in load("requests").rules.get(rule, []):
        role, colon, phrase = alternative.partition(": ")
        if not colon:
            raise ValueError(f"requests.grammar: a phrase of {rule!r} has no role: {alternative!r}")
        if role == "word":
            continue
        texts = list(_expanded(phrase))
        for text in texts:
            for form, words, share in _forms(role, text):
                found.setdefault(form, []).append((words, weight * share / len(texts)))
    return {form: _options(texts) for form, texts in found.items()}


@cache
def adjectives_of(attribute: str, value: str) -> Options | None:
    """Adjectives for a part: those of requests.grammar, or else those of lexicon.grammar."""
    for source, role in (("requests", "word: "), ("lexicon", "")):
        rules = load(source).rules
        for rule in (f"{attribute}={value}", f"{attribute}=*"):
            found = [
                (text.replace("<value>", value), weight / len(texts))
                for weight, alternative in rules.get(rule, [])
                if alternative.startswith(role)
                for texts in [list(_expanded(alternative.removeprefix(role)))]
                for text in texts
            ]
            if found:
                return _options(found)
    return None


@cache
def plain_texts(rule: str) -> Options:
    """The texts of a rule without roles (nouns, frames)."""
    return _options(
        (text, weight / len(texts))
        for weight, alternative in load("requests").rules[rule]
        for texts in [list(_expanded(alternative))]
        for text in texts
    )


def _options(texts: Iterable[tuple[str, float]]) -> Options:
    words, weights = zip(*texts)
    return Options(words, tuple(accumulate(weights)))


@cache
def forms_of_all(*rules: str) -> Mapping[Form, Options]:
    """The forms of several rules together."""
    found: dict[Form, list[tuple[str, float]]] = {}
    for rule in rules:
        for form, options in forms_of(rule).items():
            weights = [b - a for a, b in zip((0.0, *options.sums), options.sums)]
            found.setdefault(form, []).extend(zip(options.texts, weights))
    return {form: _options(texts) for form, texts in found.items()}
