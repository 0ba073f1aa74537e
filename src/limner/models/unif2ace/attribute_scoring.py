"""What a model holds of every attribute of a face: each is asked for, and each answer it may have is weighed.

Our choice: because what comes to mind in a free description is a third of what the model can tell, and a description
says nothing of how sure it is. Nothing is drawn, so a survey has no seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from limner.faces.record import Attribute
from limner.words.attribute_questions import Probe, first_probe, probes
from limner.words.captions import compose
from limner.words.claims import read_claims
from limner.words.facts import choose_facts
from limner.words.grammar import Value

from .generation import text_ids
from .kv_cache import KVCache
from .tokenizer import Tokenizer
from .transformer import UniF2aceTransformer

BY = "unif2ace"
SURE = 0.6
"""Least probability of what is told: on validation faces, .9 of it was right, and .75 of what was measured was told."""


LEAST = 1e-6
"""What is added to a claim's probability before its logarithm is taken: one impossible claim does not outweigh all."""


class AnswerTrie:
    """Many texts that begin alike, read in one pass: each token once, seeing the way that leads to it and nothing else.

    A node is a token after all those from the root, which is the start of text, to its parent.
    """

    def __init__(self, root: int) -> None:
        self.tokens, self.ways = [root], [[0]]  # of each node, and the nodes from the root to it, itself included
        self._children: dict[tuple[int, int], int] = {}  # (node, token) → node

    def grow(self, node: int, tokens: Sequence[int]) -> int:
        """The node that is reached from ``node`` by these tokens, made where it is not there."""
        for token in tokens:
            if (node, token) not in self._children:
                self._children[node, token] = len(self.tokens)
                self.ways.append([*self.ways[node], len(self.tokens)])
                self.tokens.append(token)
            node = self._children[node, token]
        return node

    @torch.no_grad()
    def log_p(self, model: UniF2aceTransformer, pictures: KVCache) -> Tensor:
        """Log p of every text token after every node, for each picture: (B, nodes, V)."""
        device = model.head.weight.device
        sees = torch.zeros(len(self.tokens), len(self.tokens), dtype=torch.bool, device=device)
        for node, way in enumerate(self.ways):
            sees[node, way] = True
        tokens = torch.tensor(self.tokens, device=device).expand(pictures.batch, -1)
        depth = torch.tensor([len(way) - 1 for way in self.ways], device=device)
        mask = torch.cat([sees.new_ones(len(sees), pictures.length), sees], dim=1).expand(pictures.batch, -1, -1)
        positions = (pictures.length + depth).expand(pictures.batch, -1)
        hidden = model(tokens, mask, "understand", positions=positions, past=pictures).hidden
        return torch.log_softmax(model.logits(hidden, text_ids(model.config)).float(), dim=-1)


def score_attributes(model: UniF2aceTransformer, tokenizer: Tokenizer, pictures: KVCache) -> list[dict[str, Attribute]]:
    """For each picture, attribute → the likeliest value and its probability among all values that it may have.

    An attribute that does not show in a picture has one, too: ``facts.choose_facts`` leaves out what cannot be said
    beside the rest.
    """
    found = weigh(model, tokenizer, pictures, [first_probe()])
    whom = [max(face["gender_presentation"], key=face["gender_presentation"].__getitem__) for face in found]
    for value in sorted(set(whom), key=str):  # who is alike is asked about in the same words
        alike = [k for k, each in enumerate(whom) if each == value]
        rows = pictures.rows(torch.tensor(alike, device=model.head.weight.device))
        asked = probes({"gender_presentation": value})
        for k, more in zip(alike, weigh(model, tokenizer, rows, asked), strict=True):
            found[k].update(more)
    return [{name: _likeliest(shares) for name, shares in face.items()} for face in found]


def agreement(model: UniF2aceTransformer, tokenizer: Tokenizer, pictures: KVCache, text: str) -> Tensor | None:
    """How well what a text claims fits each picture by the model's own answers: the sum of the logarithms of what each
    claim is worth, (B,); None for a text that claims nothing that can be asked about."""
    claims = read_claims(text)
    facts: dict[str, Value] = {name: claims[name][0] for name in claims if name == "gender_presentation"}
    asked = [
        probe
        for probe in (first_probe(), *probes(facts))
        if set(claims.get(probe.attribute, ())) & probe.answers.keys()
    ]
    if not asked:
        return None
    found = weigh(model, tokenizer, pictures, asked)
    return torch.tensor(
        [
            sum(
                math.log(sum(shares.get(value, 0.0) for value in claims[name]) + LEAST) for name, shares in face.items()
            )
            for face in found
        ]
    )


def tell(found: Mapping[str, Attribute], seed: int) -> str:
    """What a survey is sure of, in sentences. seed: of the wording."""
    return compose(choose_facts(found, SURE), np.random.default_rng(seed), "full").text


def weigh(
    model: UniF2aceTransformer, tokenizer: Tokenizer, pictures: KVCache, asked: Sequence[Probe]
) -> list[dict[str, dict[Value, float]]]:
    """For each picture, attribute → each value that it may have → its probability among them."""
    tree, places = AnswerTrie(model.config.sot), []
    for probe in asked:
        node = tree.grow(0, tokenizer.question(probe.question))
        for answer in tokenizer.encode(list(probe.answers.values())):
            last = tree.grow(node, answer[:-1])  # nothing follows the last token, so it needs no place
            places.append((tree.ways[last][len(tree.ways[node]) - 1 :], answer))
    log_p = tree.log_p(model, pictures).cpu()  # (B, nodes, V)
    scores = torch.stack([log_p[:, nodes, answer].sum(1) for nodes, answer in places], dim=1)  # (B, answers)
    shares = [torch.softmax(each, 1).tolist() for each in scores.split([len(probe.answers) for probe in asked], dim=1)]
    return [
        {probe.attribute: dict(zip(probe.answers, of[k], strict=True)) for probe, of in zip(asked, shares, strict=True)}
        for k in range(pictures.batch)
    ]


def _likeliest(shares: Mapping[Value, float]) -> Attribute:
    value = max(shares, key=shares.__getitem__)
    return Attribute(value, shares[value], BY)
