"""One token at a time, for one or two rows: the understanding group's weights laid out again for that, in 16 bits.

A step for so few tokens takes as long as its weights take to be read from memory, and as the many small calls around
them. So the layers that read the same state stand in one matrix, what is added up stands in another,

    [qkv | up of the shared expert | up of all routed experts]·h
    [out | down of the shared expert | g_1·down_1 | … | g_X·down_X]·[attended | GELU(up)]

gates weigh hidden units, nothing is counted for the balance, and matrices are float16, half of what is read (our
choice, measured: benchmarks/unif2ace_speed.py). Sums, norms, softmax and what layers pass on are float32. The image
tokens of a sequence level are past by the time answers are decoded, so it has no part here.

Legend: B rows, D width, H heads, E head size, X experts, U hidden units of all experts together, S columns read.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import GROUPS
from .experts import FeedForward, RoutedExperts, TokenExperts
from .kv_cache import KVCache
from .rope import rotate, rotations
from .sequence import text_ids
from .transformer import Attention, Block, UniF2aceTransformer

ROWS = 2
"""Most rows for which this is faster than the model itself."""


class DecoderWeights(NamedTuple):
    """A block's weights as a step reads them."""

    norm: nn.LayerNorm
    attention: Attention
    read: Tensor  # (3 D + U, D)
    read_bias: Tensor  # (3 D + U,)
    write: Tensor  # (D, D + U)
    write_bias: Tensor  # (D,)
    routed: RoutedExperts | None


class TokenDecoder:
    """The same answers as the model's, but for near ties (exactly, for ``torch.float32``).

    It keeps what the model's weights were when it was made.
    """

    def __init__(self, model: UniF2aceTransformer, dtype: torch.dtype = torch.float16) -> None:
        self.model, self.config, self.dtype = model, model.config, dtype
        self.blocks = [pack_decoder_weights(block, dtype) for block in model.blocks if isinstance(block, Block)]
        words = text_ids(self.config)
        self.head, self.head_bias = model.head.weight.detach()[words].to(dtype), model.head.bias.detach()[words]

    @staticmethod
    def suits(model: UniF2aceTransformer, rows: int) -> bool:
        """Whether it is the faster way for that many rows: on a CPU, for a model in float32."""
        weight = model.head.weight
        return rows <= ROWS and weight.device.type == "cpu" and weight.dtype == torch.float32

    @torch.no_grad()
    def step(self, tokens: Tensor, seen: Tensor, positions: Tensor, past: KVCache) -> tuple[Tensor, KVCache]:
        """The next token's scores over text, (B, V), and the cache with this token.

        tokens: (B,) ids; seen: (B, S + 1) bool, columns they may look at; positions: (B,); past: S columns.
        """
        config, cache = self.config, past.extended(1)
        freqs = rotations(positions[:, None], config.rotary_size, config.rope_theta)
        mask = None if bool(seen.all()) else seen[:, None, None]
        x = self.model.embed(tokens)  # (B, D)
        for index, block in enumerate(self.blocks):
            x = x + self._block(block, block.norm(x), freqs, mask, index, cache)
        return self._times(self.model.norm(x), self.head) + self.head_bias, cache

    def _times(self, x: Tensor, matrix: Tensor) -> Tensor:
        return F.linear(x.to(self.dtype), matrix).float()

    def _block(
        self,
        block: DecoderWeights,
        h: Tensor,
        freqs: tuple[Tensor, Tensor],
        mask: Tensor | None,
        index: int,
        cache: KVCache,
    ) -> Tensor:
        """What attention and all experts add to (B, D), for the normed state h."""
        width, attention = self.config.width, block.attention
        read = self._times(h, block.read) + block.read_bias
        q, k, v = read[:, : 3 * width].view(len(h), 3, attention.heads, 1, -1).unbind(1)  # (B, H, 1, E) each
        if attention.q_norm is not None and attention.k_norm is not None:
            q, k = attention.q_norm(q), attention.k_norm(k)
        q, k = rotate(torch.cat([q, k], 1), freqs).chunk(2, 1)
        keys, values = cache.write(index, k, v)
        attended = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask).reshape(len(h), width)
        hidden = F.gelu(read[:, 3 * width :], approximate=self.config.gelu)  # (B, U)
        if block.routed is None:
            return self._times(torch.cat([attended, hidden], 1), block.write) + block.write_bias
        gates = block.routed.gates(h)  # (B, X)
        own = hidden.shape[1] - gates.shape[1] * self.config.expert_width
        weighed = (hidden[:, own:].view(*gates.shape, -1) * gates[:, :, None]).flatten(1)
        biases = gates @ block.routed.down_bias.view(-1, width)
        return self._times(torch.cat([attended, hidden[:, :own], weighed], 1), block.write) + block.write_bias + biases


@torch.no_grad()
def pack_decoder_weights(block: Block, dtype: torch.dtype) -> DecoderWeights:
    """A block's weights for ``TokenDecoder``, as copies in ``dtype``."""
    attention, experts = block.attention, block.ffn
    assert isinstance(experts, TokenExperts)
    shared = experts.shared[GROUPS.index("understand") if len(experts.shared) == 2 else 0]
    assert isinstance(shared, FeedForward)
    up, up_bias, down = [shared.up.weight], [shared.up.bias], [shared.down.weight]
    routed = None
    if "understand" in experts.routed:
        routed = experts.routed["understand"]
        assert isinstance(routed, RoutedExperts)
        up.append(routed.up.flatten(0, 1))
        up_bias.append(routed.up_bias)
        down.append(routed.down.transpose(0, 1).flatten(1))
    return DecoderWeights(
        block.norm,
        attention,
        torch.cat([attention.qkv.weight, *up]).to(dtype),
        torch.cat([attention.qkv.bias, *up_bias]),
        torch.cat([attention.out.weight, *down], 1).to(dtype),
        attention.out.bias + shared.down.bias,
        routed,
    )
