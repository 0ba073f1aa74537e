"""Training the KL codec: reconstruct sharply through a narrow, gently noisy bottleneck."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from limner.codecs.continuous import KLCodec
from limner.codecs.task import PictureCodecTask, PictureSettings, Reconstruction, codec_of
from limner.faces.data_folders import data_root
from limner.files import write_json_atomic
from limner.weights.tensors import save_tensors


class CodecSettings(PictureSettings):
    """The `[task]` table of a KL codec training config."""

    kind: str = "codec"
    architecture: dict[str, Any] = Field(description="Arguments of diffusers' AutoencoderDC.")
    kl_weight: float = Field(default=1e-3, ge=0, description="Weight of the KL term, a mean per latent number.")
    noise: float = Field(default=0.1, gt=0, description="Fixed posterior deviation σ.")


class CodecTask(PictureCodecTask[CodecSettings]):
    """Its own term is KL of N(z, σ²) against N(0, 1) with fixed σ.

    Our choice: a fixed σ, because then an autoencoder without a variance head (AutoencoderDC, whose space-to-depth
    stem is cheap on a CPU) still gets a KL bottleneck, and its decoder learns to forgive small errors of a sampler.
    """

    def __init__(self, settings: dict[str, Any], batch_size: int, seed: int) -> None:
        s = CodecSettings.model_validate(settings)
        super().__init__(s, batch_size, seed, s.window)

    def make_codec(self) -> nn.Module:
        from diffusers import AutoencoderDC

        codec = AutoencoderDC(**self.settings.architecture)
        if self.settings.init_from:
            codec.load_state_dict(KLCodec.load(data_root() / self.settings.init_from).autoencoder.state_dict())
        if self.settings.decoder_only:
            codec.encoder.requires_grad_(False)
        return codec

    def remake(self, codec: Any, pictures: Tensor, generator: torch.Generator) -> Reconstruction:
        z = codec.encode(pictures).latent
        noise = torch.randn(z.shape, generator=generator).to(z)
        made = codec.decode(z + self.settings.noise * noise).sample
        kl = 0.5 * z.float().square().mean()  # up to a constant: σ is fixed
        return Reconstruction(pictures, made, {"kl": (self.settings.kl_weight, kl)})

    def code(self, codec: Any, pictures: Tensor) -> tuple[Tensor, Tensor]:
        z = codec.encode(pictures).latent
        return z, codec.decode(z).sample.clamp(-1, 1)

    def coded(self, codes: list[Tensor]) -> dict[str, float]:
        """The latents' deviation."""
        return {"deviation": float(np.mean([z.std().item() for z in codes]))}

    def export(self, model: nn.Module, path: Path, facts: dict[str, str]) -> None:
        """A folder in diffusers' format beside `path`, its scaling factor measured on the held-out faces.

        Where the encoder was left as it is, so is the factor: latents made before stay exactly valid.
        """
        if self.settings.decoder_only and self.settings.init_from:
            factor = KLCodec.load(data_root() / self.settings.init_from).scale
        else:
            deviations = [v for k, v in self.validate(model).items() if k.endswith(".deviation")]
            factor = round(1 / float(np.mean(deviations)), 4)
        codec = codec_of(model)
        config = {k: v for k, v in dict(codec.config).items() if not k.startswith("_")}
        config |= {"_class_name": "AutoencoderDC", "scaling_factor": factor}
        folder = path.with_suffix("")
        save_tensors(folder / "diffusion_pytorch_model.safetensors", codec.state_dict(), facts, dtype=torch.float16)
        write_json_atomic(folder / "config.json", config)
