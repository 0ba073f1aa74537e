"""Schedules, samplers and the way back into the photo, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limner.errors import InputError
from limner.faces.geometry import paste_back
from limner.models.facex.blend import blend_back, feather
from limner.models.facex.masks import dilate
from limner.models.facex.sample import InitLatents, draw_noise, guided, make_scheduler, sample, weighed
from limner.models.facex.schedule import NANO_SCHEDULE, NoiseSchedule

EPSILON = {**NANO_SCHEDULE, "prediction_type": "epsilon", "rescale_betas_zero_snr": False}


@pytest.mark.parametrize("config", [NANO_SCHEDULE, EPSILON], ids=["v", "epsilon"])
def test_start_follows_from_the_target(config: dict) -> None:
    schedule = NoiseSchedule(config)
    x0, noise = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    times = torch.tensor([0, 100, 500, 900])
    noisy, target = schedule.noisy(x0, noise, times), schedule.target(x0, noise, times)
    assert torch.allclose(schedule.start(noisy, target, times), x0, atol=2e-3)
    assert not torch.allclose(noisy[3], x0[3], atol=0.1)


def test_nano_ends_in_pure_noise() -> None:
    schedule = NoiseSchedule(NANO_SCHEDULE)
    x0, noise = torch.randn(1, 3, 2, 2), torch.randn(1, 3, 2, 2)
    assert torch.allclose(schedule.noisy(x0, noise, torch.tensor([999])), noise, atol=1e-6)


@pytest.mark.parametrize("sampler", ["ddim", "euler"])
@pytest.mark.parametrize("config", [NANO_SCHEDULE, EPSILON], ids=["v", "epsilon"])
def test_a_model_that_knows_the_picture_paints_it(sampler: str, config: dict) -> None:
    truth, schedule = torch.randn(1, 4, 4, 4), NoiseSchedule(config)
    scheduler, seen = make_scheduler(config, sampler), []

    def oracle(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        # diffusers' Euler hands over x scaled to unit variance: x_t of the same schedule
        alpha = schedule.alphas[int(t)]
        noise = (x - alpha.sqrt() * truth) / (1 - alpha).sqrt()
        return noise if config is EPSILON else alpha.sqrt() * noise - (1 - alpha).sqrt() * truth

    found = sample(oracle, draw_noise((4, 4, 4), 3), scheduler, 12, lambda done, total, x0: seen.append((done, total)))
    assert torch.allclose(found, truth, atol=0.15)  # DDIM ends at the schedule's own first noise, .03
    assert seen == [(k, 12) for k in range(1, 13)]


@pytest.mark.parametrize("sampler", ["ddim", "euler"])
def test_a_draft_is_where_a_picture_starts_late(sampler: str) -> None:
    """A model to which every picture is as likely (v = 0) keeps the more of a draft the later it starts."""
    inits, noise = torch.randn(3, 4, 4, 4), torch.cat([draw_noise((4, 4, 4), k) for k in range(3)])
    asked: list[int] = []

    def predict(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        asked.append(int(t))
        return torch.zeros_like(x)

    def run(rows: list[int], shares: tuple[float, ...], seen: list) -> torch.Tensor:
        scheduler, keep = make_scheduler(NANO_SCHEDULE, sampler), InitLatents(inits[rows], shares)
        return sample(predict, noise[rows], scheduler, 10, lambda *told: seen.append(told[:2]), keep)

    seen: list[tuple[int, int]] = []
    late = run([0], (0.3,), seen)
    assert seen == [(1, 3), (2, 3), (3, 3)] and len(asked) == 3
    gaps = [float((run([0], (share,), []) - inits[:1]).norm()) for share in (0.2, 0.5, 0.8, 1.0)]
    assert gaps == sorted(gaps) and gaps[0] < 0.5 * gaps[-1]
    plainly = sample(predict, noise[:1], make_scheduler(NANO_SCHEDULE, sampler), 10)
    assert torch.equal(run([0], (1.0,), []), plainly) and not torch.allclose(late, plainly, atol=0.1)
    together = run([0, 1, 2], (0.3, 1.0, 0.55), seen)
    for row, share in enumerate((0.3, 1.0, 0.55)):
        assert torch.allclose(together[row], run([row], (share,), [])[0], atol=1e-5)
    assert seen[-1] == (10, 10)


def test_guidance_extrapolates_and_costs_nothing_at_one() -> None:
    def never(x, t):
        raise AssertionError("asked for nothing")

    one = guided(lambda x, t: x + 1, never, 1.0)
    assert one(torch.zeros(1), torch.tensor(0)) == 1
    assert guided(lambda x, t: x + 1, lambda x, t: x, 3.0)(torch.zeros(1), torch.tensor(0)) == 3
    x = torch.randn(2, 1, 1, 1)
    both = torch.tensor([5.0, 2.0]).repeat_interleave(2)[:, None, None, None]  # two conditions of two rows
    joined = weighed(lambda x, t: x + both, (3.0, -2.0))
    apart = guided(lambda x, t: x + 5, lambda x, t: x + 2, 3.0)
    assert torch.allclose(joined(x, torch.tensor(0)), apart(x, torch.tensor(0)))
    with pytest.raises(InputError, match="ddim or euler"):
        make_scheduler(NANO_SCHEDULE, "heun")
    assert torch.equal(draw_noise((2, 3, 3), 5), draw_noise((2, 3, 3), 5))
    assert not torch.equal(draw_noise((2, 3, 3), 5), draw_noise((2, 3, 3), 6))


def test_pixels_outside_the_mask_are_exactly_the_photos() -> None:
    random = np.random.default_rng(0)
    photo = random.integers(0, 256, (120, 150, 3), dtype=np.uint8)
    painted = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[10:50, 15:64] = True
    turn = np.deg2rad(20)
    crop = np.array([[np.cos(turn), np.sin(turn), -40.0], [-np.sin(turn), np.cos(turn), -5.0]])
    mixed = blend_back(photo, painted, mask, crop, 4)
    where = paste_back(mask.astype(np.uint8), crop, np.zeros((120, 150), np.uint8), nearest=True) > 0
    assert np.array_equal(mixed[~where], photo[~where])
    assert (mixed[where] != photo[where]).any(-1).mean() > 0.8
    assert np.array_equal(blend_back(photo, painted, np.zeros_like(mask), crop, 4), photo)


def test_what_was_to_be_painted_is_painted_whole() -> None:
    """A brow, 6 pixels high: only what its hole was grown by lets the photo shine through."""
    photo, painted = (np.full((64, 64, 3), colour, np.uint8) for colour in (200, 40))
    brow = np.zeros((64, 64), bool)
    brow[30:36, 20:44] = True
    grown = dilate(brow, 10)
    mixed = blend_back(photo, painted, grown, np.eye(2, 3), 10)
    assert (mixed[brow] == 40).all() and (mixed[~grown] == 200).all()
    ring = mixed[grown & ~brow]
    assert ((ring > 40) & (ring < 200)).mean() > 0.8


def test_a_feather_lies_inside_and_is_full_in_the_middle() -> None:
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    soft = feather(mask, 3)
    assert not soft[~mask].any() and (soft[24:40, 24:40] == 255).all()
    assert 0 < soft[32, 18] < 255 and soft[32, 16] <= soft[32, 17] <= soft[32, 18]
    assert np.array_equal(feather(mask, 0), mask * np.uint8(255))
    rough = np.random.default_rng(0).random((30, 30)) < 0.97
    rough[:, :4] = False
    wide = np.pad(rough, 2)  # the photo goes on behind the crop's border
    least = np.array([[wide[y : y + 5, x : x + 5].min() for x in range(30)] for y in range(30)], float)
    wide = np.pad(least, 2, mode="edge")
    mean = np.array([[wide[y : y + 5, x : x + 5].mean() for x in range(30)] for y in range(30)])
    assert np.abs(feather(rough, 2) - 255 * mean).max() <= 0.51 and 20 < mean.mean() * 255 < 200


def test_shifted_times_are_later() -> None:
    schedule = NoiseSchedule(NANO_SCHEDULE)
    even, late = (schedule.draw(4000, torch.Generator().manual_seed(0), shift) for shift in (1.0, 3.0))
    assert even.float().mean() == pytest.approx(500, abs=15) and int(late.min()) >= 0 and int(late.max()) <= 999
    share = (even.float() + 0.5) / 1000
    assert torch.allclose(late.float(), 3000 * share / (1 + 2 * share), atol=1.01)
