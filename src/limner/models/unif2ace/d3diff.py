"""D3Diff: the dual discrete diffusion loss, masked generation and score matching at once.

A masked generative model is a score model: p_θ(x₀|x_t) ≈ p_t(x_t|x₀)·s_θ(x_t) [P]. The loss adds the two views,

    L_D3Diff = −Σ_t E[log p_θ(x₀|x_t)] + α·L_score,   α = 0.01   [P]

and Theorem 1 orders the bounds: −log p_θ(x₀) ≤ L_score + KL(q_T|0 ‖ p_base) ≤ the T-step masked-token bound; the KL is
0 here, since γ(1) = 1.

Time: t = 0 is data, t = 1 all mask; γ(t) is the probability that a token is masked, σ̄ = −log(1 − γ), and
r = (1 − γ)/γ is the ratio a true score has at the true token. The paper's s = p_θ/q_t(x_t|x₀) = p_θ/γ lacks the factor
1 − γ of that ratio; our choice: the exact s_y = r·p_θ(y|x_t), because the gradient is the same and the bound is tight.

Legend: B batch, N image tokens, K codes, M tokens that are masked.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

ALPHA = 0.01
"""Weight of the score term [P]."""


def mask_probability(t: Tensor) -> Tensor:
    """γ(t) = cos(π(1 − t)/2): the cosine schedule of MaskGIT [S], running from data to mask. Any shape, in [0, 1]."""
    return torch.cos(0.5 * math.pi * (1 - t))


def mask_rate(gamma: Tensor) -> Tensor:
    """dγ/dt of the cosine schedule, as a function of γ: (π/2)·√(1 − γ²)."""
    return 0.5 * math.pi * torch.sqrt((1 - gamma.square()).clamp(min=0))


def score_weight(gamma: Tensor) -> Tensor:
    """γ′/γ = (π/2)·√(1 − γ²)/γ: what a masked token's −log p_θ(x₀|x_t) counts in the score entropy."""
    return mask_rate(gamma) / gamma


def score(log_p: Tensor, gamma: Tensor) -> Tensor:
    """log s_y = log r + log p_θ(y|x_t): the concrete score of a masked token. log_p: (..., K); gamma: (...,)."""
    return (torch.log1p(-gamma) - torch.log(gamma))[..., None] + log_p


def score_entropy(log_s: Tensor, codes: Tensor, gamma: Tensor) -> Tensor:
    """dσ̄/dt·[Σ_y s_y − r·log s_x₀ + r(log r − 1)]: SEDD's denoising score entropy (arXiv 2310.16834, eq. 8).

    The general form, for any positive score: log_s (M, K), codes (M,), gamma (M,) inside (0, 1). Returns (M,). For a
    score made of probabilities, ``score_entropy_closed`` is the same and cheaper.
    """
    ratio = (1 - gamma) / gamma
    total = log_s.exp().sum(-1)
    at_truth = log_s.gather(-1, codes[..., None])[..., 0]
    return mask_rate(gamma) / (1 - gamma) * (total - ratio * at_truth + ratio * (ratio.log() - 1))


def score_entropy_closed(surprise: Tensor, gamma: Tensor) -> Tensor:
    """γ′/γ·(−log p_θ(x₀|x_t)): what the general form is when Σ_y s_y = r. surprise = −log p, gamma: (M,)."""
    return score_weight(gamma) * surprise


def step_share(gamma: Tensor, gamma_before: Tensor) -> Tensor:
    """(γ_t − γ_s)/γ_t: chance that a token masked at t was not at s < t; its weight in the T-step bound (D3PM)."""
    return (gamma - gamma_before) / gamma


def draw_masks(shape: tuple[int, int], generator: torch.Generator, earliest: float = 0.0) -> tuple[Tensor, Tensor]:
    """γ(t) of t ~ U(earliest, 1), clamped to at least 1/N, and each token masked with that probability: (B,), (B, N)
    bool.

    Our choice: tokens independently rather than a fixed number of them [S], because the score identity needs it.
    """
    batch, tokens = shape
    t = earliest + (1 - earliest) * torch.rand(batch, generator=generator)
    gamma = mask_probability(t).clamp(min=1 / tokens)
    return gamma, torch.rand(shape, generator=generator) < gamma[:, None]


class D3Diff(NamedTuple):
    """The loss and its two parts, scalars."""

    total: Tensor
    mask: Tensor
    score: Tensor


def d3diff(
    logits: Tensor, codes: Tensor, masked: Tensor, gamma: Tensor, alpha: float = ALPHA, mask_weight: float = 1.0
) -> D3Diff:
    """L_D3Diff = mask_weight·L_mask + α·L_score of a batch.

    logits: (M, K) over image codes only, of the masked tokens in row-major order (so Σ_y s_y = r holds); codes: (B, N);
    masked: (B, N) bool with M set; gamma: (B,), at least 1/N. L_mask is the mean cross-entropy of the masked tokens
    [S]; L_score a sum over tokens, mean over the batch [P: some 200 times larger, which α offsets]. ``mask_weight=0``
    is the paper's score-only ablation, ``alpha=0`` the masked loss alone.
    """
    rows = masked.nonzero()[:, 0]  # (M,)
    surprise = F.cross_entropy(logits.float(), codes[masked], reduction="none")  # (M,)
    mask = surprise.sum() / max(len(rows), 1)
    entropy = score_entropy_closed(surprise, gamma.to(surprise.device)[rows]).sum() / len(codes)
    return D3Diff(mask_weight * mask + alpha * entropy, mask, entropy)
