"""The noise schedule of a base, for training: q(x_t | x_0), what the UNet has to predict, and x_0 from its prediction.

x_t = √ᾱ_t·x_0 + √(1 − ᾱ_t)·ε; predicted is ε, or v = √ᾱ_t·ε − √(1 − ᾱ_t)·x_0 (Salimans and Ho 2022). Times are steps
0 … 999 of the base's own training schedule. B pictures, C latent channels, h w grid.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Nano bases: v-prediction on a schedule that ends in pure noise (Lin et al., arXiv 2305.08891), so that very light and
# very dark pictures are learnt too. Our choice over ε-prediction, which cannot be asked anything at ᾱ = 0.
NANO_SCHEDULE: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "set_alpha_to_one": False,
    "clip_sample": False,
}


class NoiseSchedule:
    """ᾱ of a scheduler's configuration in diffusers' format. ``ValueError`` for a prediction type it does not know."""

    def __init__(self, config: dict[str, Any]) -> None:
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler.from_config({k: v for k, v in config.items() if not k.startswith("_")})
        self.alphas: Tensor = scheduler.alphas_cumprod.float()  # type: ignore[union-attr]
        self.kind = str(config.get("prediction_type", "epsilon"))
        if self.kind not in ("epsilon", "v_prediction"):
            raise ValueError(f"prediction_type={self.kind!r}: FaceX trains on epsilon and v_prediction")

    def draw(self, count: int, generator: torch.Generator, shift: float = 1.0) -> Tensor:
        """Times (B,), uniform; with ``shift`` above 1 more of them are late, where there is much noise.

        Our choice: t ↦ s·t / (1 + (s − 1)·t), as rectified flows shift theirs: what a face looks like is decided late,
        and what a small network gets wrong early, it gets wrong by little in x0.
        """
        steps = len(self.alphas)
        share = (torch.randint(0, steps, (count,), generator=generator) + 0.5) / steps
        return (shift * share / (1 + (shift - 1) * share) * steps).long().clamp(max=steps - 1)

    def noisy(self, x0: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """x_t."""
        signal, spread = self._weights(times, x0)
        return signal * x0 + spread * noise

    def target(self, x0: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What the UNet should predict."""
        signal, spread = self._weights(times, x0)
        return noise if self.kind == "epsilon" else signal * noise - spread * x0

    def start(self, noisy: Tensor, predicted: Tensor, times: Tensor) -> Tensor:
        """x_0 as it follows from a prediction; for ε, only where ᾱ > 0."""
        signal, spread = self._weights(times, noisy)
        if self.kind == "epsilon":
            return (noisy - spread * predicted) / signal
        return signal * noisy - spread * predicted

    def _weights(self, times: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        alphas = self.alphas.to(like.device)[times.to(like.device)][:, None, None, None]
        return alphas.sqrt(), (1 - alphas).sqrt()
