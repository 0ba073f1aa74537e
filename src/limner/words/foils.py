"""Foils: prompts that are wrong about a face in one fact, each beside the same prompt as it should be.

Of all that decides how a face looks, a word such as "glasses" decides very little, so a painter that only learns which
pictures belong to which words may never learn that word. A true prompt and its foil state the same but for it; often
they are worded alike, too. (The name is that of Shekhar et al., "FOIL it!", ACL 2017: captions with one wrong word.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from limner.words.captions import PROMPT_STYLES, compose
from limner.words.facts import SALIENT
from limner.words.grammar import Value

FOILED_AS = 2
"""Which way of writing them this is, for prepared parts: to be raised with whatever writes others."""
KEEP = 0.4
"""How likely a prompt may state each fact besides the one that its foil gets wrong."""
ODDS = {"glasses": 6.0, "age_group": 4.0, "beard": 3.0, "hair_colour": 3.0, "smile": 2.0}
"""How often each fact is got wrong; others 1. Our choice: most often what a painter learns last, because it decides the
fewest of a picture's tokens, or what few faces show."""
_TRIES, _WORDINGS = 20, 6
_HAIR = ("black", "brown", "blond", "red", "grey", "white")

# attribute → value → values that are wrong then. Our choice: neighbours are (a middle-aged face is no young one), but
# for a smile and a slight one, a beard and stubble, grey hair and white; nobody is wrongly called a child, and no
# background medium. So some words are more often true than wrong, and the loss of foils also learns which.
WRONG: dict[str, dict[Value, tuple[Value, ...]]] = {
    "gender_presentation": {"woman": ("man",), "man": ("woman",)},
    "age_group": {
        "child": ("middle-aged", "older"),
        "young adult": ("middle-aged", "older"),
        "middle-aged": ("young adult", "older"),
        "older": ("young adult", "middle-aged"),
    },
    "hair_colour": {
        colour: tuple(other for other in _HAIR if other != colour and {colour, other} != {"grey", "white"})
        for colour in _HAIR
    },
    "smile": {"none": ("slight", "broad"), "slight": ("none",), "broad": ("none",)},
    "glasses": {True: (False,), False: (True,)},
    "hat": {True: (False,), False: (True,)},
    "beard": {"none": ("full",), "stubble": ("none",), "full": ("none",)},
    "background_brightness": {"dark": ("bright",), "medium": ("dark", "bright"), "bright": ("dark",)},
}


@dataclass(frozen=True)
class FoilPair:
    """A true prompt, its foil, and the attribute that the foil is wrong about."""

    text: str
    foil: str
    attribute: str


def compose_foils(facts: Mapping[str, Value], rng: np.random.Generator, n: int) -> list[FoilPair]:
    """`n` true prompts with a foil each; fewer where too little is known of the face, or no two wordings fit together.

    facts: what may be stated (`salient_facts`). Which fact is wrong is drawn (`ODDS`); both prompts state it, and
    otherwise the same.
    """
    known = {name: value for name, value in facts.items() if name in SALIENT}
    if known.get("gender_presentation") != "man" or known.get("age_group") == "child":
        known.pop("beard", None)  # nobody would ask for one
    names = [name for name in sorted(known) if WRONG[name].get(known[name])]
    odds = np.array([ODDS.get(name, 1.0) for name in names])
    pairs = []
    for _ in range(n if names else 0):
        name = names[int(rng.choice(len(names), p=odds / odds.sum()))]
        others = WRONG[name][known[name]]
        pairs.append(_pair(known, name, others[int(rng.integers(len(others)))], rng))
    return [pair for pair in pairs if pair is not None]


def _pair(known: Mapping[str, Value], name: str, wrong: Value, rng: np.random.Generator) -> FoilPair | None:
    """A prompt that states fact `name` and some others, and the same with `wrong` in its place; None if none came."""
    for _ in range(_TRIES):
        facts = {other: value for other, value in known.items() if other == name or rng.random() < KEEP}
        if name == "gender_presentation":
            facts.pop("beard", None)
        style, seed = PROMPT_STYLES[int(rng.integers(len(PROMPT_STYLES)))], int(rng.integers(1 << 32))
        true = compose(facts, np.random.default_rng(seed), style)
        if name not in true.stated:
            continue
        for more in range(_WORDINGS):  # the first of them mostly words it as the true one is worded
            foil = compose({**facts, name: wrong}, np.random.default_rng(seed + more), style)
            if foil.stated == {**true.stated, name: wrong}:
                return FoilPair(true.text, foil.text, name)
    return None
