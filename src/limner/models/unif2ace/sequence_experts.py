"""Sequence level of the grouped mixture of experts: a whole image sequence goes to k = 2 of four experts [P].

    understanding: {CLIP, Face, Copy, Copy}       painting: {Copy, Zero, Noise, Copy}
    Copy(x) = x,  Zero(x) = 0,  Face(x) = w·x + (1 − w)·S(F(X)),  CLIP and Noise likewise

with S a resampler, F(X) the encoder's features of the picture, and w by softmax of a learned projection of x [P]. Noise
mixes in an embedding of the mask ratio γ [O]. The router is linear on the mean image token [O].

Our choice: x becomes x + a ⊙ (Σ g_i E_i(LN x) − LN x) with one learned scale a per channel, zero at first, because then
a fresh level is the identity exactly, and what S gives to all layers alike gets each layer's own scale.

Legend: B batch, N image tokens, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .config import GROUPS, Group, UniF2aceConfig
from .routing import Router, Routing

EXPERTS: dict[Group, tuple[str, str, str, str]] = {
    "understand": ("clip", "face", "copy", "copy"),
    "paint": ("copy", "zero", "noise", "copy"),
}
"""The experts of a group, in the router's order [P]."""


class Mixed(NamedTuple):
    """What experts mix into image tokens; computed once a picture (or step) and read by every layer."""

    clip: Tensor | None = None  # (B, N, D), resampled semantic features
    face: Tensor | None = None  # (B, N, D), resampled identity features
    noise: Tensor | None = None  # (B, 1, D), embedded mask ratio

    def of(self, name: str) -> Tensor:
        """The features expert ``name`` mixes in; ``ValueError`` where the caller gave none."""
        found = getattr(self, name)
        if found is None:
            what = {"clip": "semantic features", "face": "identity features", "noise": "the mask ratio"}[name]
            raise ValueError(f"this model's {name} expert needs {what}: pass them with the sequence")
        return found


class SequenceLevel(nn.Module):
    """One group's sequence level in one block."""

    def __init__(self, config: UniF2aceConfig, group: Group) -> None:
        super().__init__()
        self.names = EXPERTS[group]
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.router = Router(config.width, len(self.names), config.sequence_top_k, renormalise=True)
        mixing = [name for name in self.names if name in Mixed._fields]
        self.mix = nn.ModuleDict({name: nn.Linear(config.width, 2) for name in mixing})
        self.scale = nn.Parameter(torch.empty(config.width))

    def forward(self, x: Tensor, mixed: Mixed) -> tuple[Tensor, Routing]:
        """x: (B, N, D), the image tokens alone. Each sequence is routed as a whole."""
        h = self.norm(x)
        gates, experts, routing = self.router(h.mean(1))  # (B, 2)
        weights = torch.zeros(len(x), len(self.names), device=x.device, dtype=gates.dtype).scatter(1, experts, gates)
        out = torch.zeros_like(h)
        for index, name in enumerate(self.names):
            weight = weights[:, index, None, None]  # 0 where it was not chosen
            if name != "zero" and bool(weight.any()):
                out = out + (weight * self.expert(name, h, mixed)).to(out.dtype)
        return x + self.scale * (out - h), routing

    @torch.no_grad()
    def open_up(self) -> None:
        """Let what experts mix in through from the first step on: scale 1, and 1 − w near .9."""
        self.scale.fill_(1)
        for mix in self.mix.values():
            mix.bias.copy_(torch.tensor([-1.0, 1.0]))  # pyright: ignore[reportCallIssue]

    def expert(self, name: str, h: Tensor, mixed: Mixed) -> Tensor:
        """E_name of normed tokens h, (B, N, D)."""
        if name == "copy":
            return h
        w = torch.softmax(self.mix[name](h), dim=-1)[..., :1]  # (B, N, 1)
        return w * h + (1 - w) * mixed.of(name).to(h.dtype)


class SequenceExperts(nn.Module):
    """The sequence level of a block. The last block has it for painting alone (our choice: because answers come from
    text tokens, and no attention is left that would read the image tokens it changes)."""

    def __init__(self, config: UniF2aceConfig, last: bool) -> None:
        super().__init__()
        groups: list[Group] = ["paint"] if last else list(GROUPS)
        self.groups = nn.ModuleDict({group: SequenceLevel(config, group) for group in groups})

    def forward(self, x: Tensor, group: Group, mixed: Mixed) -> tuple[Tensor, Routing]:
        """(B, N, D) to (B, N, D) for a batch of one group."""
        return self.groups[group](x, mixed)
