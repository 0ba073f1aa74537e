"""Guided logits of a painting, for any sampler: words are read once, each step reads the image alone.

Text rows are causal and see no image, so their keys and values are the same at every step: exact, not an approximation.

Legend: B pictures, N image tokens, K codes, T text length, P columns of words.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .config import UniF2aceConfig
from .kv_cache import KVCache
from .sequence import code_ids, image_segment, leading_padding, omni_mask, prefix_length, text_prefix
from .transformer import UniF2aceTransformer
from .unmasking import Predict


class EncodedPrompt:
    """Prompts a model has read: a value, for any number of steps, seeds and samplers."""

    def __init__(self, cache: KVCache, padding: Tensor) -> None:
        self.cache = cache
        self.padding = padding  # (B, T + 1) bool, True where there is no text

    @property
    def count(self) -> int:
        """B."""
        return len(self.padding)

    def rows(self, index: Tensor) -> EncodedPrompt:
        """The chosen prompts, in that order and as often as they are named."""
        return EncodedPrompt(self.cache.rows(index), self.padding[index])


@torch.no_grad()
def encode_prompt(model: UniF2aceTransformer, texts: Sequence[Sequence[int]]) -> EncodedPrompt:
    """Read prompts, token ids without start and end; an empty one stands for no words at all."""
    tokens = text_prefix(model.config, texts).to(model.head.weight.device)
    mask = omni_mask(model.config, tokens, "paint")
    empty = KVCache.empty(model.config, "paint", len(tokens), model.head.weight)
    cache = model(tokens, mask, "paint", past=empty).cache
    assert cache is not None
    return EncodedPrompt(cache, tokens == model.config.special("pad"))


def image_mask(config: UniF2aceConfig, padding: Tensor) -> Tensor:
    """What rows [soi] … [eoi] see: all text and all image, no padding. (B, P) to (B, N + 2, P + N + 2)."""
    rows = config.image_tokens + 2
    seen = torch.cat([~padding, padding.new_ones(len(padding), rows)], dim=1)
    return seen[:, None].expand(-1, rows, -1)


def guided_logits(
    model: UniF2aceTransformer, words: EncodedPrompt, empty: EncodedPrompt | None = None, guidance: float = 0.0
) -> Predict:
    """logits = (1 + g)·words − g·empty [S], as a function of (codes, γ); over image codes only, of masked tokens only.

    Logits are linear in the states, so it is the states that are mixed, and the head is read once (our choice).
    empty: the empty prompt read by the same model, one row; without it, or with g = 0, words alone decide and the
    second branch is not evaluated.
    """
    config, count = model.config, words.count
    guided = empty is not None and guidance != 0
    copies = 2 if guided else 1  # of the image, after words and after none
    if guided:
        assert empty is not None
        every = torch.zeros(count, dtype=torch.long)
        words = _join(words, empty.rows(every))
    assert words.cache.length == prefix_length(config)
    spare = leading_padding(words.padding)
    read, mask = words.cache.without_first(spare), image_mask(config, words.padding[:, spare:])
    positions = torch.arange(prefix_length(config), prefix_length(config) + mask.shape[1])[None].to(mask.device)

    @torch.no_grad()
    def predict(codes: Tensor, gamma: float) -> Tensor:
        device = model.head.weight.device
        tokens = image_segment(config, codes.to(device))
        mixed = model.mix(gamma=torch.full((words.count,), gamma, device=device))
        place = slice(1, 1 + config.image_tokens)
        out = model(tokens, mask, "paint", image=place, mixed=mixed, positions=positions, past=read, copies=copies)
        hidden, masked = out.hidden[:, place], tokens[:, place] == config.mask_id
        if guided:
            one, other = (half[masked].float() for half in hidden.chunk(2))  # (M, D)
            wanted = ((1 + guidance) * one - guidance * other).to(hidden.dtype)
        else:
            wanted = hidden[masked]
        return model.logits(wanted, code_ids(config)).float().to(codes.device)

    return predict


def _join(one: EncodedPrompt, other: EncodedPrompt) -> EncodedPrompt:
    return EncodedPrompt(one.cache.joined(other.cache), torch.cat([one.padding, other.padding]))
