"""Captions: fluent, true sentences about a face, written from its measured attributes.

Five styles. `short` is a phrase of 5 to 12 words; `tags` is what people type, with commas; `medium` is a sentence
that still fits the 32 tokens of the small text encoder; `long` has 40 to 140 tokens in several sentences; `full` leaves
out nothing that there are words for. What is said comes from the facts alone (`limner.words.facts`); how it is said
comes from the grammar files of this room.
Every caption knows which facts it states.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from limner.words.facts import LEAST_CONFIDENCE, choose_facts, decade, thin_facts, who
from limner.words.grammar import Grammar, TextBuilder, Value, count_tokens, load, polish
from limner.words.topics import TOPICS

if TYPE_CHECKING:
    from limner.faces.record import Attribute

PROMPT_STYLES = ("short", "tags", "medium")
STYLES = (*PROMPT_STYLES, "long", "full")
SHORT_WORDS = (5, 12)
PROMPT_TOKENS = 30  # with the two marks around a text: the 32 of the small text encoder
LONG_TOKENS = (40, 140)
_TRIES = 40
_ARTICLE = re.compile(r"^a (?=(.* |)(background|hat|smile|top|nose|beard|goatee|necklace|moustache|mustache)$)")
# "Her face is long.", "he wears no hat.": a subject with its verb, and one thing that is said.
_SAYING = re.compile(r"((?:\w+ ){1,3}(?:is|are|wears?|has|have)) ((?:(?!and\b|with\b|but\b|under\b)[\w'-]+ ?){1,4})\.")
_DENIAL = re.compile(r"((?:she|he|they) (?:(?:has|have|wears?) no|(?:is|are) not)) (.+)")
_NAMED = re.compile("the (woman|man|girl|boy|child|person)")  # sentences that read badly in the middle of another

# Themes of the detail sentences, with how often they come up, in blocks that stay together. Blocks and their themes
# come in varying order.
_BLOCKS: tuple[dict[str, float], ...] = (
    {"hair": 0.9, "forehead": 0.4, "facial_hair": 0.8},
    {"face": 0.7, "skin": 0.7, "eyes": 0.9, "brows": 0.4, "nose_lips": 0.7, "ears": 0.2, "list": 0.5},
    {"worn": 0.9, "lacking": 0.4},
    {"doing": 0.9, "posture": 0.4, "mouth": 0.4, "mood": 0.7, "age": 0.3},
    {"background": 0.8, "light": 0.5, "picture": 0.2},
)


@dataclass(frozen=True)
class Caption:
    """A text about a face, its style and the facts it states (attribute → value).

    style: one of STYLES, or of `limner.words.requests.LENGTHS`.
    """

    text: str
    style: str
    stated: dict[str, Value]


def write_captions(
    attributes: Mapping[str, Attribute], rng: np.random.Generator, n: int = 5, least: float = LEAST_CONFIDENCE
) -> list[str]:
    """`n` different long captions (40 to 140 tokens) of one face: the texts of `compose_captions`."""
    return [caption.text for caption in compose_captions(attributes, rng, n, least)]


def write_prompts(
    attributes: Mapping[str, Attribute], rng: np.random.Generator, n: int = 5, least: float = LEAST_CONFIDENCE
) -> list[str]:
    """`n` different short texts of one face, as one types them to have it painted: the texts of `compose_prompts`."""
    return [caption.text for caption in compose_prompts(attributes, rng, n, least)]


def compose_captions(
    attributes: Mapping[str, Attribute], rng: np.random.Generator, n: int = 5, least: float = LEAST_CONFIDENCE
) -> list[Caption]:
    """`n` different long captions; only facts with confidence ≥ `least` are stated.

    A caption is shorter than 40 tokens only when the face has too few sure facts to fill it.
    """
    return _different(attributes, rng, ["long"] * n, least)


def compose_prompts(
    attributes: Mapping[str, Attribute],
    rng: np.random.Generator,
    n: int = 5,
    least: float = LEAST_CONFIDENCE,
    keep: float = 1.0,
) -> list[Caption]:
    """`n` different captions of the styles short, tags and medium in turn, each of at most 30 tokens.

    keep: how likely a fact that is not salient (see `thin_facts`) may be stated at all. A face has some forty facts and
    a prompt states five; below 1, those five are more often the ones that people ask for.
    """
    return _different(attributes, rng, [PROMPT_STYLES[k % 3] for k in range(n)], least, keep)


def _different(
    attributes: Mapping[str, Attribute], rng: np.random.Generator, styles: list[str], least: float, keep: float = 1.0
) -> list[Caption]:
    facts = choose_facts(attributes, least)
    captions: list[Caption] = []
    for style in styles:
        for _ in range(_TRIES):
            caption = compose(facts if keep >= 1 else thin_facts(facts, rng, keep), rng, style)
            if all(caption.text != other.text for other in captions):
                break
        captions.append(caption)
    return captions


def compose(facts: Mapping[str, Value], rng: np.random.Generator, style: str) -> Caption:
    """One caption of a style of STYLES from facts (see `choose_facts`). Raises ValueError for an unknown style."""
    if style not in STYLES:
        raise ValueError(f"unknown caption style {style!r}: choose one of {', '.join(STYLES)}")
    builder, text = start(facts, rng), ""
    if style in ("long", "full"):
        text = _long(builder) if style == "long" else _full(builder)
    else:
        for _ in range(_TRIES):
            builder = start(facts, rng)
            text = _tags(builder) if style == "tags" else builder.write(style) or _bare(builder)
            if _fits(text, style):
                break
    text = polish(text)
    if rng.random() < {"short": 0.35, "tags": 0.7}.get(style, 0.0):  # as people type
        text = text[0].lower() + text[1:].rstrip(".")
    return Caption(text, style, dict(builder.stated))


def start(facts: Mapping[str, Value], rng: np.random.Generator, grammar: Grammar | None = None) -> TextBuilder:
    """An empty draft about the person of these facts, with their age in words."""
    person, states = who(facts)
    extra: dict[str, tuple[str, str]] = {}
    age = facts.get("age")
    if isinstance(age, float | int) and not isinstance(age, bool):
        if age >= 20:
            extra["decade"] = ("age", decade(min(age, 99.0)))
        years = max(1, round(age)) if age < 14 else 5 * round(age / 5)
        extra["years"] = ("age", str(years))
    return TextBuilder(grammar or load("lexicon", "phrases", "captions"), facts, person, rng, extra, states)


def _fits(text: str, style: str) -> bool:
    if style == "short" and not SHORT_WORDS[0] <= len(text.split()) <= SHORT_WORDS[1]:
        return False
    return count_tokens(text) <= PROMPT_TOKENS


def _bare(builder: TextBuilder) -> str:
    """What can always be said."""
    return builder.fill("[a portrait of|a photo of|a picture of|a close-up of] a {noun}.") or ""


def _tags(builder: TextBuilder) -> str:
    """Comma-separated: who, then two to six things, and no full stop."""
    parts = [builder.write("tags_head") or builder.fill("{noun}") or ""]
    for _ in range(int(builder.rng.integers(2, 7))):
        tag = builder.write("tag")
        if tag is None:
            break
        parts.append(_ARTICLE.sub("", tag) if builder.rng.random() < 0.6 else tag)
    return ", ".join(parts)


def _long(builder: TextBuilder) -> str:
    """An opening, then sentences on varying themes until a length is reached that is drawn for this caption."""
    rng = builder.rng
    blocks = [[builder.write("opening") or _bare(builder)]]  # sentences that belong together
    target = rng.triangular(LONG_TOKENS[0] + 5, 75, 130)
    order, chosen = _themes(rng)
    blocks += [[] for _ in order]
    more = [(k, theme) for k, block in enumerate(order) for theme in rng.permutation(list(block))]
    for k, theme in [*chosen, *(more[j] for j in rng.permutation(len(more)))]:
        if _length(blocks) >= target:
            break
        _add(builder, blocks, k + 1, theme)
    return " ".join(sentence for block in blocks for sentence in _joined(block, rng))


def _full(builder: TextBuilder) -> str:
    """An opening, every sentence that its themes have room for, and then what nobody would say unasked."""
    blocks = [[builder.write("opening") or _bare(builder)]]
    for block in _BLOCKS:
        said: list[str] = []
        for theme in block:
            while (sentence := builder.write(f"detail_{theme}")) is not None:
                said.append(sentence)
        blocks.append(said)
    blocks.append(_left(builder))
    return " ".join(sentence for block in blocks for sentence in _joined(block, builder.rng))


def _left(builder: TextBuilder) -> list[str]:
    """A plain sentence on each fact that is not stated yet; what is missing is listed together."""
    said: dict[str, list[str]] = {}  # "she is not" → laughing, frowning; a sentence that denies nothing stands alone
    for topic in TOPICS:
        name = topic.attribute
        if name not in builder.facts or name in builder.stated or (word := topic.word(builder.facts[name])) is None:
            continue
        sentence = builder.fill(topic.say.replace("<v>", word))
        assert sentence is not None  # it states nothing, so nothing can be missing
        found = _DENIAL.fullmatch(sentence)
        said.setdefault(found[1] if found else sentence, []).extend([found[2]] if found else [])
        builder.stated[name] = builder.facts[name]
    return [" ".join([subject, *_listed(things)]) + "." for subject, things in said.items()]


def _listed(things: list[str]) -> list[str]:
    return things if len(things) < 2 else [", ".join(things[:-1]), "or", things[-1]]


def _length(blocks: list[list[str]]) -> int:
    return sum(count_tokens(sentence) for block in blocks for sentence in block)


def _themes(rng: np.random.Generator) -> tuple[list[dict[str, float]], list[tuple[int, str]]]:
    """The blocks in an order for this caption, and the themes to write on: (place of the block, theme)."""
    if rng.random() < 0.6:  # usually the scene comes last, as one describes a picture
        places = [*rng.permutation(len(_BLOCKS) - 1), len(_BLOCKS) - 1]
    else:
        places = list(rng.permutation(len(_BLOCKS)))
    order = [_BLOCKS[k] for k in places]
    chosen = [
        (k, theme)
        for k, block in enumerate(order)
        for theme in rng.permutation(list(block))
        if rng.random() < block[theme]
    ]
    return order, chosen


def _add(builder: TextBuilder, blocks: list[list[str]], place: int, theme: str) -> None:
    """One sentence on the theme, if there is one that fits; preferably not a third in a row with one first word."""
    before = builder.mark()
    length = _length(blocks)
    last = [text.split()[0] for block in blocks[: place + 1] for text in block][-2:]
    sentence = None
    for _ in range(4):
        builder.back_to(before)
        sentence = builder.write(f"detail_{theme}")
        if sentence is None or length + count_tokens(sentence) > LONG_TOKENS[1]:
            builder.back_to(before)
            return
        if len(last) < 2 or set(last) != {sentence.split()[0]}:
            break
    if sentence is not None:
        blocks[place].append(sentence)


def _joined(sentences: list[str], rng: np.random.Generator) -> list[str]:
    """Some runs of two or three short sentences made one: "Her face is round, and she wears glasses." """
    result: list[str] = []
    run: list[str] = []

    def flush() -> None:
        parts = [text.rstrip(".") for text in run]
        if len(parts) == 2 and rng.random() < 0.2:
            result.append("; ".join(parts) + ".")
        elif parts:
            result.append((", ".join(parts[:-1]) + ", and " if len(parts) > 1 else "") + parts[-1] + ".")
        run.clear()

    for sentence in _merged(sentences):
        if len(sentence.split()) > 8 or re.search(r"[,;]| and ", sentence) or _NAMED.match(sentence):
            flush()
            result.append(sentence)
            continue
        if run and (len(run) == 3 or rng.random() < (0.35 if len(run) == 1 else 0.8)):
            flush()
        run.append(sentence)
    flush()
    return result


def _merged(sentences: list[str]) -> list[str]:
    """Neighbours that say two things of one subject in one sentence: "the background is plain and blue"."""
    result: list[str] = []
    for sentence in sentences:
        one, two = (_SAYING.fullmatch(text) for text in (result[-1] if result else "", sentence))
        if one and two and one[1] == two[1]:
            first, second = sorted((one[2], two[2]), key=lambda said: said.startswith("no "))  # "glasses and no hat"
            result[-1] = f"{one[1]} {first} and {second}."
        else:
            result.append(sentence)
    return result
