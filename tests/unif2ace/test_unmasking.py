"""Both samplers on a toy whose true distribution is known, and their schedules."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from limner.models.unif2ace.d3diff import mask_probability, score, step_share
from limner.models.unif2ace.unmasking import all_masked, confidence, draw, leap, reveal, sampler, times

TOKENS, CODES = 3, 4


def toy() -> tuple[Tensor, Tensor]:
    """q over pictures (4, 4, 4), and the true log p(x₀ⁱ | shown) for each of the 5³ things that can be shown."""
    g = torch.Generator().manual_seed(0)
    q = torch.softmax(2 * torch.randn(CODES**TOKENS, generator=g, dtype=torch.float64), 0).view(CODES, CODES, CODES)
    tables = torch.zeros(5, 5, 5, TOKENS, CODES, dtype=torch.float64)
    for seen in itertools.product(range(CODES + 1), repeat=TOKENS):
        part = torch.zeros_like(q)
        where = tuple(slice(None) if s == CODES else s for s in seen)
        part[where] = q[where]
        for i in range(TOKENS):
            tables[(*seen, i)] = part.sum([j for j in range(TOKENS) if j != i])
    return q, (tables / tables.sum(-1, keepdim=True)).log()


def distance(codes: Tensor, q: Tensor) -> float:
    """Total variation between what was drawn and q."""
    flat = codes[:, 0] * 16 + codes[:, 1] * 4 + codes[:, 2]
    return 0.5 * float((torch.bincount(flat, minlength=64) / len(codes) - q.flatten()).abs().sum())


def test_leaping_on_the_true_score_draws_from_the_true_distribution() -> None:
    q, tables = toy()

    def predict(codes: Tensor, gamma: float) -> Tensor:
        return tables[codes[:, 0], codes[:, 1], codes[:, 2]][codes == CODES]

    start = all_masked(6000, TOKENS, CODES)
    fine, coarse = (leap(predict, start, steps, seed=0) for steps in (48, 1))
    assert distance(fine, q) < 0.05
    assert distance(coarse, q) > 0.15  # one step draws the tokens independently, which they are not


def test_tweedie_reveals_with_the_exact_chance() -> None:
    log_p = torch.log_softmax(torch.randn(7, 5, dtype=torch.float64), -1)
    for gamma, after in ((0.9, 0.7), (0.4, 0.0)):
        at = torch.tensor(gamma, dtype=torch.float64)
        share = step_share(at, torch.tensor(after, dtype=torch.float64))
        assert torch.allclose(reveal(score(log_p, at), gamma, after), share * log_p.exp())


@pytest.mark.parametrize("name", ["confidence", "leap"])
def test_samplers_reveal_for_good_and_leave_no_mask(name: str) -> None:
    g = torch.Generator().manual_seed(1)
    start = torch.where(torch.rand(3, 16, generator=g) < 0.8, 9, torch.randint(0, 9, (3, 16), generator=g))
    seen, gammas = [start], []

    def predict(codes: Tensor, gamma: float) -> Tensor:
        gammas.append(gamma)
        return torch.randn(3, 16, 9, generator=torch.Generator().manual_seed(int(codes.sum())))[codes == 9]

    found = sampler(name)(predict, start, 6, 3, lambda step, gamma, codes: seen.append(codes))
    assert len(seen) == 7 and torch.equal(seen[-1], found) and found.max() < 9
    for before, after in itertools.pairwise(seen):
        assert torch.equal(before[before < 9], after[before < 9])
    assert gammas == pytest.approx([float(mask_probability(torch.tensor(1 - k / 6))) for k in range(6)])
    again = sampler(name)(predict, start, 6, 3, None)
    other = sampler(name)(predict, start, 6, 4, None)
    assert torch.equal(again, found) and not torch.equal(other, found)


def test_confidence_follows_the_cosine_and_keeps_the_surest() -> None:
    logits = torch.randn(2, 16, 9, generator=torch.Generator().manual_seed(1)) * 3
    left: list[list[int]] = []
    rows: list[Tensor] = []

    def look(step: int, gamma: float, codes: Tensor) -> None:
        left.append((codes == 9).sum(1).tolist())
        rows.append(codes)

    found = confidence(lambda c, g: logits[c == 9], all_masked(2, 16, 9), 5, 0, look, temperature=0.0)
    assert left == [[math.floor(16 * math.cos(math.pi / 2 * k / 5))] * 2 for k in (1, 2, 3, 4)] + [[0, 0]]
    first = rows[0] < 9
    log_p = torch.log_softmax(logits, -1).gather(-1, torch.where(first, rows[0], 0)[..., None])[..., 0]
    assert first.sum() == 2 and log_p[first].min() > -0.5  # the surest of sixteen
    assert torch.equal(found[first], rows[0][first])


def test_many_steps_reveal_at_least_one_token_each() -> None:
    counts: list[int] = []
    confidence(
        lambda c, g: torch.zeros(1, 4, 3)[c == 3],
        all_masked(1, 4, 3),
        20,
        0,
        lambda s, g, c: counts.append(int((c == 3).sum())),
    )
    assert counts[:4] == [3, 2, 1, 0] and set(counts[4:]) == {0}


@pytest.mark.parametrize("count, heat", [(4, 0.5), (8, 0.75)])
def test_confidence_noise_decays_linearly_from_its_base(count: int, heat: float) -> None:
    """Two tokens of 1/2 and 1/4 are left at step 2. The difference of two Gumbels is logistic, so the less sure one
    stays masked with chance 1/(1 + e^(−log 2/τ)), and at step 2 of T τ is 1 − 2/T."""
    flat = torch.tensor([[0.0, -99, -99, -99], [0, 0, -99, -99], [0, 0, 0, 0]])
    sure = torch.tensor([[80.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])  # for the first token, before step 2

    pictures = 6000
    stays: list[float] = []
    second: list[Tensor] = []

    def predict(codes: Tensor, gamma: float) -> Tensor:
        return (flat if int((codes[0] == 4).sum()) == 2 else sure).expand(pictures, 3, 4)[codes == 4]

    def look(step: int, gamma: float, codes: Tensor) -> None:
        if step == 1:
            second.append((codes == 4)[:, 1:].all(1))
        if step == 2:
            both = second[0]
            stays.append(float((codes == 4)[both, 2].float().mean()))

    confidence(predict, all_masked(pictures, 3, 4), count, 0, look)
    assert second[0].float().mean() > 0.4
    assert stays[0] == pytest.approx(1 / (1 + math.exp(-math.log(2) / heat)), abs=0.02)


def test_drawing_by_inversion() -> None:
    p = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0])
    u = torch.tensor([0.0, 0.2499, 0.25, 0.9999999])
    assert draw(p.expand(4, 5), u).tolist() == [1, 1, 3, 3]


def test_a_picture_does_not_depend_on_its_batch() -> None:
    logits = torch.randn(16, 9, generator=torch.Generator().manual_seed(1))

    def predict(codes: Tensor, gamma: float) -> Tensor:
        return logits.expand(len(codes), 16, 9)[codes == 9]

    for name in ("confidence", "leap"):
        four = sampler(name)(predict, all_masked(4, 16, 9), 5, 10, None)
        assert torch.equal(four[2:3], sampler(name)(predict, all_masked(1, 16, 9), 5, 12, None))
        assert not torch.equal(four[0], four[1])


def test_wrong_settings_say_so() -> None:
    with pytest.raises(ValueError, match="steps=0"):
        times(0)
    with pytest.raises(ValueError, match="confidence, leap"):
        sampler("euler")
    for name, temperature in (("leap", 0.0), ("confidence", -1.0)):
        with pytest.raises(ValueError, match="temperature"):
            sampler(name, temperature)
