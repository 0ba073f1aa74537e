"""Asking for everything: one question on each attribute, and every answer it may have, in the words of the others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from limner.words.grammar import Value
from limner.words.questions import begin, is_man, say
from limner.words.topics import DERIVED, TOPICS, Topic

_FIRST = re.compile(r"\[([^|\]]*)\|[^\]]*\]")
_VALUES: Mapping[str, Value] = {"yes": True, "no": False}


@dataclass(frozen=True)
class Probe:
    """A question on one attribute. answers: each value it may have → how an answer that says so starts."""

    attribute: str
    question: str
    answers: Mapping[Value, str]


def first_probe() -> Probe:
    """Whom a picture shows, asked for without giving it away: the pronoun of all other questions follows from it."""
    return next(_probe(topic, {}) for topic in TOPICS if topic.attribute == "gender_presentation")


def probes(facts: Mapping[str, Value]) -> list[Probe]:
    """A question on every attribute that can be asked about, put to the person of these facts (``facts.who``); but
    those of ``first_probe``. The same facts give the same questions."""
    man = is_man(facts)
    return [
        _probe(topic, facts)
        for topic in TOPICS
        if topic.attribute not in DERIVED and topic.attribute != "gender_presentation" and (man or not topic.only_men)
    ]


def _probe(topic: Topic, facts: Mapping[str, Value]) -> Probe:
    """An open question where the attribute has one, or a choice between its values; yes or no of what is or is not."""
    builder = begin(facts, np.random.default_rng(0))
    if topic.words.keys() == _VALUES.keys():
        question = topic.ask
        answers: dict[Value, str] = {_VALUES[value]: value.capitalize() for value in topic.words}
    else:
        words = list(topic.words.values())
        offered = [words[0], words[-1]] if topic.ordered else words  # as people ask: open or closed, not narrowed too
        question = topic.which or topic.ask.replace("<v>", f"{', '.join(offered[:-1])} or {offered[-1]}")
        answers = {value: say(builder, _first(topic.say), word) for value, word in topic.words.items()}
    return Probe(topic.attribute, say(builder, _first(question), ""), answers)


def _first(template: str) -> str:
    """Without a choice between ways to say the same: all answers to a question are worded alike."""
    return _FIRST.sub(r"\1", template)
