"""Samplers against closed forms, time schedules, and seeds."""

from __future__ import annotations

import math

import pytest
import torch

from limner.models.mditface.flow import (
    SAMPLERS,
    draw_noise,
    euler,
    flux_shift,
    heun,
    interpolate,
    sample_timesteps,
    schedule,
    shift_time,
)


def test_path_runs_from_data_to_noise_with_constant_velocity() -> None:
    data, noise = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    at = [interpolate(data, noise, torch.full((2,), t, dtype=torch.float64)) for t in (0.0, 0.3, 0.7, 1.0)]
    assert torch.equal(at[0], data) and torch.equal(at[3], noise)
    assert torch.allclose((at[2] - at[1]) / 0.4, noise - data)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 8, 28])
def test_true_velocity_of_one_picture_leads_back_to_it(name: str, steps: int) -> None:
    data = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    noise = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    back = SAMPLERS[name](lambda x, t: noise - data, noise, schedule(steps, shift=2.0), None)
    assert torch.allclose(back, data)


def solve(sampler, steps: int) -> float:
    """Error of dx/dt = x from t = 1 to 0, whose solution is x(0) = x(1) / e."""
    end = sampler(lambda x, t: x, torch.ones(1, 1, 1, 1, dtype=torch.float64), schedule(steps), None)
    return abs(end.item() - 1 / math.e)


def test_euler_is_of_first_order_and_heun_of_second() -> None:
    assert 1.8 < solve(euler, 20) / solve(euler, 40) < 2.2
    # Heun's last step is first order, over a span that shrinks too: its own error is of second order
    assert 3.5 < solve(heun, 20) / solve(heun, 40) < 4.5
    assert solve(heun, 20) < solve(euler, 20) / 5


def test_heun_evaluates_twice_but_once_in_the_last_step() -> None:
    seen: list[float] = []
    heun(lambda x, t: seen.append(t) or x, torch.ones(1, 1, 1, 1), schedule(4))
    assert seen == [1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]


def test_callback_sees_every_step_the_estimate_and_may_cancel() -> None:
    data, noise = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 4, 4)
    steps: list[int] = []

    def look(step: int, t: float, x: torch.Tensor, estimate: torch.Tensor) -> None:
        steps.append(step)
        assert torch.allclose(estimate, data, atol=1e-5)
        assert torch.allclose(x, interpolate(data, noise, torch.tensor([t])), atol=1e-5)
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        euler(lambda x, t: noise - data, noise, schedule(10), look)
    assert steps == [1, 2, 3]


def test_schedule_runs_from_one_to_zero_and_the_shift_keeps_its_ends() -> None:
    assert schedule(4) == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])
    times = schedule(8, shift=3.0)
    assert times[0] == 1.0 and times[-1] == 0.0 and times == sorted(times, reverse=True)
    assert times[4] == pytest.approx(3 * 0.5 / (1 + 2 * 0.5))
    t = torch.rand(9, dtype=torch.float64)
    assert torch.allclose(shift_time(shift_time(t, 3.0), 1 / 3), t)
    for steps, shift in ((0, 1.0), (4, 0.0)):
        with pytest.raises(ValueError):
            schedule(steps, shift)


def test_flux_shift_at_its_two_anchors() -> None:
    assert flux_shift(256) == pytest.approx(math.exp(0.5)) and flux_shift(4096) == pytest.approx(math.exp(1.15))


def test_training_times_are_logit_normal() -> None:
    t = sample_timesteps(20_000, torch.Generator().manual_seed(0))
    logits = torch.logit(t.double())
    assert logits.mean().abs() < 0.03 and (logits.std() - 1).abs() < 0.03
    assert sample_timesteps(2_000, torch.Generator().manual_seed(0), shift=3.0).mean() > t.mean() + 0.15


def test_picture_k_of_a_seed_is_the_same_whatever_the_batch() -> None:
    four = draw_noise((2, 4, 4), seed=5, count=4)
    assert torch.equal(four[:1], draw_noise((2, 4, 4), 5, 1))
    assert torch.equal(four[2], draw_noise((2, 4, 4), 7, 1)[0])
    assert not torch.equal(four[0], four[1])
