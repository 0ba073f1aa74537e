"""Guidance over two conditions, words and mask, in one batched evaluation.

With v(c, m) the velocity under words c and mask m, and e an absent condition,

    v = v(e, e) + s_m (v(e, m) - v(e, e)) + s_c (v(c, m) - v(e, m))
      = (1 - s_m) v(e, e) + (s_m - s_c) v(e, m) + s_c v(c, m)

(InstructPix2Pix's two scales, eq. 3, mask first) [R]. A branch whose factor is 0 is not evaluated: with s_m = 1 two
branches are left, which share the mask's cache; with s_m = s_c two others. Our choice: the mask first, because every
word is then weighed against the same face shape.

Legend: B pictures, R branches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from limner.errors import InputError

from .embedding import Prompt
from .flow import Velocity
from .mask_cache import MaskCache, join
from .transformer import MDiT


class Branch(NamedTuple):
    """One evaluation and its share in the sum."""

    factor: float
    words: bool
    mask: bool


def branches(has_words: bool, has_mask: bool, guidance: float, mask_guidance: float) -> list[Branch]:
    """The branches of a guided step, none with factor 0, at least one."""
    if has_words and has_mask:
        parts = [Branch(1 - mask_guidance, False, False), Branch(mask_guidance - guidance, False, True),
                 Branch(guidance, True, True)]  # fmt: skip
    elif has_words:
        parts = [Branch(1 - guidance, False, False), Branch(guidance, True, False)]
    elif has_mask:
        parts = [Branch(1 - mask_guidance, False, False), Branch(mask_guidance, False, True)]
    else:
        parts = [Branch(1.0, False, False)]
    return [part for part in parts if part.factor != 0.0]


def guided_velocity(
    model: MDiT,
    prompt: Prompt,
    mask: MaskCache | None,
    null_mask: MaskCache | None,
    guidance: float,
    mask_guidance: float,
    has_words: bool = True,
    distilled: float | None = None,
) -> Velocity:
    """The guided velocity as a function of (x_t, t), for any sampler.

    prompt: of B pictures; its empty form stands in for absent words. mask: of 1 or B rows, or None. null_mask: one row,
    for branches without mask; None where the model learned none (FLUX), then such a branch has no mask tokens.
    distilled: the guidance that is an input of the network, for models with ``guidance_embed``.
    """
    pictures = prompt.tokens.shape[0]
    parts = branches(has_words, mask is not None, guidance, mask_guidance)
    prompts = Prompt.join([prompt if part.words else prompt.empty() for part in parts])
    caches = [mask if part.mask else null_mask for part in parts]
    if any(cache is None for cache in caches) and any(cache is not None for cache in caches):
        raise InputError(f"mask_guidance={mask_guidance}: this model learned no null mask to guide away from; use 1")
    shared = caches[0]
    if shared is not None and any(cache is not shared for cache in caches):
        shared = join([_rows(cache, pictures) for cache in caches if cache is not None])
    elif shared is not None and shared.batch > 1:
        shared = join([_rows(shared, pictures)] * len(parts))
    features = None if shared is None else shared.features_for(model)
    factors = [part.factor for part in parts]

    @torch.no_grad()
    def velocity(x: Tensor, t: float) -> Tensor:
        times = torch.full((pictures * len(parts),), t, device=x.device)
        strength = None if distilled is None else torch.full_like(times, distilled)
        every = model(torch.cat([x] * len(parts)), times, prompts, features, strength).float()  # (R B, ...)
        return torch.stack([factor * v for factor, v in zip(factors, every.split(pictures))]).sum(0)

    return velocity


def _rows(cache: MaskCache, pictures: int) -> MaskCache:
    return cache if cache.batch == pictures else cache.expand(pictures)
