"""Multivariate transformer blocks: three streams, of which the mask's never sees the other two.

Legend: B batch, N image tokens, T text tokens, M mask tokens, D width, H heads, E head size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import QKNorm, attend
from .config import MDiTConfig
from .lora import MaskAdapter, StreamAdapter
from .modulation import Conditioning, ConstantModulation, Modulation, modulate

Mod = tuple[Tensor, ...]  # shift, scale, gate (B or 1, 1, D), once or twice
Entered = tuple[Tensor, Tensor, Tensor, "Any"]  # queries, keys, values (B, H, N, E); the MLP's hidden units, if begun
MaskKV = tuple[Tensor, Tensor, "Tensor | None"]
"""Keys and values (B, H, M, E), and what every logit gets on top (B, 1, 1, T + N + M), or None."""


def _join(parts: list[Tensor], mask: Tensor | None) -> Tensor:
    """Concatenate along tokens, the mask's part last and repeated over the batch. (B, H, S, E)"""
    if mask is not None:
        parts = [*parts, mask.expand(parts[0].shape[0], -1, -1, -1)]
    return torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]


def _attend_all(q: Tensor, keys: list[Tensor], values: list[Tensor], mask: MaskKV | None) -> Tensor:
    """O_D: dynamic queries over dynamic keys and, where there is a mask, its cached keys. (B, T + N, D)"""
    k_m, v_m, bias = mask if mask is not None else (None, None, None)
    return attend(q, _join(keys, k_m), _join(values, v_m), bias)


class Stream(nn.Module):
    """One stream's weights in a double block: attention, then MLP, each behind its modulation."""

    def __init__(self, config: MDiTConfig, mlp_ratio: float, constant: bool = False) -> None:
        super().__init__()
        width, hidden = config.width, int(config.width * mlp_ratio)
        self.heads, self.hidden, self.gelu = config.heads, hidden, config.gelu
        self.adapter: StreamAdapter | None = None  # corrections of the dynamic path; the mask's are the block's
        self.modulation = (ConstantModulation if constant else Modulation)(config, 6)
        self.qkv = nn.Linear(width, 3 * width)
        self.norm = QKNorm(config.head_size)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def layers(self) -> dict[str, tuple[int, int]]:
        """Linear layers a mask adapter corrects: name to (inputs, outputs)."""
        return {name: (getattr(self, name).in_features, getattr(self, name).out_features)
                for name in ("qkv", "out", "up", "down")}  # fmt: skip

    def enter(self, x: Tensor, mod: Mod, freqs: Tensor | None, lora: StreamAdapter | None = None) -> Entered:
        """Queries, keys, values (B, H, N, E) of x: (B, N, D); normed, turned."""
        h = modulate(x, mod[0], mod[1])
        return *_heads(_layer(self, "qkv", h, lora), self.heads, self.norm, freqs), None

    def leave(self, x: Tensor, o: Tensor, hidden: None, mod: Mod, lora: StreamAdapter | None = None) -> Tensor:
        """x += g1 Out(o); x += g2 MLP(LN(x)(1 + sc2) + sh2). x, o: (B, N, D)."""
        _, _, gate, shift, scale, gate_mlp = mod
        x = torch.addcmul(x, gate, _layer(self, "out", o, lora))
        h = F.gelu(_layer(self, "up", modulate(x, shift, scale), lora), approximate=self.gelu)
        return torch.addcmul(x, gate_mlp, _layer(self, "down", h, lora))


class MergedStream(nn.Module):
    """The weights of a single block: attention and MLP side by side, one projection in, one out."""

    def __init__(self, config: MDiTConfig, constant: bool = False) -> None:
        super().__init__()
        width, hidden = config.width, int(config.width * config.mlp_ratio)
        self.heads, self.hidden, self.gelu = config.heads, hidden, config.gelu
        self.adapter: StreamAdapter | None = None  # corrections of the dynamic path; the mask's are the block's
        self.modulation = (ConstantModulation if constant else Modulation)(config, 3)
        self.qkv = nn.Linear(width, 3 * width + hidden)  # and the MLP's way up
        self.norm = QKNorm(config.head_size)
        self.out = nn.Linear(width + hidden, width)  # and the MLP's way down

    def layers(self) -> dict[str, tuple[int, int]]:
        """Linear layers a mask adapter corrects: name to (inputs, outputs)."""
        return {name: (getattr(self, name).in_features, getattr(self, name).out_features) for name in ("qkv", "out")}

    def enter(self, x: Tensor, mod: Mod, freqs: Tensor | None, lora: StreamAdapter | None = None) -> Entered:
        """Queries, keys, values (B, H, N, E) and the MLP's hidden units (B, N, 4 D) of x: (B, N, D)."""
        h = _layer(self, "qkv", modulate(x, mod[0], mod[1]), lora)
        qkv, hidden = h.split([h.shape[2] - self.hidden, self.hidden], dim=2)
        return *_heads(qkv, self.heads, self.norm, freqs), F.gelu(hidden.contiguous(), approximate=self.gelu)

    def leave(self, x: Tensor, o: Tensor, hidden: Tensor, mod: Mod, lora: StreamAdapter | None = None) -> Tensor:
        """x += g Out([o; hidden]). x, o: (B, N, D); hidden: (B, N, 4 D)."""
        return torch.addcmul(x, mod[2], _layer(self, "out", torch.cat([o, hidden], dim=2), lora))


def _heads(qkv: Tensor, heads: int, norm: QKNorm, freqs: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, 3 D) to queries and keys, normed and turned, and values: (B, H, N, E) each."""
    qk, v = qkv.unflatten(2, (3, heads, -1)).split([2, 1], dim=2)  # (B, N, 2, H, E), (B, N, 1, H, E)
    return *norm(qk, freqs), v.squeeze(2).transpose(1, 2)


def _layer(stream: nn.Module, name: str, x: Tensor, lora: StreamAdapter | None) -> Tensor:
    y = getattr(stream, name)(x)
    return y if lora is None else lora.apply_to(name, x, y)


class Block(nn.Module):
    """What both kinds of block do with the mask: its stream's weights, and the static path through them."""

    entry_points = ("static", "dynamic")  # what training compiles, recomputes or gathers pieces for

    def __init__(self, base: Stream | MergedStream, own: Stream | MergedStream | None, config: MDiTConfig, last: bool):
        super().__init__()
        self.own, self.adapter, self.last = own, None, last
        if own is None and config.mask_rank:
            layers = {"qkv": (config.width, 2 * config.width)} if last else base.layers()
            self.adapter = MaskAdapter(layers, base.modulation.parts * config.width, config.mask_rank)

    def base(self) -> Stream | MergedStream:
        """The stream whose weights the mask borrows when it has none of its own."""
        raise NotImplementedError

    def mask_stream(self, c_m: Conditioning) -> tuple[Any, Mod]:
        """The weights the mask runs on (to be corrected by ``adapter``, where there is one), and their modulation."""
        stream = self.own if self.own is not None else self.base()
        return stream, stream.modulation(c_m, None if self.adapter is None else self.adapter.table)

    def static(self, m: Tensor, c_m: Conditioning, freqs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """O_M = softmax(Q_M K_MT / sqrt(E)) V_M: mask queries read mask keys only [P].

        m: (B, M, D). Returns the stream's next state (unchanged by the last block), and its keys and values, normed
        and turned, (B, H, M, E) each.
        """
        stream, mod = self.mask_stream(c_m)
        if self.last:
            return m, *self._keys_and_values(stream, m, mod, freqs)
        q, k, v, hidden = stream.enter(m, mod, freqs, self.adapter)
        return stream.leave(m, attend(q, k, v), hidden, mod, self.adapter), k, v

    def _keys_and_values(self, stream: Stream | MergedStream, m: Tensor, mod: Mod, freqs: Tensor):
        """Of the last block: nothing reads what it would make of the mask tokens, so nothing more is computed."""
        h, width = modulate(m, mod[0], mod[1]), m.shape[2]
        rows = slice(width, 3 * width)
        kv = F.linear(h, stream.qkv.weight[rows], stream.qkv.bias[rows])
        kv = kv if self.adapter is None else self.adapter.apply_to("qkv", h, kv)
        k, v = kv.unflatten(2, (2, stream.heads, -1)).unbind(2)  # (B, M, H, E) each
        return stream.norm.key(k, freqs), v.transpose(1, 2)


class DoubleBlock(Block):
    """Text, image and mask each with projections of their own."""

    def __init__(self, config: MDiTConfig, last: bool = False) -> None:
        image = Stream(config, config.mlp_ratio)
        own = Stream(config, config.mlp_ratio, constant=True) if config.mask_weights == "own" else None
        super().__init__(image, own, config, last)
        self.text = Stream(config, config.text_mlp_ratio)
        self.image = image

    def base(self) -> Stream:
        """The image stream."""
        return self.image

    def dynamic(
        self, text: Tensor, x: Tensor, c: Conditioning, freqs: Tensor, mask: MaskKV | None
    ) -> tuple[Tensor, Tensor]:
        """O_D = softmax([Q_T; Q_X][K_T; K_X; K_M]T / sqrt(E))[V_T; V_X; V_M]. text: (B, T, D), x: (B, N, D)."""
        length = text.shape[1]
        lora_t, lora_x = self.text.adapter, self.image.adapter
        mod_t, mod_x = self.text.modulation(c, lora=lora_t), self.image.modulation(c, lora=lora_x)
        q_t, k_t, v_t, _ = self.text.enter(text, mod_t, None, lora_t)  # text ids are zero: it does not turn
        q_x, k_x, v_x, _ = self.image.enter(x, mod_x, freqs[length:], lora_x)
        o = _attend_all(torch.cat([q_t, q_x], dim=2), [k_t, k_x], [v_t, v_x], mask)
        text = self.text.leave(text, o[:, :length], None, mod_t, lora_t)
        return text, self.image.leave(x, o[:, length:], None, mod_x, lora_x)


class SingleBlock(Block):
    """Text and image as one stream; the mask apart."""

    def __init__(self, config: MDiTConfig, last: bool = False) -> None:
        merged = MergedStream(config)
        own = MergedStream(config, constant=True) if config.mask_weights == "own" else None
        super().__init__(merged, own, config, last)
        self.merged = merged

    def base(self) -> MergedStream:
        """The merged stream."""
        return self.merged

    def dynamic(self, tx: Tensor, c: Conditioning, freqs: Tensor, mask: MaskKV | None) -> Tensor:
        """tx: (B, T + N, D), text first."""
        lora = self.merged.adapter
        mod = self.merged.modulation(c, lora=lora)
        q, k, v, hidden = self.merged.enter(tx, mod, freqs, lora)
        return self.merged.leave(tx, _attend_all(q, [k], [v], mask), hidden, mod, lora)
