"""Text generation: batched, cached, streamed.

A picture is read once and asked any number of questions, each on its own or after those before it. Prompts of a batch
have different lengths; padding between a prompt and its answer is seen by nobody and is no position of the answer, so a
batch answers as each would alone.

Legend: B rows, L tokens of the longest prompt, P columns read before it, S columns read, V text token ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from limner.errors import InputError

from .kv_cache import KVCache
from .sequence import image_place, image_segment, omni_mask, text_ids
from .sequence_experts import Mixed
from .token_decoder import TokenDecoder
from .transformer import UniF2aceTransformer
from .unmasking import uniforms

Callback = Callable[[int, Tensor], None]
"""After each token: (how many so far, this one of every row (B,), ``eot`` for rows that have ended). To stop, raise."""

NO_REPEAT_NGRAM_SIZE = 5
"""Our choice: because the grammar's captions never say so many tokens in a row twice (none of 311 held-out ones does),
and a small model that takes the likeliest token comes back to what it has said."""

MOST = 2048
"""Tokens of a conversation, its picture among them, after which no question is asked: Phi-1.5's positions [S]."""


class DialogState(NamedTuple):
    """State of conversations about pictures, to continue from."""

    cache: KVCache
    seen: Tensor
    """(B, P) bool: columns of the cache that belong to the row; the others are padding and seen by nobody."""
    unread: list[list[int]]
    """What was said, or is to be taken as said, and is not in the cache: tokens before the next start of text."""

    @classmethod
    def of(cls, pictures: KVCache, before: Sequence[Sequence[int]] | None = None) -> DialogState:
        """Pictures about which nothing was said but ``before``, token ids of each row up to an end of text."""
        seen = torch.ones(pictures.batch, pictures.length, dtype=torch.bool, device=pictures.layer(0)[0].device)
        return cls(pictures, seen, [list(ids) for ids in before or [[]] * pictures.batch])

    def lengths(self) -> list[int]:
        """Tokens of each row, its picture's among them, read or not."""
        return [read + len(unread) for read, unread in zip(self.seen.sum(1).tolist(), self.unread, strict=True)]


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How the next token is chosen."""

    temperature: float = 0.0
    """0: always the likeliest that may come; above, logits are divided by it."""
    top_k: int | None = None
    """Only the k likeliest can be drawn."""
    top_p: float = 1.0
    """Only the likeliest, up to this probability together, can be drawn."""
    no_repeat_ngram_size: int = NO_REPEAT_NGRAM_SIZE
    """So many tokens in a row are not said twice in an answer; 0: they may be."""

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature={self.temperature}: 0 for the likeliest token, or above")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k={self.top_k}: at least 1, or None for all")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p}: above 0, up to 1 for all")
        if self.no_repeat_ngram_size < 0:
            raise ValueError(
                f"no_repeat_ngram_size={self.no_repeat_ngram_size}: how many tokens in a row, or 0 to let them repeat"
            )

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, V) logits to what is drawn from, (B, V); the likeliest token always remains."""
        if self.temperature == 0:
            return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).float()
        p = torch.softmax(logits.float() / self.temperature, dim=-1)
        order = p.argsort(dim=-1, descending=True, stable=True)
        ranked = p.gather(-1, order)
        before = ranked.cumsum(-1) - ranked  # probability of all that are likelier
        keep = before < self.top_p
        keep[:, 0] = True
        if self.top_k is not None:
            keep[:, self.top_k :] = False
        p = torch.zeros_like(p).scatter(-1, order, ranked * keep)
        return p / p.sum(-1, keepdim=True)


@torch.no_grad()
def read_pictures(model: UniF2aceTransformer, codes: Tensor, mixed: Mixed | None = None) -> KVCache:
    """[mmu][soi] image [eoi] of pictures' codes (B, N): all that questions need, once a picture.

    mixed: of ``model.mix(clip=…, face=…)``.
    """
    config = model.config
    start = codes.new_full((len(codes), 1), config.special("mmu"))
    tokens = torch.cat([start, image_segment(config, codes)], dim=1).to(model.head.weight.device)
    mask = omni_mask(config, tokens, "understand")
    empty = KVCache.empty(config, "understand", len(tokens), model.head.weight)
    place = image_place(config, "understand")
    cache = model(tokens, mask, "understand", image=place, mixed=mixed, past=empty).cache
    assert cache is not None
    return cache


def answer(
    model: UniF2aceTransformer,
    pictures: KVCache,
    questions: Sequence[Sequence[int]],
    limit: int = 256,
    sampling: SamplingParams | None = None,
    seed: int | Sequence[int] = 0,
    callback: Callback | None = None,
    decoder: TokenDecoder | None = None,
) -> list[list[int]]:
    """Answers to one question per row of ``pictures`` (see ``read_pictures`` and ``KVCache.rows``), as token ids.

    Arguments as ``converse``.
    """
    return converse(model, DialogState.of(pictures), questions, limit, sampling, seed, callback, decoder)[0]


@torch.no_grad()
def converse(
    model: UniF2aceTransformer,
    state: DialogState,
    questions: Sequence[Sequence[int]],
    limit: int = 256,
    sampling: SamplingParams | None = None,
    seed: int | Sequence[int] = 0,
    callback: Callback | None = None,
    decoder: TokenDecoder | None = None,
) -> tuple[list[list[int]], DialogState]:
    """Generate answers to one question per row, continuing from ``state``. Returns token ids and the new state.

    questions: token ids without start of text. Each answer ends before [eot], or after ``limit`` tokens. Row k draws
    from generator ``seed + k``, or ``seed[k]``, so it draws alike in any batch. Logits are computed for the last row
    only, and for text tokens only (our choice: because an answer is words). decoder: of this model; takes the place of
    its forward pass for every token after the question, where that is faster; its rounding can turn a near tie, the
    likeliest tokens' or the draws'. ``InputError`` for a conversation that has grown too long.
    """
    config, device, sampling = model.config, model.head.weight.device, sampling or SamplingParams()
    state.cache.check(config, "understand", len(questions))
    seeds = [seed + row for row in range(len(questions))] if isinstance(seed, int) else seed
    noise = [torch.Generator().manual_seed(each) for each in seeds]
    texts = [[*unread, config.sot, *question] for unread, question in zip(state.unread, questions, strict=True)]
    lengths = torch.tensor([len(text) for text in texts], device=device)
    longest = int(lengths.max())
    read = state.seen.sum(1)  # (B,) tokens of each row, which are its positions
    if (grown := int((read + lengths).max())) > MOST:
        raise InputError(f"this conversation has grown to {grown} tokens of at most {MOST}: begin a new one")
    pad = config.special("pad")
    tokens = torch.tensor([text + [pad] * (longest - len(text)) for text in texts], device=device)
    place = torch.arange(longest, device=device)
    seen = torch.cat([state.seen, place < lengths[:, None]], dim=1)  # (B, S): columns an answer may look at
    causal = (place[:, None] >= place).expand(len(texts), -1, -1)
    mask = torch.cat([state.seen[:, None].expand(-1, longest, -1), causal], dim=2)  # (B, L, P + L)
    out = model(tokens, mask, "understand", positions=read[:, None] + place, past=state.cache)
    cache, last = out.cache, out.hidden[torch.arange(len(texts), device=device), lengths - 1]  # (B, D)
    assert cache is not None
    logits = model.logits(last, text_ids(config))
    quick = decoder if decoder is not None and decoder.suits(model, len(texts)) else None
    answers: list[list[int]] = [[] for _ in texts]
    ended = torch.zeros(len(texts), dtype=torch.bool)
    for count in range(1, limit + 1):
        scores = logits.float().cpu()
        for row, said in enumerate(answers):
            scores[row, repeats(said, sampling.no_repeat_ngram_size)] = -torch.inf
        if sampling.temperature == 0:
            chosen = scores.argmax(-1)  # (B,)
        else:
            chosen = sample_tokens(sampling.probabilities(scores), uniforms(noise, scores.shape[1]))
        chosen = chosen.masked_fill(ended, config.eot)
        ended |= chosen == config.eot
        for row in (~ended).nonzero()[:, 0].tolist():
            answers[row].append(int(chosen[row]))
        if callback is not None:
            callback(count, chosen)
        if bool(ended.all()) or count == limit:
            break
        seen = torch.cat([seen, ~ended[:, None].to(device)], dim=1)
        positions, tokens = read + lengths + count - 1, chosen.to(device)
        if quick is not None:
            logits, cache = quick.step(tokens, seen, positions, cache)
            continue
        out = model(tokens[:, None], seen[:, None], "understand", positions=positions[:, None], past=cache)
        cache, logits = out.cache, model.logits(out.hidden[:, 0], text_ids(config))
        assert cache is not None
    fresh = (seen.sum(1) - read - lengths).tolist()  # tokens of each answer that were read
    return answers, DialogState(cache, seen, [[*said[count:], config.eot] for said, count in zip(answers, fresh)])


def sample_tokens(probabilities: Tensor, u: Tensor) -> Tensor:
    """A token of each row by the Gumbel-max trick: argmax log p + Gumbel. (B, V) and uniforms (B, V) to (B,).

    Our choice, not inversion: because a rounding of p then changes a draw as seldom as it is small, wherever in the
    vocabulary it happens. In the form argmax p / exponential, so that what has no chance never wins.
    """
    return (probabilities / -torch.log(u.clamp(min=1e-30))).argmax(-1)


@torch.no_grad()
def likelihood(model: UniF2aceTransformer, pictures: KVCache, question: Sequence[int], answer: Sequence[int]) -> Tensor:
    """How likely a model finds one answer to one question about each picture: mean log p of its tokens, (B,)."""
    config, device = model.config, model.head.weight.device
    text = [config.sot, *question, *answer]
    tokens = torch.tensor([text] * pictures.batch, device=device)
    causal = torch.ones(len(text), len(text), dtype=torch.bool, device=device).tril()
    mask = torch.cat([causal.new_ones(len(text), pictures.length), causal], dim=1).expand(pictures.batch, -1, -1)
    hidden = model(tokens, mask, "understand", past=pictures).hidden[:, len(question) : -1]  # before each answer token
    log_p = torch.log_softmax(model.logits(hidden, text_ids(config)).float(), dim=-1)
    return log_p.gather(-1, tokens[:, len(question) + 1 :, None])[..., 0].mean(1)


def repeats(said: Sequence[int], n: int) -> list[int]:
    """Tokens that would say ``n`` tokens in a row a second time; none for n = 0."""
    if n == 0 or len(said) < n:
        return []
    last = said[len(said) - n + 1 :]
    return [said[k + n - 1] for k in range(len(said) - n + 1) if said[k : k + n - 1] == last]
