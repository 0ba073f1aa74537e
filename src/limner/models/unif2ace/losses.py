"""What the two tasks minimise: next tokens of answers, D3Diff of pictures, and the balance of each group's routers.

    L = L_understand + L_D3Diff + λ·Σ over groups of the balance loss      [P; weights 1 : 1 S, λ O]

Logits are computed only where a loss reads them: at answers over text tokens, at masked tokens over image codes.

Legend: B batch, N image tokens, M tokens a loss reads, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .d3diff import ALPHA, D3Diff, d3diff
from .routing import Routing, balance_loss
from .sequence import (
    IGNORED,
    Turn,
    code_ids,
    conversation_sequence,
    image_place,
    leading_padding,
    omni_mask,
    paint_sequence,
    text_ids,
    turns_apart,
)
from .transformer import Output, UniF2aceTransformer


class Painted(NamedTuple):
    """A painting loss and how tokens, and image sequences, were routed on the way, layer by layer."""

    loss: D3Diff
    routing: tuple[Routing, ...]
    sequence: tuple[Routing, ...]


def paint_loss(
    model: UniF2aceTransformer,
    texts: Sequence[Sequence[int]],
    codes: Tensor,
    masked: Tensor,
    gamma: Tensor,
    alpha: float = ALPHA,
    mask_weight: float = 1.0,
) -> Painted:
    """D3Diff of pictures under words. codes: (B, N); masked: (B, N) bool; gamma: (B,), from ``draw_masks``."""
    config = model.config
    tokens = paint_sequence(config, texts, codes.masked_fill(masked, config.codebook))
    spare, place = leading_padding(tokens == config.special("pad")), image_place(config, "paint")
    positions = torch.arange(spare, tokens.shape[1], device=tokens.device)[None]  # padding counts as a position
    tokens, place = tokens[:, spare:], slice(place.start - spare, place.stop - spare)
    mask, mixed = omni_mask(config, tokens, "paint"), model.mix(gamma=gamma)
    out = model(tokens, mask, "paint", image=place, mixed=mixed, positions=positions)
    logits = model.logits(out.hidden[:, place][masked], code_ids(config))  # (M, K)
    return Painted(d3diff(logits, codes, masked, gamma, alpha, mask_weight), *_routings(out))


class Answered(NamedTuple):
    """An understanding loss, a mean over answer tokens, and how tokens and image sequences were routed."""

    loss: Tensor
    routing: tuple[Routing, ...]
    sequence: tuple[Routing, ...]


def answer_loss(
    model: UniF2aceTransformer,
    codes: Tensor,
    questions: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    clip: Tensor | None = None,
    face: Tensor | None = None,
) -> Answered:
    """Cross-entropy of the next token, over answers and their [eot]. clip, face: feature tokens of the pictures."""
    talks = [[turn] for turn in zip(questions, answers, strict=True)]
    return conversation_loss(model, codes, talks, clip, face)


def conversation_loss(
    model: UniF2aceTransformer,
    codes: Tensor,
    talks: Sequence[Sequence[Turn]],
    clip: Tensor | None = None,
    face: Tensor | None = None,
    apart: bool = False,
) -> Answered:
    """``answer_loss`` of several turns on each picture, later ones after earlier ones; ``apart``: each as if it were
    the only one (``turns_apart``)."""
    config = model.config
    given = conversation_sequence(config, codes, talks)
    mask, positions = omni_mask(config, given.tokens, "understand"), None
    if apart:
        mask, positions = turns_apart(given, mask)
    place, mixed = image_place(config, "understand"), model.mix(clip=clip, face=face)
    out = model(given.tokens, mask, "understand", image=place, mixed=mixed, positions=positions)
    read = given.labels[:, 1:] != IGNORED  # the state before a token predicts it
    logits = model.logits(out.hidden[:, :-1][read], text_ids(config)).float()  # (M, V)
    return Answered(F.cross_entropy(logits, given.labels[:, 1:][read]), *_routings(out))


def _routings(out: Output) -> tuple[tuple[Routing, ...], tuple[Routing, ...]]:
    return out.token_routing, out.sequence_routing


def balance(*routings: tuple[Routing, ...]) -> Tensor:
    """Sum over groups of their balance losses; 0 for a dense model. Sequence routers are left alone (our choice:
    because two of their four experts are the same)."""
    found = [balance_loss(routing) for routing in routings if routing]
    return torch.stack(found).sum() if found else torch.zeros(())
