"""Token level of the grouped mixture of experts: the feed-forward network and, beside it, small routed experts.

    FFN(h) = shared(h) + Σ_{i in top-k} g_i·E_i(h)      per group: one shared expert, N = 8 routed, k = 4 [P]

The shared expert is Show-o's own network, and the routed experts' way down starts at zero, so a converted model starts
as Show-o, bit for bit. No token is dropped. There are two ways to the same sum:

    sorted    tokens in the order of their experts, every expert multiplying once: where 2k < X
    wide      all experts as one network, its hidden units weighed by the gates, zero for experts that were not chosen:
              where 2k ≥ X, on any device; up to twice the multiplications

Every preset has k = 4 of X = 8 [P] and so goes wide; fewer of them, or more experts, are sorted. Our choice: because
two large products beat X small ones and their sorting by 1.4 times in a training step of nano on a CPU
(benchmarks/unif2ace_speed.py), and because on a GPU, where we have not measured, sorting waits for the counts.

Legend: T tokens, D width, H hidden units, X experts, k chosen.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import GROUPS, Group, UniF2aceConfig
from .routing import Router, Routing


class FeedForward(nn.Module):
    """Down(GELU(Up(h))): Phi's network [S]."""

    def __init__(self, config: UniF2aceConfig) -> None:
        super().__init__()
        self.gelu = config.gelu
        self.up = nn.Linear(config.width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, config.width)

    def forward(self, h: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return self.down(F.gelu(self.up(h), approximate=self.gelu))


class RoutedExperts(nn.Module):
    """One group's router and its X small networks of H hidden units."""

    def __init__(self, config: UniF2aceConfig) -> None:
        super().__init__()
        experts, width, hidden = config.token_experts, config.width, config.expert_width
        self.gelu = config.gelu
        self.router = Router(width, experts, config.token_top_k, renormalise=False)
        self.up = nn.Parameter(torch.empty(experts, hidden, width))
        # Biases lie flat: optimisers neither decay nor orthogonalise what has one dimension.
        self.up_bias = nn.Parameter(torch.empty(experts * hidden))
        self.down = nn.Parameter(torch.empty(experts, width, hidden))
        self.down_bias = nn.Parameter(torch.empty(experts * width))

    def forward(self, h: Tensor, counted: Tensor | None = None) -> tuple[Tensor, Routing]:
        """Σ g_i E_i(h) for h: (T, D), and how the router chose over the ``counted`` tokens (T,)."""
        gates, experts, routing = self.router(h, counted)  # (T, k)
        wide = 2 * gates.shape[1] >= len(self.up)
        return (self.wide if wide else self.sorted)(h, gates, experts), routing

    def gates(self, h: Tensor) -> Tensor:
        """Every expert's gate, 0 for those not chosen: (T, D) to (T, X)."""
        _, gates, experts = self.router.choose(h)
        return self._spread(gates, experts)

    def _spread(self, gates: Tensor, experts: Tensor) -> Tensor:
        """Gates of the chosen (T, k) in the places of their experts, 0 elsewhere: (T, X)."""
        return gates.new_zeros(len(gates), len(self.up)).scatter(1, experts, gates)

    def wide(self, h: Tensor, gates: Tensor, experts: Tensor) -> Tensor:
        """Every token through all experts at once, weighed by its gates. (T, D), (T, k), (T, k) to (T, D)."""
        count, _, width = self.up.shape
        weights = self._spread(gates, experts)  # (T, X)
        hidden = F.gelu(F.linear(h, self.up.flatten(0, 1), self.up_bias), approximate=self.gelu)  # (T, X H)
        hidden = (hidden.unflatten(1, (count, -1)) * weights[..., None].to(hidden.dtype)).flatten(1)
        answers = F.linear(hidden, self.down.transpose(0, 1).flatten(1))
        return answers + (weights.to(self.down_bias.dtype) @ self.down_bias.view(count, width)).to(answers.dtype)

    def sorted(self, h: Tensor, gates: Tensor, experts: Tensor) -> Tensor:
        """Tokens by expert, every expert once; arguments as ``wide``."""
        k = gates.shape[1]
        order = experts.flatten().argsort(stable=True)  # (T k,), by expert
        counts = torch.bincount(experts.flatten(), minlength=len(self.up)).tolist()
        parts = [
            self.expert(i, rows)
            for i, rows in enumerate(h[order // k].split(counts))
            if len(rows)  # an expert nobody chose
        ]
        sorted_answers = torch.cat(parts)  # (T k, D)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        answers = sorted_answers[back].unflatten(0, (-1, k))  # (T, k, D)
        return (answers * gates[..., None].to(answers.dtype)).sum(1)

    def expert(self, index: int, h: Tensor) -> Tensor:
        """E_index(h), (T, D) to (T, D)."""
        up_bias, down_bias = (bias.view(len(self.up), -1)[index] for bias in (self.up_bias, self.down_bias))
        hidden = F.gelu(F.linear(h, self.up[index], up_bias), approximate=self.gelu)
        return F.linear(hidden, self.down[index], down_bias)


class TokenExperts(nn.Module):
    """The feed-forward network of a block, with the routed experts of both groups if the config has any."""

    def __init__(self, config: UniF2aceConfig) -> None:
        super().__init__()
        self.shared = nn.ModuleList(FeedForward(config) for _ in range(config.shared_experts))
        self.routed = nn.ModuleDict({g: RoutedExperts(config) for g in GROUPS} if config.token_experts else {})

    def forward(self, h: Tensor, group: Group, counted: Tensor | None = None) -> tuple[Tensor, Routing | None]:
        """(B, N, D) to (B, N, D), and the routing of the ``counted`` (B, N) tokens, None in a dense network."""
        out = self.shared[GROUPS.index(group) if len(self.shared) == 2 else 0](h)
        if group not in self.routed:
            return out, None
        extra, routing = self.routed[group](h.flatten(0, 1), None if counted is None else counted.flatten())
        return out + extra.view_as(out), routing
