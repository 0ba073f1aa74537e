"""Requests: what people type to have a face painted, written from the measured attributes of a face.

Captions (`limner.words.captions`) are sentences of one careful writer. People type "old man with a white beard",
"blonde woman, no glasses, smiling", "a guy who isn't smiling" or just "portrait". A request here is drawn in three
steps: how long it is (`LENGTHS`), which facts it states (what people ask for first comes most often; about a third of
the requests deny something that is absent), and how it is put: a noun phrase, tags, a relative clause, a sentence, an
order to draw, in British or American spelling, with or without articles. The wordings are in requests.grammar.

Facts are those of `choose_facts`, so nothing is stated that is unsure or at odds with something surer. Every request
knows which facts it states; a word that fits two values ("smiling", "dark hair") counts as stating the face's own.
Sides are the subject's, as everywhere. Weights are our choice.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from limner.words.captions import Caption
from limner.words.facts import LEAST_CONFIDENCE, choose_facts
from limner.words.grammar import count_tokens
from limner.words.request_facts import Wishes, choose_wishes, find_wishes, make_phrases
from limner.words.request_writer import Kind, RequestWriter

if TYPE_CHECKING:
    from limner.faces.record import Attribute

_Name = TypeVar("_Name", bound=str)

LENGTHS: Mapping[str, float] = {"plain": 0.10, "few": 0.45, "several": 0.35, "many": 0.10}
"""Share of each length: at most a noun and what the picture is called; one to three facts; four to six; more."""

LONGEST = 28
"""Tokens by `count_tokens`; odd words have two pieces, and the small text encoder reads 30."""

_COUNTS: Mapping[str, tuple[int, tuple[float, ...]]] = {  # the fewest facts, and the shares of that and more
    "few": (1, (0.14, 0.41, 0.45)),
    "several": (4, (0.4, 0.35, 0.25)),
    "many": (7, (0.5, 0.3, 0.2)),
}
# Share of the requests with facts that deny something, where a face has enough that people deny: below this sum of
# weights (`DENIED`) it is less, or a smiling woman with glasses would be asked for without a hat all the time.
_DENY, _ENOUGH = 0.39, 4.0
_KINDS: Mapping[str, Mapping[Kind, float]] = {
    "few": {"phrase": 0.58, "tags": 0.17, "telegram": 0.08, "clause": 0.09, "sentence": 0.08},
    "several": {"phrase": 0.24, "mixed": 0.25, "tags": 0.26, "telegram": 0.03, "clause": 0.08, "sentence": 0.14},
    "many": {"mixed": 0.35, "tags": 0.40, "sentence": 0.25},
}
_TRIES = 8  # for a text that this face does not have yet


def compose_requests(
    attributes: Mapping[str, Attribute], rng: np.random.Generator, count: int, least: float = LEAST_CONFIDENCE
) -> list[Caption]:
    """`count` requests for one face, different as far as it has enough to say.

    Each is at most LONGEST tokens by `count_tokens`; its style is its length, a key of `LENGTHS`. Only facts with
    confidence ≥ `least` are stated.
    """
    wishes = find_wishes(choose_facts(attributes, least))
    captions: list[Caption] = []
    seen: set[str] = set()
    for _ in range(count):
        length = _draw(LENGTHS, rng)
        for _ in range(_TRIES):
            caption = _compose(wishes, rng, length)
            if caption.text not in seen:
                break
        seen.add(caption.text)
        captions.append(caption)
    return captions


def _draw(weights: Mapping[_Name, float], rng: np.random.Generator) -> _Name:
    sums = list(accumulate(weights.values()))
    return list(weights)[bisect(sums, rng.random() * sums[-1])]


def _compose(wishes: Wishes, rng: np.random.Generator, length: str) -> Caption:
    if length == "plain" or not (wishes.stated or wishes.denied):
        writer = RequestWriter(wishes, rng, "gender_presentation" in wishes.facts)
        return Caption(writer.plain(), "plain", writer.stated)
    fewest, shares = _COUNTS[length]
    count = fewest + int(np.searchsorted(np.cumsum(shares), rng.random()))
    deny = rng.random() < _DENY * min(1.0, sum(wishes.denied.values()) / _ENOUGH)
    while True:
        chosen = choose_wishes(wishes, rng, count, deny)
        writer = RequestWriter(wishes, rng, "gender_presentation" in chosen)
        text = writer.write(make_phrases(wishes, chosen, rng), _draw(_KINDS[length], rng))
        if count_tokens(text) <= LONGEST:
            return Caption(text, length, writer.stated)
        count = max(1, count - 1)
