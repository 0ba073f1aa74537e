"""Sampling: pure functions over diffusers' schedulers.

Legend: B pictures, C latent channels, h w latent grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limner.settings import check_sampler

Predict = Callable[[Tensor, Tensor], Tensor]
"""(latents (B, C, h, w), time) → what the model predicts, guided or not."""
Callback = Callable[[int, int, Tensor], None]
"""(steps done, steps in all, latents without noise as they look now). To cancel, raise."""
OnStep = Callable[[int, Tensor, Tensor], Tensor]
"""(step from 0, its time, latents after it (B, C, h, w)) → the latents to go on with."""
SAMPLERS = ("ddim", "euler")


def make_scheduler(config: dict[str, Any], sampler: str) -> Any:
    """diffusers' scheduler of that name with a base model's own schedule and prediction type."""
    from diffusers import DDIMScheduler, EulerDiscreteScheduler

    check_sampler(sampler, SAMPLERS)
    kept = {key: value for key, value in config.items() if not key.startswith("_")}
    if sampler == "euler":
        return EulerDiscreteScheduler.from_config({**kept, "use_karras_sigmas": False})
    return DDIMScheduler.from_config({**kept, "clip_sample": False})


def draw_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Noise (1, *shape) of a seed, drawn on the CPU: the same on every device."""
    return torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed))


def guided(predict: Predict, predict_none: Predict, scale: float) -> Predict:
    """Classifier-free guidance: none + s·(with − none). At s = 1 the second model is not asked."""
    if scale == 1:
        return predict

    def both(x: Tensor, t: Tensor) -> Tensor:
        none = predict_none(x, t)
        return none + scale * (predict(x, t) - none)

    return both


def weighed(predict: Predict, weights: Sequence[float]) -> Predict:
    """Σ w_k·predict_k(x, t): guidance away from any number of other conditions.

    ``predict`` gets all K conditions in one batch, (K·B, C, h, w), condition by condition, which is faster than one
    after the other.
    """

    def all_of_them(x: Tensor, t: Tensor) -> Tensor:
        outputs = predict(x.repeat(len(weights), 1, 1, 1), t).unflatten(0, (len(weights), len(x)))
        return torch.stack([weight * output for weight, output in zip(weights, outputs, strict=True)]).sum(0)

    return all_of_them


@dataclass(frozen=True, eq=False)
class InitLatents:
    """Where pictures start that do not start from noise alone (SDEdit, Meng et al., arXiv 2108.01073): latents
    (B, C, h, w), and of each the share of the way from noise to picture that is left to go, in (0, 1]; 1: all."""

    latents: Tensor
    shares: tuple[float, ...]

    def steps(self, steps: int) -> list[int]:
        """The step at which each picture starts, of ``steps``."""
        return [first_step(share, steps) for share in self.shares]


def first_step(share: float, steps: int) -> int:
    """The step, of ``steps``, at which a picture starts of which a share is left to go."""
    return min(round((1 - share) * steps), steps - 1)


@torch.no_grad()
def sample(
    predict: Predict,
    noise: Tensor,
    scheduler: Any,
    steps: int,
    callback: Callback | None = None,
    init: InitLatents | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Latents (B, C, h, w) from unit noise in ``steps`` steps, fewer where every picture has an init."""
    scheduler.set_timesteps(steps, device=noise.device)
    starts = [0] * len(noise) if init is None else init.steps(steps)
    first = min(starts)
    x = noise * scheduler.init_noise_sigma
    for step, t in enumerate(scheduler.timesteps[first:], start=first):
        late = torch.tensor([0 < start == step for start in starts], device=x.device)
        if init is not None and late.any():
            drafted = scheduler.add_noise(init.latents.to(x), noise, t[None])
            x = torch.where(late[:, None, None, None], drafted, x)
        out = predict(scheduler.scale_model_input(x, t), t)
        stepped = scheduler.step(out.float(), t, x)
        x = stepped.prev_sample
        if on_step is not None:
            x = on_step(step - first, t, x)
        if callback is not None:
            callback(step + 1 - first, steps - first, stepped.pred_original_sample)
    return x
