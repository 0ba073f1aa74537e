"""D3Diff by exact enumeration: three tokens, four codes, every mask and every picture.

Reversed, masked diffusion reveals tokens one by one in a uniformly random order, each drawn from p_θ(·|what is shown).
So p_θ(x₀) is a mean over orders, which the bounds are compared with.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from limner.models.unif2ace.d3diff import (
    d3diff,
    draw_masks,
    mask_probability,
    mask_rate,
    score,
    score_entropy,
    score_entropy_closed,
    score_weight,
    step_share,
)

TOKENS, CODES = 3, 4
PICTURES = list(itertools.product(range(CODES), repeat=TOKENS))
MASKS = [m for m in itertools.product([False, True], repeat=TOKENS) if any(m)]
Model = dict[tuple, Tensor]  # what is shown (-1 where masked) to log p of every token, (TOKENS, CODES)


def truth(seed: int = 0) -> Tensor:
    """A distribution over all pictures, far from independent tokens."""
    g = torch.Generator().manual_seed(seed)
    return torch.softmax(2 * torch.randn(len(PICTURES), generator=g, dtype=torch.float64), 0)


def shown(picture: tuple, mask: tuple) -> tuple:
    return tuple(-1 if m else x for x, m in zip(picture, mask))


def posterior(q: Tensor) -> Model:
    """The true log p(x₀ⁱ | x_t) of every token under q, for everything that can be shown."""
    model: Model = {}
    for seen in {shown(p, m) for p in PICTURES for m in MASKS}:
        table = torch.zeros(TOKENS, CODES, dtype=torch.float64)
        for weight, picture in zip(q, PICTURES):
            if all(s in (-1, x) for s, x in zip(seen, picture)):
                for i, x in enumerate(picture):
                    table[i, x] += weight
        model[seen] = (table / table.sum(-1, keepdim=True)).log()
    return model


def guess(seed: int = 1) -> Model:
    """A model that is wrong everywhere."""
    g = torch.Generator().manual_seed(seed)
    return {
        seen: torch.log_softmax(torch.randn(TOKENS, CODES, generator=g, dtype=torch.float64), -1)
        for seen in sorted({shown(p, m) for p in PICTURES for m in MASKS})
    }


def log_likelihood(model: Model, picture: tuple) -> float:
    """log p_θ(x₀): mean over orders of the product of what each revealed token was given."""
    total = 0.0
    for order in itertools.permutations(range(TOKENS)):
        mask, log_p = [True] * TOKENS, 0.0
        for i in order:
            log_p += float(model[shown(picture, tuple(mask))][i, picture[i]])
            mask[i] = False
        total += math.exp(log_p) / math.factorial(TOKENS)
    return math.log(total)


def expected(model: Model, picture: tuple, gamma: float, weight: Tensor) -> float:
    """E over masks at γ of Σ over masked tokens of weight·(−log p_θ)."""
    total = 0.0
    for mask in MASKS:
        chance = math.prod(gamma if m else 1 - gamma for m in mask)
        table = model[shown(picture, mask)]
        total += chance * sum(-float(table[i, picture[i]]) for i in range(TOKENS) if mask[i])
    return total * float(weight)


def score_bound(model: Model, picture: tuple) -> float:
    """L_score: the score entropy in its general form, integrated over t by Gauss and Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    total = 0.0
    for t, w in zip((nodes + 1) / 2, weights / 2):
        gamma = mask_probability(torch.tensor(t, dtype=torch.float64))
        for mask in MASKS:
            chance = math.prod(float(gamma if m else 1 - gamma) for m in mask)
            places = [i for i in range(TOKENS) if mask[i]]
            log_p = model[shown(picture, mask)][places]
            codes = torch.tensor([picture[i] for i in places])
            at = gamma.expand(len(places))
            total += w * chance * float(score_entropy(score(log_p, at), codes, at).sum())
    return total


def masked_bound(model: Model, picture: tuple, steps: int) -> float:
    """The usual bound of T steps, each revealing tokens independently of each other."""
    gammas = mask_probability(torch.linspace(0, 1, steps + 1, dtype=torch.float64))
    return sum(
        expected(model, picture, float(gammas[k]), step_share(gammas[k], gammas[k - 1])) for k in range(1, steps + 1)
    )


def test_score_bound_is_above_the_likelihood_for_any_model() -> None:
    model = guess()
    gaps = [score_bound(model, p) + log_likelihood(model, p) for p in PICTURES[::5]]
    assert min(gaps) >= 0 and max(gaps) > 0.05


def test_score_bound_is_the_likelihood_for_the_true_posterior() -> None:
    q = truth()
    model = posterior(q)
    for picture, weight in list(zip(PICTURES, q))[::7]:
        assert score_bound(model, picture) == pytest.approx(-math.log(weight), abs=1e-9)
        assert log_likelihood(model, picture) == pytest.approx(math.log(weight), abs=1e-9)


def test_masked_bound_is_above_the_score_bound_and_falls_to_it() -> None:
    q = truth()
    model = posterior(q)
    entropy = -float((q * q.log()).sum())  # E L_score, by the test above
    bounds = [sum(float(w) * masked_bound(model, p, steps) for p, w in zip(PICTURES, q)) for steps in (1, 2, 4, 8, 64)]
    assert all(a > b for a, b in itertools.pairwise(bounds)) and bounds[-1] > entropy
    assert bounds[0] - entropy > 0.3 and bounds[-1] - entropy < 0.03


def test_weights_are_the_schedule_s_own_derivatives() -> None:
    t = torch.linspace(0.03, 0.97, 40, dtype=torch.float64)
    h = 1e-5
    slope = (mask_probability(t + h) - mask_probability(t - h)) / (2 * h)
    gamma = mask_probability(t)
    assert torch.allclose(mask_rate(gamma), slope, rtol=1e-8)
    assert torch.allclose(score_weight(gamma), slope / gamma, rtol=1e-8)
    sigma = (torch.log1p(-mask_probability(t - h)) - torch.log1p(-mask_probability(t + h))) / (2 * h)
    assert torch.allclose(mask_rate(gamma) / (1 - gamma), sigma, rtol=1e-6)  # dσ̄/dt
    ends = mask_probability(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert torch.allclose(ends, torch.tensor([0.0, 1.0], dtype=torch.float64), atol=1e-12)


def random_batch(seed: int = 0, batch: int = 4, tokens: int = 6, codes: int = 5):
    g = torch.Generator().manual_seed(seed)
    gamma, masked = draw_masks((batch, tokens), g)
    logits = torch.randn(int(masked.sum()), codes, generator=g, dtype=torch.float64, requires_grad=True)
    return logits, torch.randint(0, codes, (batch, tokens), generator=g), masked, gamma.double()


def test_general_form_is_the_closed_form_in_value_and_gradient() -> None:
    logits, codes, masked, gamma = random_batch()
    at = gamma[masked.nonzero()[:, 0]]
    general = score_entropy(score(torch.log_softmax(logits, -1), at), codes[masked], at)
    closed = score_entropy_closed(F.cross_entropy(logits, codes[masked], reduction="none"), at)
    assert torch.allclose(general, closed, rtol=1e-9)
    one, other = (torch.autograd.grad(loss.sum(), logits, retain_graph=True)[0] for loss in (general, closed))
    assert torch.allclose(one, other, rtol=1e-9, atol=1e-12) and one.abs().max() > 0.1


def test_general_form_is_least_at_the_true_ratio_and_zero_there() -> None:
    gamma = torch.tensor([0.2, 0.6, 0.9], dtype=torch.float64)
    codes = torch.tensor([0, 1, 2])
    exact = torch.full((3, 4), -40.0, dtype=torch.float64)
    exact[torch.arange(3), codes] = ((1 - gamma) / gamma).log()
    assert torch.allclose(score_entropy(exact, codes, gamma), torch.zeros(3, dtype=torch.float64), atol=1e-12)
    for change in (0.3, -0.3):
        assert (score_entropy(exact + change, codes, gamma) > 1e-3).all()


def test_loss_is_a_mean_and_a_sum_and_alpha_zero_leaves_the_mean() -> None:
    logits, codes, masked, gamma = random_batch()
    loss = d3diff(logits, codes, masked, gamma)
    surprise = -torch.log_softmax(logits.float(), -1).gather(-1, codes[masked][:, None])[:, 0]
    assert torch.allclose(loss.mask, surprise.mean())
    by_row = torch.zeros(4, dtype=torch.float64)
    for value, row in zip(surprise.tolist(), masked.nonzero()[:, 0].tolist()):
        g = float(gamma[row])
        by_row[row] += math.pi / 2 * math.sqrt(1 - g * g) / g * value
    assert torch.allclose(loss.score.double(), by_row.mean(), rtol=1e-5)
    assert torch.allclose(loss.total, loss.mask + 0.01 * loss.score)
    assert torch.equal(d3diff(logits, codes, masked, gamma, alpha=0).total, loss.mask)
    assert torch.equal(d3diff(logits, codes, masked, gamma, alpha=1.0, mask_weight=0).total, loss.score)


def test_nothing_masked_costs_nothing() -> None:
    loss = d3diff(torch.zeros(0, 5), torch.zeros(2, 3).long(), torch.zeros(2, 3).bool(), torch.full((2,), 0.4))
    assert loss.total == 0


def test_masks_follow_the_schedule_and_the_clamp() -> None:
    gamma, masked = draw_masks((20_000, 16), torch.Generator().manual_seed(0))
    assert gamma.min() == 1 / 16 and gamma.max() <= 1
    assert abs(float(gamma.mean()) - 2 / math.pi) < 0.01  # mean of sin(πt/2)
    high = gamma > 0.8
    assert torch.allclose(masked[high].float().mean(), gamma[high].mean(), atol=0.01)
    assert torch.allclose(masked[~high].float().mean(), gamma[~high].mean(), atol=0.01)
    late, _ = draw_masks((20_000, 16), torch.Generator().manual_seed(0), earliest=0.5)
    assert math.sqrt(0.5) <= late.min() < 0.71 and late.max() > 0.999
