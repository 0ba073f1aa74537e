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
from .sequence import IGNORED, code_ids, image_place, omni_mask, paint_sequence, text_ids, understand_sequence
from .transformer import UniF2ace


class Painted(NamedTuple):
    """A painting loss and how tokens were routed on the way."""

    loss: D3Diff
    routing: tuple[Routing, ...]


def paint_loss(
    model: UniF2ace,
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
    place = image_place(config, "paint")
    out = model(tokens, omni_mask(config, tokens, "paint"), "paint", image=place, mixed=model.mix(gamma=gamma))
    logits = model.logits(out.hidden[:, place][masked], code_ids(config))  # (M, K)
    return Painted(d3diff(logits, codes, masked, gamma, alpha, mask_weight), out.token_routing)


class Answered(NamedTuple):
    """An understanding loss, a mean over answer tokens, and how tokens were routed on the way."""

    loss: Tensor
    routing: tuple[Routing, ...]


def answer_loss(
    model: UniF2ace,
    codes: Tensor,
    questions: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    clip: Tensor | None = None,
    face: Tensor | None = None,
) -> Answered:
    """Cross-entropy of the next token, over answers and their [eot]. clip, face: feature tokens of the pictures."""
    config = model.config
    given = understand_sequence(config, codes, questions, answers)
    mask = omni_mask(config, given.tokens, "understand")
    place, mixed = image_place(config, "understand"), model.mix(clip=clip, face=face)
    out = model(given.tokens, mask, "understand", image=place, mixed=mixed)
    read = given.labels[:, 1:] != IGNORED  # the state before a token predicts it
    logits = model.logits(out.hidden[:, :-1][read], text_ids(config)).float()  # (M, V)
    return Answered(F.cross_entropy(logits, given.labels[:, 1:][read]), out.token_routing)


def balance(*routings: tuple[Routing, ...]) -> Tensor:
    """Sum over groups of their balance losses; 0 for a dense model. Sequence routers are left alone (our choice:
    because two of their four experts are the same)."""
    found = [balance_loss(routing) for routing in routings if routing]
    return torch.stack(found).sum() if found else torch.zeros(())
