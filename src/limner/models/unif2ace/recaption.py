"""Words to paint a face by, measured on what its codes show.

A codec of few bits loses looks: of the nano codec's remade faces the analysers still call a fifth of the older ones
older and see a third of the beards (`limner evaluate codec --attributes`). A prompt that claims what the codes have
lost teaches a painter that its words mean nothing. Our choice: the codes are decoded, and the words are written about
that.

Legend: B pictures, N codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from limner.faces.image_tensors import to_pictures
from limner.faces.reader import FaceReader
from limner.words.captions import compose_captions, compose_prompts
from limner.words.facts import choose_facts, salient_facts
from limner.words.grammar import Value
from limner.words.mirror import mirror_words

CAPTIONS, PROMPTS = 4, 4
"""Long captions, and prompts of any facts, a face."""
SHOWN_AS = 1
"""Which way of writing this is, for prepared parts."""
KEEP = 0.1
"""How likely a salient prompt may state each fact that is not salient."""


class Decoder(Protocol):
    """The half of a discrete codec that is needed."""

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, N) to pictures (B, 3, 256, 256) in [-1, 1]."""
        ...


@dataclass(frozen=True)
class Shown:
    """What can be said of a face's codes: long captions, prompts, and the salient facts."""

    captions: tuple[str, ...]
    prompts: tuple[str, ...]
    looks: Mapping[str, Value]

    def mirrored(self) -> Shown:
        """What can be said of the mirror image."""
        return Shown(tuple(map(mirror_words, self.captions)), tuple(map(mirror_words, self.prompts)), self.looks)


@torch.no_grad()
def recaption(
    decoder: Decoder, reader: FaceReader, codes: Tensor, seeds: Sequence[int], salient: int
) -> list[Shown | None]:
    """Decode codes (B, N) and write about what the analysers find; None where they find no face, or nothing to say.

    seeds: of the wording, one a face. salient: prompts more that mostly keep to the salient facts.
    """
    found = reader.read_crops(to_pictures(decoder.decode(codes.long())))
    shown: list[Shown | None] = []
    for face, seed in zip(found, seeds, strict=True):
        facts = {} if face is None else face.attributes
        if not choose_facts(facts):
            shown.append(None)
            continue
        random = np.random.default_rng(seed)
        captions = compose_captions(facts, random, CAPTIONS)
        prompts = [
            *compose_prompts(facts, random, salient, keep=KEEP),
            *compose_prompts(facts, random, PROMPTS),
        ]
        shown.append(Shown(tuple(c.text for c in captions), tuple(p.text for p in prompts), salient_facts(facts)))
    return shown
