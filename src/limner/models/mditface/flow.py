"""Rectified flow: the path between data and noise, time schedules, and samplers as pure functions.

t = 0 is data, t = 1 is noise: x_t = (1 - t) x_0 + t eps, v = eps - x_0 (FLUX's convention), so dx/dt = v.

Legend: B batch, C latent channels, h x w latent grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]
"""(x_t, t) to v, all (B, C, h, w)."""

Callback = Callable[[int, float, Tensor, Tensor], None]
"""After each step: (step from 1, time reached, x_t, estimate of x_0). To cancel, raise."""


def interpolate(data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = (1 - t) x_0 + t eps. t: (B,)."""
    t = t.view(-1, *[1] * (data.ndim - 1)).to(data.dtype)
    return (1 - t) * data + t * noise


def shift_time(t: Tensor, shift: float) -> Tensor:
    """t' = s t / (1 + (s - 1) t): more of the path at high noise for s > 1, as larger pictures need [R]."""
    return shift * t / (1 + (shift - 1) * t)


def sample_timesteps(count: int, generator: torch.Generator, shift: float = 1.0) -> Tensor:
    """Training times t = sigmoid(N(0, 1)), then shifted [R: logit-normal, Stable Diffusion 3]. (count,) in (0, 1)."""
    return shift_time(torch.sigmoid(torch.randn(count, generator=generator)), shift)


def schedule(steps: int, shift: float = 1.0) -> list[float]:
    """``steps + 1`` times from 1 down to 0, evenly spaced before the shift. ``ValueError`` unless steps >= 1."""
    if steps < 1:
        raise ValueError(f"steps={steps}: at least 1 is needed")
    if shift <= 0:
        raise ValueError(f"shift={shift}: must be above 0 (1 leaves the times evenly spaced)")
    return shift_time(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift).tolist()


def flux_shift(tokens: int) -> float:
    """FLUX.1-dev's shift for a number of image tokens: exp(mu), mu linear from 0.5 at 256 to 1.15 at 4,096 [R]."""
    return math.exp(0.5 + (tokens - 256) * (1.15 - 0.5) / (4096 - 256))


def draw_noise(shape: Sequence[int], seed: int, count: int) -> Tensor:
    """Starting noise of pictures ``seed``, ``seed + 1``, ...: (count, *shape), float32.

    Each picture has a CPU generator of its own, so picture k of seed s is the same picture whatever the batch, and on
    every device; it is also the first picture of seed s + k.
    """
    return torch.stack([torch.randn(*shape, generator=torch.Generator().manual_seed(seed + k)) for k in range(count)])


def euler(velocity: Velocity, start: Tensor, times: Sequence[float], callback: Callback | None = None) -> Tensor:
    """x_(t') = x_t + (t' - t) v(x_t, t): first order, one evaluation a step.

    start: x at ``times[0]``, float32 (B, C, h, w). Returns x at ``times[-1]``.
    """
    x = start
    for step, (t, after) in enumerate(pairwise(times), start=1):
        v = velocity(x, t).to(x.dtype)
        estimate = x - t * v if callback is not None else x
        x = x + (after - t) * v
        if callback is not None:
            callback(step, after, x, estimate)
    return x


def heun(velocity: Velocity, start: Tensor, times: Sequence[float], callback: Callback | None = None) -> Tensor:
    """Euler, then the mean of the velocities at both ends: second order, two evaluations a step, one in the last.

    The last step, to t = 0, stays first order, since there is no more noise to estimate there [R: EDM].
    """
    x = start
    for step, (t, after) in enumerate(pairwise(times), start=1):
        v = velocity(x, t).to(x.dtype)
        estimate = x - t * v if callback is not None else x
        ahead = x + (after - t) * v
        if after > 0:
            v = 0.5 * (v + velocity(ahead, after).to(x.dtype))
            ahead = x + (after - t) * v
        x = ahead
        if callback is not None:
            callback(step, after, x, estimate)
    return x


SAMPLERS: dict[str, Callable[[Velocity, Tensor, Sequence[float], Callback | None], Tensor]] = {
    "euler": euler,
    "heun": heun,
}
