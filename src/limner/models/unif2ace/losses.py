"""What the two tasks minimise: next tokens of answers, D3Diff of pictures, and the balance of each group's routers.

    L = L_understand + L_D3Diff + λ·Σ over groups of the balance loss      [P; weights 1 : 1 S, λ O]

Logits are computed only where a loss reads them: at answers over text tokens, at masked tokens over image codes.
Our choice for models as small as the nano one: ``foil_loss`` besides, for words that decide little of a picture.

Legend: B batch, N image tokens, M tokens a loss reads, D width, K codes.
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
    isolate_turns,
    leading_padding,
    omni_mask,
    paint_sequence,
    text_ids,
)
from .transformer import Output, UniF2aceTransformer

SHARPNESS = 0.3
"""Of ``foil_loss``. Our choice: tokens are predicted one by one though a fact decides many of them together, so their
sum says several times too much; at 0.1 painted hair glows in its colour, since only margins of 30 nats are enough."""
FOILS_FROM = 0.7
"""Earliest time t of the masks that foils are told by: where nine tokens in ten are masked, words decide the rest."""


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
    logits, out = _masked_logits(model, texts, codes, masked, gamma)
    return Painted(d3diff(logits, codes, masked, gamma, alpha, mask_weight), *_routings(out))


def foil_loss(
    model: UniF2aceTransformer,
    texts: Sequence[Sequence[int]],
    foils: Sequence[Sequence[int]],
    codes: Tensor,
    masked: Tensor,
    gamma: Tensor,
    sharpness: float = SHARPNESS,
) -> tuple[Tensor, Tensor]:
    """How hard it is to tell true words from their foils by how likely they make the picture, a mean over pictures:

        −log σ(β·(log p_θ(x₀|x_t, true) − log p_θ(x₀|x_t, foil))),   β = sharpness

    Our choice: of the 5 nats a code surprises by, words explain a hundredth, and "glasses" a hundredth of that; here
    what true words and foil have in common mostly cancels. Where both are equally often true it asks, at β = 1, for
    what the likelihood does: −log p(true words | picture). (Kin: noise-contrastive alignment, arXiv 2410.09347, whose
    foils are words of other pictures.) texts, foils: B each; codes: (B, N); masked: (B, N) bool; gamma: (B,). Returns
    the loss, and the share of pictures that true words make likelier.
    """
    twice = [drawn.repeat(2, *[1] * (drawn.ndim - 1)) for drawn in (codes, masked, gamma)]
    logits, _ = _masked_logits(model, [*texts, *foils], *twice)
    rows = twice[1].nonzero()[:, 0]  # (M,)
    surprise = F.cross_entropy(logits.float(), twice[0][twice[1]], reduction="none")  # (M,)
    of_true, of_foil = surprise.new_zeros(len(twice[0])).index_add(0, rows, surprise).chunk(2)  # (B,) each
    margin = of_foil - of_true
    return F.softplus(-sharpness * margin).mean(), (margin > 0).float().mean()


def _masked_logits(
    model: UniF2aceTransformer, texts: Sequence[Sequence[int]], codes: Tensor, masked: Tensor, gamma: Tensor
) -> tuple[Tensor, Output]:
    """Logits (M, K) over image codes of the masked tokens in row-major order, under words."""
    config = model.config
    tokens = paint_sequence(config, texts, codes.masked_fill(masked, config.codebook))
    spare, place = leading_padding(tokens == config.special("pad")), image_place(config, "paint")
    positions = torch.arange(spare, tokens.shape[1], device=tokens.device)[None]  # padding counts as a position
    tokens, place = tokens[:, spare:], slice(place.start - spare, place.stop - spare)
    mask, mixed = omni_mask(config, tokens, "paint"), model.mix(gamma=gamma)
    out = model(tokens, mask, "paint", image=place, mixed=mixed, positions=positions)
    return model.logits(out.hidden[:, place][masked], code_ids(config)), out


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
    the only one (``isolate_turns``)."""
    config = model.config
    given = conversation_sequence(config, codes, talks)
    mask, positions = omni_mask(config, given.tokens, "understand"), None
    if apart:
        mask, positions = isolate_turns(given, mask)
    place, mixed = image_place(config, "understand"), model.mix(clip=clip, face=face)
    out = model(given.tokens, mask, "understand", image=place, mixed=mixed, positions=positions)
    read = given.labels[:, 1:] != IGNORED  # the state before a token predicts it
    logits = model.logits(out.hidden[:, :-1][read], text_ids(config)).float()  # (M, V)
    return Answered(F.cross_entropy(logits, given.labels[:, 1:][read]), *_routings(out))


def text_loss(model: UniF2aceTransformer, texts: Sequence[Sequence[int]]) -> Answered:
    """Cross-entropy of the next token of plain text, [sot] text [eot], as of a language model: causal, without a
    picture [S]. texts: token ids without start and end."""
    config = model.config
    rows = [[config.sot, *text, config.eot] for text in texts]
    longest, pad = max(map(len, rows)), config.special("pad")
    device = model.norm.weight.device
    tokens = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=device)
    given = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows], device=device)
    out = model(tokens, omni_mask(config, tokens, "understand"), "understand")
    read = given[:, 1:]
    logits = model.logits(out.hidden[:, :-1][read], text_ids(config)).float()  # (M, V)
    return Answered(F.cross_entropy(logits, tokens[:, 1:][read]), *_routings(out))


def _routings(out: Output) -> tuple[tuple[Routing, ...], tuple[Routing, ...]]:
    return out.token_routing, out.sequence_routing


def balance(*routings: tuple[Routing, ...]) -> Tensor:
    """Sum over groups of their balance losses; 0 for a dense model. Sequence routers are left alone (our choice:
    because two of their four experts are the same)."""
    found = [balance_loss(routing) for routing in routings if routing]
    return torch.stack(found).sum() if found else torch.zeros(())
