"""Two samplers of the same weights, as pure functions: confidence-ordered unmasking and τ-leaping on the score.

Both go from all mask (t = 1) to data (t = 0) along γ(t), and reveal tokens on the way; they differ in which. Codes are
(B, N), K where masked. Noise comes from one CPU generator per picture, so picture k of a seed is the same picture
whatever the batch.

Legend: B pictures, N image tokens, K codes, M masked tokens of all pictures, one after another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .d3diff import mask_probability, score

Predict = Callable[[Tensor, float], Tensor]
"""(codes (B, N), γ) to logits over the K codes of the masked tokens, (M, K). (Our choice: because shown tokens' logits
would be a third of a painting's and are read by nobody.)"""

Callback = Callable[[int, float, Tensor], None]
"""After each step: (step from 1, γ reached, codes). To cancel, raise."""

Sampler = Callable[[Predict, Tensor, int, int, "Callback | None"], Tensor]
"""(predict, codes to start from, steps, seed, callback) to codes without masks."""


def generators(seed: int, count: int) -> list[torch.Generator]:
    """CPU generators of pictures ``seed``, ``seed + 1``, …"""
    return [torch.Generator().manual_seed(seed + k) for k in range(count)]


def uniforms(noise: list[torch.Generator], tokens: int) -> Tensor:
    """A number in [0, 1) for every token, each picture's from its own generator: (B, N)."""
    return torch.stack([torch.rand(tokens, generator=generator) for generator in noise])


def draw(probabilities: Tensor, u: Tensor) -> Tensor:
    """Codes by inversion: the first whose cumulated probability exceeds u. (…, K) and (…,) to (…,)."""
    cumulated = probabilities.cumsum(-1)
    target = (u.to(cumulated) * cumulated[..., -1])[..., None]
    found = torch.searchsorted(cumulated, target, right=True)[..., 0]
    return found.clamp(max=probabilities.shape[-1] - 1)


def all_masked(count: int, tokens: int, codebook: int) -> Tensor:
    """Where painting starts: (B, N), everything masked."""
    return torch.full((count, tokens), codebook)


def times(steps: int) -> list[float]:
    """γ at the ``steps + 1`` evenly spread times from t = 1 to t = 0. ``ValueError`` unless steps >= 1."""
    if steps < 1:
        raise ValueError(f"steps={steps}: at least 1 is needed")
    return mask_probability(torch.linspace(1, 0, steps + 1, dtype=torch.float64)).tolist()


def confidence(
    predict: Predict, start: Tensor, steps: int, seed: int, callback: Callback | None = None, temperature: float = 1.0
) -> Tensor:
    """MaskGIT's sampler [S]: draw all masked tokens, keep the surest, mask the rest again.

    After step i of T, ⌊N·γ(1 − i/T)⌋ tokens stay masked, at least one and at least one less than before; those with the
    least log p + τ·Gumbel, τ = temperature·(1 − i/T). Tokens that ``start`` shows stay as they are. (Show-o's code
    multiplies τ by 1 − i/T anew at every step, which compounds; here it decays linearly from its base value.)
    """
    codes, noise = start.clone(), generators(seed, len(start))
    count, gammas = start.shape[1], times(steps)
    for step in range(1, steps + 1):
        logits = predict(codes, gammas[step - 1]).float()
        codebook = logits.shape[1]
        masked = codes == codebook
        u, v = (uniforms(noise, count).to(logits.device)[masked] for _ in range(2))  # (M,)
        log_p = torch.log_softmax(logits, dim=-1)
        drawn = draw(log_p.exp(), u)  # (M,)
        heat = temperature * (1 - step / steps)
        waiting = -torch.log1p(-v.double())  # exponential; minus its logarithm is Gumbel
        sure = log_p.gather(-1, drawn[:, None])[:, 0] - heat * torch.log(waiting.clamp(min=1e-30))
        surety = sure.new_full(codes.shape, math.inf).masked_scatter(masked, sure)
        codes = codes.masked_scatter(masked, drawn)
        if step < steps:
            left = masked.sum(1)
            stay = torch.full_like(left, math.floor(count * gammas[step])).clamp(min=1).minimum((left - 1).clamp(min=0))
            rank = surety.argsort(dim=1, stable=True).argsort(dim=1)  # 0: the least sure
            codes = codes.masked_fill(rank < stay[:, None], codebook)
        if callback is not None:
            callback(step, gammas[step], codes)
    return codes


def reveal(log_s: Tensor, gamma: float, gamma_after: float) -> Tensor:
    """Tweedie's τ-leap for a masked token: the chance of each code at s < t, the rest staying masked (SEDD, alg. 2).

        p(x_s = y | x_t = mask) = (e^(σ̄_t − σ̄_s) − 1)·s_y,   σ̄ = −log(1 − γ)

    For the score of a distribution this is (γ_t − γ_s)/γ_t·p_θ(y|x_t). log_s: (…, K); γ below 1.
    """
    grown = (1 - gamma_after) / (1 - gamma) - 1
    return grown * log_s.exp()


def leap(
    predict: Predict, start: Tensor, steps: int, seed: int, callback: Callback | None = None, temperature: float = 1.0
) -> Tensor:
    """Tweedie τ-leaping: every masked token is revealed on its own with the chance its score gives it.

    temperature divides the logits. The first step starts at γ = 1 − 10⁻⁴ instead of 1, where r = 0 and the score
    vanishes."""
    codes, noise = start.clone(), generators(seed, len(start))
    count, gammas = start.shape[1], times(steps)
    for step in range(1, steps + 1):
        gamma, after = min(gammas[step - 1], 1 - 1e-4), gammas[step] if step < steps else 0.0
        logits = predict(codes, gammas[step - 1]).float() / temperature
        masked = codes == logits.shape[1]
        u = uniforms(noise, count).to(logits.device)[masked]  # (M,)
        log_p = torch.log_softmax(logits.double(), dim=-1)
        chances = reveal(score(log_p, torch.tensor(gamma, dtype=torch.float64)), gamma, after)  # (M, K)
        total = chances.sum(-1)
        drawn = draw(chances, (u / total).clamp(max=1 - 1e-7))
        shown = (u < total) | (step == steps)
        codes = codes.masked_scatter(masked, torch.where(shown, drawn, logits.shape[1]))
        if callback is not None:
            callback(step, after, codes)
    return codes


SAMPLERS = {"confidence": confidence, "leap": leap}


def sampler(name: str, temperature: float = 1.0) -> Sampler:
    """The sampler of that name, at that temperature; ``ValueError`` naming what there is."""
    if name not in SAMPLERS:
        raise ValueError(f"sampler {name!r} does not exist; choose one of {', '.join(SAMPLERS)}")
    if temperature < 0 or (temperature == 0 and name == "leap"):
        raise ValueError(f"temperature={temperature}: above 0, or, for 'confidence' without noise, 0")
    return partial(SAMPLERS[name], temperature=temperature)
