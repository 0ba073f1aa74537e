"""The transformer of UniF²ace (arXiv 2503.08120) on Show-o's backbone, Phi-1.5 with an enlarged vocabulary.

A block is parallel, as Phi's [S]: one LayerNorm feeds attention and the token level, both are added to the residual;
then the sequence level works on the image tokens. Without experts this is Show-o.

Legend: B batch, N tokens given, S columns read (cached and given), D width, H heads, E head size, V token ids.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import Group, UniF2aceConfig
from .experts import TokenExperts
from .features import RatioEmbedding, Resampler
from .kv_cache import KVCache
from .rope import RotaryFrequencies, rotate, rotations
from .routing import Routing
from .sequence_experts import Mixed, SequenceExperts


class Attention(nn.Module):
    """Softmax attention with LayerNorm on queries and keys [S] and partial rotary positions."""

    def __init__(self, config: UniF2aceConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        norms = (
            [nn.LayerNorm(config.head_size, eps=config.norm_eps) for _ in range(2)] if config.qk_norm else [None] * 2
        )
        self.q_norm, self.k_norm = norms

    def forward(
        self,
        h: Tensor,
        mask: Tensor | None,
        freqs: RotaryFrequencies,
        layer: int,
        cache: KVCache | None,
        copies: int = 1,
    ) -> Tensor:
        """h: (B, N, D); mask: (B or 1, 1, N, S), added to scores; cache: extended, to be written.

        copies: of each row, for a cache of so many times as many: (copies·B, N, D) is returned.
        """
        q, k, v = self.qkv(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()  # (B, H, N, E) each
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, freqs).to(v.dtype), rotate(k, freqs).to(v.dtype)
        q, k, v = (copied(each, copies) for each in (q, k, v))
        if cache is not None:
            k, v = cache.write(layer, k, v)
        o = attend(q, k, v, mask)
        return self.out(o.transpose(1, 2).flatten(2))


def copied(x: Tensor, copies: int) -> Tensor:
    """All rows (B, …), and all rows again: (copies·B, …)."""
    return x if copies == 1 else x.repeat(copies, *[1] * (x.ndim - 1))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention, (B, H, N, E). mask: (B or 1, 1, N, S), added to scores: −∞ where a row may not look.

    While learning on a CPU it is written out (our choice: because the way back of the fused kernel is slower there;
    benchmarks/unif2ace_speed.py).
    """
    if not (q.requires_grad and torch.is_grad_enabled()) or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask
    return scores.softmax(-1).to(v.dtype) @ v


class Block(nn.Module):
    """x += Attention(LN x) + FFN(LN x); then the sequence level on the image tokens."""

    def __init__(self, config: UniF2aceConfig, last: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.attention = Attention(config)
        self.ffn = TokenExperts(config)
        self.sequence = SequenceExperts(config, last) if config.sequence_experts else None

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        group: Group,
        freqs: RotaryFrequencies,
        layer: int,
        cache: KVCache | None,
        counted: Tensor,
        image: slice | None,
        mixed: Mixed,
        copies: int = 1,
    ) -> tuple[Tensor, Routing | None, Routing | None]:
        """x: (B, N, D), and how both levels routed; counted: (B, N) bool, tokens that are not padding.

        copies: of each row, which then differ by what the cache holds for each: (copies·B, N, D) is returned.
        """
        h = self.norm(x)
        attended = self.attention(h, mask, freqs, layer, cache, copies)
        fed, tokens = self.ffn(h, group, counted)
        x = copied(x, copies) + attended + copied(fed, copies)
        if self.sequence is None or group not in self.sequence.groups or image is None:
            return x, tokens, None
        part, sequences = self.sequence(x[:, image], group, mixed)
        return torch.cat([x[:, : image.start], part, x[:, image.stop :]], dim=1), tokens, sequences


class Output(NamedTuple):
    """What a forward pass found."""

    hidden: Tensor
    """Normed states, (B, N, D); ``UniF2aceTransformer.logits`` reads them."""
    token_routing: tuple[Routing, ...]
    """Per layer, over the tokens that are not padding; empty in a dense model."""
    sequence_routing: tuple[Routing, ...]
    """Per layer, over the batch; empty where no image tokens were given or the model has no such level."""
    cache: KVCache | None
    """Columns read so far, these included, if a cache was given."""


class UniF2aceTransformer(nn.Module):
    """Token ids to states; a head reads logits from the states that matter."""

    def __init__(self, config: UniF2aceConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocabulary, config.width)
        self.places = nn.Parameter(torch.empty(config.image_tokens, config.width)) if config.learned_positions else None
        self.blocks = nn.ModuleList(Block(config, last=i == config.layers - 1) for i in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.head = nn.Linear(config.width, config.vocabulary)
        self.clip_in = Resampler(config, config.clip_width) if config.sequence_experts else None
        self.face_in = Resampler(config, config.face_width) if config.sequence_experts else None
        self.ratio_in = RatioEmbedding(config) if config.sequence_experts else None

    def initialise(self, generator: torch.Generator) -> UniF2aceTransformer:
        """Fresh weights from a CPU generator: normal with deviation 0.02 as Phi's, layers that write into the residual
        stream 1/√(2L) of it; routed experts' way down and the sequence level's scale zero.
        """
        writes = ("attention.out.weight", "ffn.shared.0.down.weight", "ffn.shared.1.down.weight")
        modules = dict(self.named_modules())
        for name, parameter in self.named_parameters():
            if isinstance(modules[name.rpartition(".")[0]], nn.LayerNorm):
                (nn.init.ones_ if name.endswith("weight") else nn.init.zeros_)(parameter)
            elif name.endswith(("bias", ".scale")) or (".routed." in name and name.endswith(".down")):
                nn.init.zeros_(parameter)
            else:
                deviation = 0.02 * ((2 * self.config.layers) ** -0.5 if name.endswith(writes) else 1.0)
                nn.init.normal_(parameter, std=deviation, generator=generator)
        return self

    def fit_features(self, clip: Tensor | None, face: Tensor | None, generator: torch.Generator) -> None:
        """Start the resamplers anew, fitted to feature tokens (B, F, C) of some faces (``Resampler.fit``), with the
        understanding group's sequence level open to them. One without features is left as it is, as is a
        dense model."""
        for resampler, features in ((self.clip_in, clip), (self.face_in, face)):
            if resampler is not None and features is not None:
                resampler.fit(features, generator)
        for module in self.modules():
            if isinstance(module, SequenceExperts) and "understand" in module.groups:
                module.groups["understand"].open_up()  # pyright: ignore[reportCallIssue]

    def mix(self, clip: Tensor | None = None, face: Tensor | None = None, gamma: Tensor | None = None) -> Mixed:
        """What the sequence level mixes in, once a picture or step; empty for a model without that level.

        clip, face: feature tokens (B, F, C) of ``FeatureEncoder``s, for understanding; gamma: mask ratios (B,) in
        [0, 1], for painting.
        """
        return Mixed(
            None if clip is None or self.clip_in is None else self.clip_in(clip),
            None if face is None or self.face_in is None else self.face_in(face),
            None if gamma is None or self.ratio_in is None else self.ratio_in(gamma),
        )

    def forward(
        self,
        tokens: Tensor,
        mask: Tensor | None,
        group: Group,
        *,
        image: slice | None = None,
        mixed: Mixed | None = None,
        positions: Tensor | None = None,
        past: KVCache | None = None,
        copies: int = 1,
    ) -> Output:
        """States of ``tokens`` (B, N) ids, a batch of one group.

        mask: (B or 1, N, S) bool, True where a row may look (see ``omni_mask``); None: everywhere. image: where among
        the N the image tokens stand, if they are among them. mixed: from ``mix``; ``ValueError`` where an expert needs
        what it lacks. positions: (B or 1, N); default: counted on from the cache. past: columns read before, possibly
        none (``KVCache.empty``); the returned cache then goes on from there. copies: for the same tokens after so many
        beginnings each, with a cache of copies·B rows; all else is given and returned for copies·B rows, too, and what
        the first block finds in tokens alone, before it looks at the cache, is found once.
        """
        batch, count = tokens.shape
        read = 0 if past is None else past.length
        if past is not None:
            past.check(self.config, group, copies * batch)
        if positions is None:
            positions = torch.arange(read, read + count, device=tokens.device)[None]
        freqs = rotations(positions, self.config.rotary_size, self.config.rope_theta)
        counted = tokens != self.config.special("pad")
        cache = None if past is None else past.extended(count)
        x = self.embed(tokens)  # (B, N, D)
        see = None if mask is None else x.new_zeros(mask.shape).masked_fill(~mask, -torch.inf)[:, None]
        if self.places is not None and image is not None:
            x = x + F.pad(self.places, (0, 0, image.start, count - image.stop))
        token_routing, sequence_routing = [], []
        for index, block in enumerate(self.blocks):
            x, tokens_routed, sequences_routed = block(
                x, see, group, freqs, index, cache, counted, image, mixed or Mixed(), copies
            )
            counted, copies = copied(counted, copies), 1
            token_routing += [tokens_routed] if tokens_routed is not None else []
            sequence_routing += [sequences_routed] if sequences_routed is not None else []
        return Output(self.norm(x), tuple(token_routing), tuple(sequence_routing), cache)

    def logits(self, hidden: Tensor, ids: slice | None = None) -> Tensor:
        """Scores of the token ids ``ids`` (all of them by default) for states (..., D): (..., V)."""
        ids = ids if ids is not None else slice(None)
        return F.linear(hidden, self.head.weight[ids], self.head.bias[ids])
