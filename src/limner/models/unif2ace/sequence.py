"""Sequences of the two tasks as token ids, and who may look at whom in them.

    paint:       [pad…][t2i][sot] text [eot][soi] image [eoi]       text left-padded to a fixed length [S]
    understand:  [mmu][soi] image [eoi]([sot] question answer [eot])…[pad…]                            [S]

Padding counts as a position in both.

Legend: B batch, L tokens of a sequence, N image tokens, T text length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .config import Group, UniF2aceConfig

IGNORED = -100
"""Label of a token that is not predicted."""

Turn = tuple[Sequence[int], Sequence[int]]
"""A question and its answer, as token ids."""


def question_text(question: str) -> str:
    """The words a question is asked in, start-of-text not included [S]."""
    return f"USER: \n{question} ASSISTANT:"


def prefix_length(config: UniF2aceConfig) -> int:
    """Tokens of a painting sequence before [soi]: task token and text. They never see the image."""
    return config.text_length + 1


def image_place(config: UniF2aceConfig, group: Group) -> slice:
    """Where the image tokens stand in a sequence of that group."""
    start = prefix_length(config) + 1 if group == "paint" else 2
    return slice(start, start + config.image_tokens)


def code_ids(config: UniF2aceConfig) -> slice:
    """Token ids of the image codes."""
    return slice(config.first_code, config.mask_id)


def text_ids(config: UniF2aceConfig) -> slice:
    """Token ids an answer is made of."""
    return slice(0, config.text_vocabulary)


def image_segment(config: UniF2aceConfig, codes: Tensor) -> Tensor:
    """[soi] image [eoi]: (B, N) codes, ``codebook`` where masked, to (B, N + 2) ids."""
    if codes.shape[1] != config.image_tokens:
        raise ValueError(f"{codes.shape[1]} image codes: this model's pictures have {config.image_tokens}")
    if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) <= config.codebook:
        raise ValueError(f"image codes go from 0 to {config.codebook - 1}, and {config.codebook} is a masked one")
    start, end = (codes.new_full((len(codes), 1), config.special(name)) for name in ("soi", "eoi"))
    return torch.cat([start, codes + config.first_code, end], dim=1)


def words_room(config: UniF2aceConfig) -> int:
    """Tokens of a text that a painting reads, start and end left out."""
    return config.text_length - 2


def text_prefix(config: UniF2aceConfig, texts: Sequence[Sequence[int]]) -> Tensor:
    """[pad…][t2i][sot] text [eot] of token ids without start and end: (B, T + 1). Longer ones are cut before [eot] [S].

    An empty text is the condition classifier-free guidance drops to [S].
    """
    rows = []
    for text in texts:
        words = [config.special("t2i"), config.sot, *_words(config, text)[: words_room(config)], config.eot]
        rows.append([config.special("pad")] * (prefix_length(config) - len(words)) + words)
    return torch.tensor(rows)


def paint_sequence(config: UniF2aceConfig, texts: Sequence[Sequence[int]], codes: Tensor) -> Tensor:
    """A whole painting sequence, (B, T + 1 + N + 2). codes: (B, N), ``codebook`` where masked."""
    return torch.cat([text_prefix(config, texts).to(codes.device), image_segment(config, codes)], dim=1)


class UnderstandingBatch(NamedTuple):
    """A batch of understanding sequences."""

    tokens: Tensor
    """(B, L) ids, padded on the right."""
    labels: Tensor
    """(B, L): answers and their [eot], ``IGNORED`` elsewhere."""
    lengths: Tensor
    """(B,) tokens of each before padding."""
    turns: Tensor
    """(B, L): 0 for the picture's tokens, k for those of turn k, padding too."""


def understand_sequence(
    config: UniF2aceConfig,
    codes: Tensor,
    questions: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]] | None = None,
) -> UnderstandingBatch:
    """Pictures' codes (B, N), questions and answers as token ids. Without answers: prompts, to be gone on from."""
    if answers is not None:
        return conversation_sequence(config, codes, [[turn] for turn in zip(questions, answers, strict=True)])
    asked = [[config.sot, *_words(config, question)] for question in questions]
    return _packed(config, codes, asked, [[IGNORED] * len(text) for text in asked], [[1] * len(text) for text in asked])


def conversation_sequence(config: UniF2aceConfig, codes: Tensor, talks: Sequence[Sequence[Turn]]) -> UnderstandingBatch:
    """Pictures' codes (B, N), each with several turns, one after another: [sot] question answer [eot][sot] question …

    Our choice: because a picture is most of a sequence, several turns cost little more than one, and a model that saw
    earlier turns can be talked with.
    """
    texts, labels, turns = [], [], []
    for talk in talks:
        text, label, turn = [], [], []
        for number, (question, answer) in enumerate(talk, start=1):
            asked, said = [config.sot, *_words(config, question)], [*_words(config, answer), config.eot]
            text += asked + said
            label += [IGNORED] * len(asked) + said
            turn += [number] * (len(asked) + len(said))
        texts.append(text)
        labels.append(label)
        turns.append(turn)
    return _packed(config, codes, texts, labels, turns)


def isolate_turns(given: UnderstandingBatch, mask: Tensor) -> tuple[Tensor, Tensor]:
    """A mask (B, L, L) and positions (B, L) under which every turn is as if it were the only one, after the picture.

    mask: ``omni_mask`` of the sequence. Our choice: because a model that sees earlier answers copies from them where it
    should look, and because a picture's tokens, most of a sequence, are then read once for many questions.
    """
    turns = given.turns
    own = (turns[:, None, :] == 0) | (turns[:, None, :] == turns[:, :, None])
    place = torch.arange(turns.shape[1], device=turns.device)
    begins = turns.diff(dim=1, prepend=turns[:, :1]) != 0
    start = (place * begins).cummax(1).values  # (B, L), 0 in the picture
    picture = (turns == 0).sum(1, keepdim=True)
    return mask & own, torch.where(turns == 0, place, place - start + picture)


def _packed(
    config: UniF2aceConfig, codes: Tensor, texts: list[list[int]], labels: list[list[int]], turns: list[list[int]]
) -> UnderstandingBatch:
    image = torch.cat([codes.new_full((len(codes), 1), config.special("mmu")), image_segment(config, codes)], dim=1)
    longest = max(len(text) for text in texts)
    pad, read = config.special("pad"), image.shape[1]
    padded = [text + [pad] * (longest - len(text)) for text in texts]
    tokens = torch.cat([image, torch.tensor(padded, device=codes.device)], dim=1)
    full = [[IGNORED] * read + label + [IGNORED] * (longest - len(label)) for label in labels]
    lengths = torch.tensor([read + len(text) for text in texts], device=codes.device)
    numbers = [[0] * read + turn + turn[-1:] * (longest - len(turn)) for turn in turns]
    spoken, numbered = (torch.tensor(rows, device=codes.device) for rows in (full, numbers))
    return UnderstandingBatch(tokens, spoken, lengths, numbered)


def leading_padding(padding: Tensor) -> int:
    """Columns at the left of (B, L) bool that are padding in every row: nobody sees them, so they can be left out."""
    return int(padding.all(0).cumprod(0).sum())


def _words(config: UniF2aceConfig, text: Sequence[int]) -> list[int]:
    words = list(text)
    if words and not 0 <= min(words) <= max(words) < config.text_vocabulary:
        raise ValueError(f"text ids go from 0 to {config.text_vocabulary - 1}: tokenize with this model's tokenizer")
    return words


def omni_mask(config: UniF2aceConfig, tokens: Tensor, group: Group) -> Tensor:
    """Omni-attention: (B, L) ids to (B, L, L) bool, True where row i may look at column j.

    Paint: text is causal; rows [soi] … [eoi] see all text and all image. Understand: causal, and every column up to
    [eoi] is visible to all rows [S]. Nobody sees padding but padding, causally, so that no row is without a column
    (our choice: because a softmax over nothing is not a number; what padding computes is read by nobody).
    """
    length = tokens.shape[1]
    place = torch.arange(length, device=tokens.device)
    causal = place[:, None] >= place  # (L, L)
    pad = tokens == config.special("pad")  # (B, L)
    if group == "paint":
        image = ((tokens == config.special("soi")).cumsum(1) > 0)[:, :, None]  # nothing follows [eoi]
        seen = causal | image
    else:
        end = (tokens == config.special("eoi")).int().argmax(1)  # (B,)
        seen = causal | (place <= end[:, None])[:, None, :]
    return torch.where(pad[:, None, :], pad[:, :, None] & causal, seen)
