"""Routers: who goes to which expert, how evenly, and the balance loss.

Statistics are values: a forward pass returns one ``Routing`` per router, and nothing is kept inside a module.

Legend: R rows routed (tokens, or whole image sequences), X experts, k chosen, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Routing(NamedTuple):
    """What one router did with its rows, and from it how evenly. (Our choice: counted where somebody reads it, because
    paintings and answers do not, and a painting has three hundred routers to run.)"""

    probabilities: Tensor
    """What the router gave each expert, (R, X); carries the gradient."""
    experts: Tensor
    """Those chosen, (R, k)."""
    counted: Tensor | None = None
    """Rows that are no padding, (R,) bool; None: all."""

    @property
    def share(self) -> Tensor:
        """f: share of all choices that fell on each expert, (X,), sums to 1; no gradient."""
        experts = self.experts if self.counted is None else self.experts[self.counted]
        chosen = torch.bincount(experts.flatten(), minlength=self.probabilities.shape[1])
        return chosen.to(self.probabilities.dtype) / max(experts.numel(), 1)

    @property
    def probability(self) -> Tensor:
        """P: mean probability the router gave each expert, (X,), sums to 1; carries the gradient."""
        rows = self.probabilities if self.counted is None else self.probabilities[self.counted]
        return rows.sum(0) / max(len(rows), 1)


class Router(nn.Module):
    """Linear scores, softmax over all experts, the k highest chosen. In float32 under any autocast."""

    def __init__(self, width: int, experts: int, top_k: int, renormalise: bool) -> None:
        super().__init__()
        self.top_k, self.renormalise = top_k, renormalise
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(self, x: Tensor, counted: Tensor | None = None) -> tuple[Tensor, Tensor, Routing]:
        """Gates and experts, (R, k) each, and the routing over the rows that are ``counted`` (R,) bool.

        renormalise: gates of the chosen sum to 1, as the sequence level needs, to be the identity when all copy. The
        token level does not (our choice: because then a router learns at k = 1 too).
        """
        probability, gates, experts = self.choose(x)
        return gates, experts, Routing(probability, experts, counted)

    def choose(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities (R, X), and gates and experts (R, k) each: ``forward`` without the statistics."""
        with torch.autocast(x.device.type, enabled=False):
            probability = torch.softmax(F.linear(x.float(), self.weight.float()), dim=-1)  # (R, X)
        gates, experts = probability.topk(self.top_k, dim=-1)  # (R, k)
        if self.renormalise:
            gates = gates / gates.sum(-1, keepdim=True)
        return probability, gates, experts


def balance_loss(routings: Sequence[Routing]) -> Tensor:
    """Mean over routers of X·Σ_i f_i·P_i [P: λ Σ f_i P_i per group]; 1 where every expert is used alike, its least.

    The factor X is our choice: because the value then means the same for any number of experts.
    """
    assert routings, "a model without experts has nothing to balance"
    return torch.stack([len(r.share) * (r.share * r.probability).sum() for r in routings]).mean()
