"""Questions about a face and true answers to them, written from its measured attributes.

Five kinds: yes/no (as many yes as no), choice, open, count, and questions that a picture cannot answer, with an honest
answer that says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from limner.words.captions import start
from limner.words.facts import LEAST_CONFIDENCE, choose_facts
from limner.words.grammar import Referent, TextBuilder, Value, load, polish, spoken
from limner.words.topics import TOPICS, Topic, derive

if TYPE_CHECKING:
    from limner.faces.record import Attribute

KINDS = ("yes/no", "choice", "open", "count", "cannot be seen")
GRAMMAR = ("lexicon", "phrases", "captions", "questions")
# In this order kinds are asked, over and over: of ten questions four are yes/no, two each choice and open.
_TURN = ("yes/no", "choice", "open", "cannot be seen", "yes/no", "count", "yes/no", "open", "choice", "yes/no")
_TRIES = 12
_NUMBERS = ("none", "one", "two", "three", "four", "five")

# Ways to say that a picture does not tell it; `<t>` is what.
_REFUSALS = (
    "that cannot be seen in [the|a] picture.",
    "that cannot be told from [a|this] picture.",
    "[the|this] picture does not show <t>.",
    "I cannot tell <t> from a picture.",
    "a face does not show <t>.",
    "nothing in the picture shows <t>.",
    "I do not know; the picture says nothing about that.",
    "that would be a guess, and a picture is no ground for it.",
    "I would rather not guess that from a face.",
    "a portrait does not tell that.",
    "I do not know: that cannot be seen.",
)


@dataclass(frozen=True)
class Question:
    """A question about a face and its true answer.

    kind: one of KINDS. about: the attribute it asks for ("" when it is none or several). value: the answer in short
    ("yes", "no", a value, a number in digits, "" for free text and for what cannot be seen), for scoring.
    """

    question: str
    answer: str
    kind: str
    about: str = ""
    value: str = ""


def write_questions(
    attributes: Mapping[str, Attribute],
    rng: np.random.Generator,
    n: int = 10,
    least: float = LEAST_CONFIDENCE,
    counts: Mapping[str, int] | None = None,
) -> list[Question]:
    """`n` different questions on one face, of all kinds; only facts with confidence ≥ `least` are used.

    counts: what was counted in the picture, name in the plural → number ("ears": 1), for questions that start with
    "how many". When facts run out, questions that cannot be answered fill up the number.
    """
    facts = derive(choose_facts(attributes, least))
    makers: dict[str, Iterator[Question]] = {
        "yes/no": _yes_no(facts, rng),
        "choice": _choice(facts, rng),
        "open": _open(facts, rng),
        "count": _count(facts, rng, counts or {}),
        "cannot be seen": _cannot(facts, rng),
    }
    questions: list[Question] = []
    asked: set[str] = set()
    turn = 0
    while len(questions) < n:
        kind = _TURN[turn % len(_TURN)] if turn < 4 * n else "cannot be seen"
        turn += 1
        question = next((q for q in makers[kind] if q.question not in asked), None)
        if question is not None:
            asked.add(question.question)
            questions.append(question)
    return questions


def held_out_questions(attributes: Mapping[str, Attribute], rng: np.random.Generator, n: int = 4) -> list[Question]:
    """`n` different questions that no picture answers, on topics and in phrasings that ``write_questions`` never uses:
    how far refusing carries. Their ``answer`` is empty: any refusal is right."""
    facts = derive(choose_facts(attributes))
    found: dict[str, Question] = {}
    while len(found) < n:
        text = begin(facts, rng).write("held_out")
        assert text is not None  # none of it needs a fact
        question = polish(text)
        found.setdefault(question, Question(question, "", "cannot be seen"))
    return list(found.values())


def begin(facts: Mapping[str, Value], rng: np.random.Generator, neutral: bool = False) -> TextBuilder:
    """An empty question or answer about the person of these facts; neutral: that does not give away who it is."""
    builder = start(facts, rng, load(*GRAMMAR))
    builder.plural = builder.person.pronoun == "they"
    if neutral:
        builder.person, builder.person_states, builder.plural = Referent("person", "they"), {}, True
    return builder


def is_man(facts: Mapping[str, Value]) -> bool:
    """Whether what is asked of men alone can be asked."""
    return facts.get("gender_presentation") == "man" and facts.get("age_group") != "child"


def say(builder: TextBuilder, template: str, word: str) -> str:
    """A topic's template with a word where the value stands."""
    text = builder.fill(template.replace("<v>", word))
    assert text is not None, template  # topics state nothing, so nothing can be missing
    return polish(text)


def _topics(facts: Mapping[str, Value], rng: np.random.Generator) -> list[tuple[Topic, str]]:
    """The topics that the facts give an answer to, with the word for it; likelier ones first, in varying order."""
    man = is_man(facts)
    fitting = [topic for topic in TOPICS if topic.attribute in facts and (man or not topic.only_men)]
    found = [(topic, topic.word(facts[topic.attribute])) for topic in fitting]
    waits = [rng.exponential() / topic.weight for topic, _ in found]
    return [(t, w) for _, (t, w) in sorted(zip(waits, found), key=lambda pair: pair[0]) if w is not None]


def _yes_no(facts: Mapping[str, Value], rng: np.random.Generator) -> Iterator[Question]:
    """Yes and no in turn, so that neither is the better guess."""
    topics = _topics(facts, rng)
    yes = bool(rng.random() < 0.5)
    while topics:
        k = next((k for k, (topic, word) in enumerate(topics) if _can_answer(topic, word, facts, yes)), None)
        if k is None:
            return
        topic, word = topics.pop(k)
        builder = begin(facts, rng, topic.neutral)
        flag = isinstance(facts[topic.attribute], bool)
        asked = word if yes or flag else str(rng.choice(_positive(topic.wrong(facts[topic.attribute]))))
        question = say(builder, topic.ask, asked)
        sentence = say(builder, topic.say, word)
        start_word = "yes" if yes else "no"
        answer = polish(f"{start_word}." if rng.random() < 0.4 else f"{start_word}, {_lowered(sentence)}.")
        yield Question(question, answer, "yes/no", topic.about, start_word)
        yes = not yes


def _can_answer(topic: Topic, word: str, facts: Mapping[str, Value], yes: bool) -> bool:
    value = facts[topic.attribute]
    if isinstance(value, bool):
        return value is yes
    return bool(_positive([word] if yes else topic.wrong(value)))


def _positive(words: list[str]) -> list[str]:
    """Without those that make a yes ambiguous ("is she not smiling?")."""
    return [word for word in words if not word.startswith(("no ", "not "))]


def _choice(facts: Mapping[str, Value], rng: np.random.Generator) -> Iterator[Question]:
    for topic, word in _topics(facts, rng):
        value = facts[topic.attribute]
        if isinstance(value, bool) or not (wrong := topic.wrong(value)):
            continue
        builder = begin(facts, rng, topic.neutral)
        size = int(rng.integers(1, min(3, len(wrong)) + 1))
        options = [word, *rng.choice(wrong, size, replace=False)]
        options = [str(options[k]) for k in rng.permutation(len(options))]
        question = say(builder, topic.ask, ", ".join(options[:-1]) + " or " + options[-1])
        short = polish(say(builder, "<v>", word) + ".")
        answer = short if rng.random() < 0.5 else polish(say(builder, topic.say, word) + ".")
        yield Question(question, answer, "choice", topic.attribute, spoken(value))


def _open(facts: Mapping[str, Value], rng: np.random.Generator) -> Iterator[Question]:
    """In turn: what one attribute is, and a look at the whole or a part."""
    topics = [(t, w) for t, w in _topics(facts, rng) if t.which and not isinstance(facts[t.attribute], bool)]
    while True:
        written = None
        for _ in range(_TRIES):
            builder = begin(facts, rng)
            if (text := builder.write("open")) is not None:
                question, answer = text.split("=>")
                about = next(iter(builder.stated)) if len(builder.stated) == 1 else ""
                written = Question(polish(question), polish(answer), "open", about)
                break
        if topics:
            topic, word = topics.pop(0)
            builder = begin(facts, rng, topic.neutral)
            answer = polish(say(builder, topic.say, word) + ".")
            yield Question(
                say(builder, topic.which, word), answer, "open", topic.attribute, spoken(facts[topic.attribute])
            )
        if written is not None:
            yield written
        elif not topics:
            return


def _count(facts: Mapping[str, Value], rng: np.random.Generator, counts: Mapping[str, int]) -> Iterator[Question]:
    asked: list[tuple[str, int, str]] = []
    for name, number in counts.items():
        asked.append((f"how many {name} [can be seen|are visible|can you see]?", number, name))
    if facts.get("wink") or facts.get("eyes") in ("open", "closed", "narrowed"):
        number = 1 if facts.get("wink") else 0 if facts.get("eyes") == "closed" else 2
        if not str(facts.get("head_turn", "")).startswith("profile"):
            asked.append(("how many of {their} eyes are [open|closed]?", number, "eyes"))
    for names, verb in ((_WORN, "worn"), (_ON_FACE, "on {their} face")):
        known = [name for name in names if isinstance(facts.get(name), bool)]
        if names is _ON_FACE and facts.get("gender_presentation") != "man":
            continue
        if len(known) >= 2:
            known = [known[k] for k in rng.permutation(len(known))[: int(rng.integers(2, len(known) + 1))]]
            things = ", ".join(names[name] for name in known[:-1]) + " and " + names[known[-1]]
            template = f"how many of these {'are' if verb == 'worn' else 'can be seen'} {verb}: {things}?"
            asked.append((template, sum(bool(facts[name]) for name in known), ""))
    for k in rng.permutation(len(asked)):
        template, number, about = asked[k]
        builder = begin(facts, rng)
        question = say(builder, template, "")
        if about == "eyes" and "closed" in question:
            number = 2 - number
        word = _NUMBERS[number] if number < len(_NUMBERS) else str(number)
        digits = str(number)
        answer = (f"{word}.", f"{digits}.", f"there {'is' if number == 1 else 'are'} {word}.")[
            rng.choice(3, p=(0.6, 0.2, 0.2))
        ]
        yield Question(question, polish(answer), "count", about, digits)


_WORN = {"glasses": "glasses", "hat": "a hat", "earrings": "earrings", "necklace": "a necklace"}
_ON_FACE = {"moustache": "a moustache", "goatee": "a goatee", "sideburns": "sideburns"}


def _cannot(facts: Mapping[str, Value], rng: np.random.Generator) -> Iterator[Question]:
    while True:
        builder = begin(facts, rng)
        text = builder.write("cannot")
        assert text is not None  # some of it needs no fact
        question, answer = text.split("=>")
        if found := re.fullmatch(r"\s*<(.*)>\s*", answer):
            refusal = builder.fill(str(rng.choice(_REFUSALS)))
            assert refusal is not None
            answer = refusal.replace("<t>", found[1])
        yield Question(polish(question), polish(answer), "cannot be seen")


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
