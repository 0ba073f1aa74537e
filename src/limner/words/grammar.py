"""A small grammar machine: rules with slots, filled from facts, that knows afterwards what it said.

A grammar file lists rules. A rule has a name and indented alternatives, each with an optional weight in front:

    opening:
        3 | {a_person} with {trait}[ and {trait}|].
        {they} {v:have} {trait}.

`[x|y]` is a free choice. A slot `{...}` is one of

* `{rule}`            an alternative of that rule, tried in weighted random order until one can be filled;
* `{attribute}`       the words for the fact's value, from a rule called `attribute=value` (or `attribute=*`, where
  `<value>` is the value);
* `{attribute=value}` says nothing, but the alternative is only open to that value, and counts as stating it
  (`yes`/`no` for booleans,
  `a/b` for either);
* `{!attribute}`      the fact must not have been stated, and is not stated from here on (the sentence implies it);
* `{~attribute=value}` looks at a fact without stating it; `{^attribute=value}` wants it to be otherwise, or unknown;
* `{@topic}` or `{@topic:2}` says nothing; the alternative is open while the topic has come up less than once (twice)
  in this text, and
  counts as bringing it up; `{+topic}` brings it up without asking. So "brown eyes" is introduced once, then it is
  "her eyes";
* `{they}`, `{them}`, `{their}`, `{noun}` agree with the person; `{v:look}` is the verb in the number of the last
  subject (`they` or `noun`), `{q:look}` the verb before the pronoun, in a question.

A fact is stated once. An alternative that cannot be filled leaves no trace. Our choice: a grammar of our own, because
what we need, sentences that know which facts they state, is what template libraries do not give.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import numpy as np

Value = str | bool | float | int
_SLOT = re.compile(r"\{([^{}]+)\}")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_PRONOUNS = {"she": ("she", "her", "her"), "he": ("he", "him", "his"), "they": ("they", "them", "their")}
_IRREGULAR = {"be": ("is", "are"), "have": ("has", "have"), "do": ("does", "do")}
_VOWEL = re.compile(r"[aeiou]|8|11\b|18\b|hour|honest")
_CONSONANT = re.compile(r"one\b|once|uni|eu|use|usual")


@dataclass(frozen=True)
class Referent:
    """Who a text is about: a noun ("woman", "boy", "person") and the pronoun that goes with it (she, he or they)."""

    noun: str
    pronoun: str

    def word(self, name: str) -> str | None:
        """The form for `they`, `them`, `their` or `noun`; None for any other name."""
        return dict(zip(("they", "them", "their"), _PRONOUNS[self.pronoun]), noun=self.noun).get(name)


def conjugate(base: str, plural: bool) -> str:
    """The present tense of a verb: she looks, they look."""
    if base in _IRREGULAR:
        return _IRREGULAR[base][plural]
    if plural:
        return base
    return base + ("es" if base.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")


class Grammar:
    """Rules of one or more grammar files (package data of this room).

    Raises ValueError when a file is malformed or an alternative names a rule that is nowhere.
    """

    def __init__(self, *texts: str) -> None:
        self.rules: dict[str, list[tuple[float, str]]] = {}
        for text in texts:
            self._read(text)
        self.attributes = {name.split("=")[0] for name in self.rules if "=" in name}

    def _read(self, text: str) -> None:
        name = None
        for line in text.splitlines():
            body = line.strip()
            if not body or body.startswith("#"):
                continue
            if not line[0].isspace():
                if not body.endswith(":"):
                    raise ValueError(f"grammar: a rule's name ends with a colon, this line does not: {body!r}")
                name = body[:-1]
                if name in self.rules:
                    raise ValueError(f"grammar: the rule {name!r} stands twice")
                self.rules[name] = []
                continue
            if name is None:
                raise ValueError(f"grammar: an alternative without a rule: {body!r}")
            weight, bar, rest = body.partition(" | ")
            weighted = bool(bar) and weight.replace(".", "", 1).isdigit()
            self.rules[name].append((float(weight), rest) if weighted else (1.0, body))

    def unknown_slots(self, known: set[str]) -> set[str]:
        """Slot names that are neither rules, attributes with words, grammatical words nor in `known`."""
        words = {"they", "them", "their", "noun"}
        names = set()
        for alternatives in self.rules.values():
            for _, text in alternatives:
                for slot in _SLOT.findall(text):
                    if not slot.startswith(("v:", "q:", "@", "+")):
                        names.add(slot.lstrip("!~^").split("=")[0])
        return names - words - set(self.rules) - self.attributes - known


@cache
def load(*names: str) -> Grammar:
    """The grammar of these files of the room, read once a process."""
    return Grammar(*(files("limner.words").joinpath(f"{name}.grammar").read_text("utf-8") for name in names))


@cache
def _parts(text: str) -> list[str]:
    """Plain text and slots in turn, plain text first and last."""
    return _SLOT.split(text)


@dataclass
class TextBuilder:
    """A text being written: what may be said, about whom, and what has been said.

    `facts` maps attribute → value; `extra` holds words computed outside the grammar (a decade, a number), each with
    the attribute that it states.
    """

    grammar: Grammar
    facts: Mapping[str, Value]
    person: Referent
    rng: np.random.Generator
    extra: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    person_states: Mapping[str, Value] = field(default_factory=dict)
    stated: dict[str, Value] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    topics: dict[str, int] = field(default_factory=dict)
    plural: bool = False  # the last subject was "they"

    def write(self, rule: str) -> str | None:
        """A text for the rule, stating only facts that have not been stated; None, and no trace, when there is none."""
        alternatives = self.grammar.rules[rule]
        # Weighted order without replacement: the smallest exponential waiting time goes first.
        waits = self.rng.exponential(size=len(alternatives)).tolist()
        order = sorted((wait / weight, text) for wait, (weight, text) in zip(waits, alternatives))
        for _, template in order:
            text = self.fill(template)
            if text is not None:
                return text
        return None

    def fill(self, template: str) -> str | None:
        """The template with its choices taken and slots filled; None, and no trace, when a slot cannot be."""
        before = self.mark()
        text = template
        while choice := _CHOICE.search(text):
            options = choice[1].split("|")
            text = text[: choice.start()] + options[self.rng.integers(len(options))] + text[choice.end() :]
        parts = _parts(text)
        words = list(parts)
        for k in range(1, len(parts), 2):
            filled = self._slot(parts[k])
            if filled is None:
                self.back_to(before)
                return None
            words[k] = filled
        return "".join(words)

    def mark(self) -> tuple[dict[str, Value], set[str], dict[str, int], bool]:
        """Where the text stands now, for `back_to`."""
        return dict(self.stated), set(self.held), dict(self.topics), self.plural

    def back_to(self, mark: tuple[dict[str, Value], set[str], dict[str, int], bool]) -> None:
        """Unsay everything since the mark."""
        self.stated, self.held, self.topics, self.plural = dict(mark[0]), set(mark[1]), dict(mark[2]), mark[3]

    def _slot(self, slot: str) -> str | None:
        if slot.startswith("v:"):
            return conjugate(slot[2:], self.plural)
        if slot.startswith("q:"):
            return conjugate(slot[2:], self.person.pronoun == "they")
        if slot.startswith(("@", "+")):
            return self._bring_up(slot[0], *slot[1:].split(":"))
        if slot.startswith("!"):
            return self._hold(slot[1:])
        if slot.startswith(("~", "^")):
            return "" if self._is(*slot[1:].split("=")) == (slot[0] == "~") else None
        if "=" in slot:
            name, wanted = slot.split("=")
            return "" if self._is(name, wanted) and self._state(name) else None
        if (word := self.person.word(slot)) is not None:
            if slot == "noun":
                self.stated.update(self.person_states)
            if slot in ("noun", "they"):
                self.plural = word == "they"
            return word
        if slot in self.extra:
            attribute, words = self.extra[slot]
            return words if self._state(attribute) else None
        if slot in self.grammar.rules:
            return self.write(slot)
        return self._words(slot)

    def _words(self, attribute: str) -> str | None:
        if attribute not in self.facts:
            return None
        value = spoken(self.facts[attribute])
        rule = next((r for r in (f"{attribute}={value}", f"{attribute}=*") if r in self.grammar.rules), None)
        if rule is None or not self._state(attribute):
            return None
        text = self.write(rule)
        return None if text is None else text.replace("<value>", value)

    def _is(self, attribute: str, wanted: str) -> bool:
        return attribute in self.facts and spoken(self.facts[attribute]) in wanted.split("/")

    def _bring_up(self, kind: str, topic: str, limit: str = "1") -> str | None:
        times = self.topics.get(topic, 0)
        if kind == "@" and times >= int(limit):
            return None
        self.topics[topic] = times + 1
        return ""

    def _hold(self, attribute: str) -> str | None:
        if attribute in self.stated:
            return None
        self.held.add(attribute)
        return ""

    def _state(self, attribute: str) -> bool:
        if attribute in self.stated or attribute in self.held or attribute not in self.facts:
            return False
        self.stated[attribute] = self.facts[attribute]
        return True


def spoken(value: Value) -> str:
    """A value as grammar files write it: yes and no for booleans."""
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def polish(text: str) -> str:
    """Articles before vowels, single spaces, no space before punctuation, a capital at the start of every sentence."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" ([,.;:?!])", r"\1", text)
    text = re.sub(r",+", ",", text).replace(",.", ".")
    text = re.sub(r"\b([Aa]) (?=(\S+))", _article, text)
    return re.sub(r"(^|[.?!] )([a-z])", lambda m: m[1] + m[2].upper(), text)


def _article(found: re.Match[str]) -> str:
    following = found[2].lower()
    vowel = _VOWEL.match(following) and not _CONSONANT.match(following)
    return f"{found[1]}n " if vowel else f"{found[1]} "


def count_tokens(text: str) -> int:
    """Words and punctuation marks: what a word-piece tokenizer makes of plain English, to within a few."""
    return len(re.findall(r"\w+|[^\w\s]", text))
