"""Training the KL codec: reconstruct sharply through a narrow, gently noisy bottleneck."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from limner.codecs.discriminator import PatchDiscriminator, discriminator_loss, generator_loss
from limner.codecs.perceptual import LPIPS
from limner.codecs.pictures import PictureCrops
from limner.faces.batches import to_model, to_pictures
from limner.faces.folders import data_root, picture_files
from limner.faces.picture import read_picture


class CodecSettings(BaseModel):
    """The `[task]` table of a codec recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "codec"
    pictures: list[str] = Field(description="Folders to train on, relative to LIMNER_DATA.")
    held_out: dict[str, str] = Field(description="Name → folder of aligned 256² faces that measure progress.")
    skip_last: dict[str, int] = Field(default={}, description="Folder → how many of its last files are kept unseen.")
    lpips: str = Field(description="LPIPS weights, relative to LIMNER_DATA.")
    architecture: dict[str, Any] = Field(description="Arguments of diffusers' AutoencoderDC.")
    start: str | None = Field(default=None, description="Codec folder to start from, relative to LIMNER_DATA.")
    decoder_only: bool = Field(default=False, description="Leave the encoder, and so all latents, as they are.")
    lpips_weight: float = Field(default=0.5, ge=0)
    kl_weight: float = Field(default=1e-3, ge=0, description="Weight of the KL term, a mean per latent number.")
    noise: float = Field(default=0.1, gt=0, description="Fixed posterior deviation σ.")
    adversarial_weight: float = Field(default=0.0, ge=0)
    adversarial_after: int = Field(default=0, ge=0, description="Step after which the discriminator joins in.")
    window: int = Field(default=256, ge=64, le=256, multiple_of=16, description="Side of the windows trained on.")
    held_out_count: int = Field(default=128, gt=0)


class Players(nn.Module):
    """The codec and, where the recipe wants one, the critic it plays against."""

    def __init__(self, codec: Any) -> None:
        super().__init__()
        self.codec: Any = codec  # diffusers' AutoencoderDC
        self.critic: PatchDiscriminator | None = None


class CodecTask:
    """Loss = L1 + λ₁·LPIPS + λ₂·KL + λ₃·hinge, KL of N(z, σ²) against N(0, 1) with fixed σ.

    Our choice: a fixed σ, because then an autoencoder without a variance head (AutoencoderDC, whose space-to-depth
    stem is cheap on a CPU) still gets a KL bottleneck, and its decoder learns to forgive small errors of a sampler.
    """

    def __init__(self, settings: dict[str, Any], batch_size: int, seed: int) -> None:
        self.settings = s = CodecSettings.model_validate(settings)
        files = []
        for folder in s.pictures:
            found = picture_files([folder])
            files += found[: len(found) - s.skip_last.get(folder, 0)]
        self.crops = PictureCrops(files, batch_size, seed, window=s.window)
        self.held_out = {name: _held_out(folder, s.held_out_count) for name, folder in s.held_out.items()}
        self.lpips = LPIPS.load(data_root() / s.lpips).eval()

    def build(self) -> nn.Module:
        from diffusers import AutoencoderDC

        model = Players(AutoencoderDC(**self.settings.architecture))
        if self.settings.start:
            from limner.codecs.continuous import KLCodec

            model.codec.load_state_dict(KLCodec.load(data_root() / self.settings.start).autoencoder.state_dict())
        if self.settings.decoder_only:
            model.codec.encoder.requires_grad_(False)
        if self.settings.adversarial_weight:
            model.critic = PatchDiscriminator()
        return model

    def batch(self, step: int) -> dict[str, Tensor]:
        return {"pictures": self.crops.batch(step)}

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        s, parts = self.settings, {}
        pictures = batch["pictures"].to(memory_format=torch.channels_last)
        codec = _players(model).codec
        z = codec.encode(pictures).latent
        noise = torch.randn(z.shape, generator=generator).to(z)
        made = codec.decode(z + s.noise * noise).sample
        parts["l1"] = F.l1_loss(made.float(), pictures)
        parts["lpips"] = self.lpips(made, pictures).mean()
        parts["kl"] = 0.5 * z.float().square().mean()  # up to a constant: σ is fixed
        total = parts["l1"] + s.lpips_weight * parts["lpips"] + s.kl_weight * parts["kl"]
        critic = _players(model).critic
        if critic is not None and step >= s.adversarial_after:
            parts["fooling"] = generator_loss(critic, made)
            parts["critic"] = discriminator_loss(critic, pictures, made)
            total = total + s.adversarial_weight * parts["fooling"] + parts["critic"]
        return total, parts

    def validate(self, model: nn.Module) -> dict[str, float]:
        """PSNR in dB (peak 255, mean over pictures), LPIPS(alex) and the latents' deviation, per held-out set."""
        figures = {}
        for name, pictures in self.held_out.items():
            psnr, distance, deviation = [], [], []
            for start in range(0, len(pictures), 16):
                x = to_model(pictures[start : start + 16])
                z = _players(model).codec.encode(x).latent
                y = _players(model).codec.decode(z).sample.clamp(-1, 1)
                error = (x - y).mul(127.5).square().mean((1, 2, 3))
                psnr += (10 * torch.log10(255**2 / error)).tolist()
                distance += self.lpips(x, y).tolist()
                deviation.append(z.std().item())
            figures |= {f"{name}.psnr": float(np.mean(psnr)), f"{name}.lpips": float(np.mean(distance))}
            figures[f"{name}.deviation"] = float(np.mean(deviation))
        return figures

    def samples(self, model: nn.Module) -> np.ndarray:
        """Pairs of rows: held-out pictures above, their reconstructions below."""
        rows = []
        for pictures in self.held_out.values():
            x = pictures[:6]
            y = to_pictures(_players(model).codec.decode(_players(model).codec.encode(to_model(x)).latent).sample)
            rows += [np.concatenate(list(x), 1), np.concatenate(list(y), 1)]
        return np.concatenate(rows, 0)

    def export(self, model: nn.Module, path: Path, facts: dict[str, str]) -> None:
        """A folder in diffusers' format beside `path`, its scaling factor measured on the held-out faces.

        Where the encoder was left as it is, so is the factor: latents made before stay exactly valid.
        """
        from limner.codecs.continuous import KLCodec
        from limner.files import write_json_atomic
        from limner.weights.tensors import save_tensors

        if self.settings.decoder_only and self.settings.start:
            factor = KLCodec.load(data_root() / self.settings.start).scale
        else:
            deviations = [v for k, v in self.validate(model).items() if k.endswith(".deviation")]
            factor = round(1 / float(np.mean(deviations)), 4)
        codec = _players(model).codec
        config = {k: v for k, v in dict(codec.config).items() if not k.startswith("_")}
        config |= {"_class_name": "AutoencoderDC", "scaling_factor": factor}
        folder = path.with_suffix("")
        save_tensors(folder / "diffusion_pytorch_model.safetensors", codec.state_dict(), facts, dtype=torch.float16)
        write_json_atomic(folder / "config.json", config)


def _players(model: nn.Module) -> Players:
    assert isinstance(model, Players)
    return model


def _held_out(folder: str, count: int) -> np.ndarray:
    """The last `count` pictures of a folder, uint8 (N, 256, 256, 3): name order makes them the same every time."""
    return np.stack([read_picture(file) for file in picture_files([folder])[-count:]])
