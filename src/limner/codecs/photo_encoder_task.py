"""Training an encoder of photographs for a generator codec.

On synthetic faces the latents are known: loss = weighted squared error of latents. On photographs they are not: what
the encoder finds is decoded and compared, loss = L1 of reduced pictures + λ_p LPIPS + λ_i identity distance.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from limner.codecs.generator_codec import GeneratorCodec
from limner.codecs.latent_lfq_task import importance
from limner.codecs.perceptual import LPIPS
from limner.codecs.photo_encoder import PhotoEncoder, PhotoEncoderConfig
from limner.codecs.styles_data import read_synthetic
from limner.errors import InputError
from limner.faces.data_folders import data_root, picture_files
from limner.faces.identity import IdentityEncoder
from limner.faces.image_tensors import to_model, to_pictures
from limner.faces.picture import read_picture
from limner.weights.tensors import load_into


class PhotoEncoderSettings(BaseModel):
    """The `[task]` table of such a config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "photo-encoder"
    codec: str = Field(default="generator-codec", description="Registry name or folder of the codec.")
    synthetic: list[str] = Field(description="Folders of synthetic faces with their styles, relative to LIMNER_DATA.")
    photographs: list[str] = Field(default=[], description="Folders of aligned 256 px photographs.")
    held_out: int = Field(default=64, gt=0, description="Last files of each photographs' folder that measure progress.")
    architecture: dict[str, Any] = Field(default={}, description="Fields of PhotoEncoderConfig.")
    importance: float = Field(default=0.5, ge=0, description="Power of a component's variance in its weight.")
    style_weight: float = Field(default=0.2, ge=0, description="Weight of the style token's error.")
    colour_jitter: float = Field(default=0.1, ge=0, lt=1, description="Largest change of brightness and contrast.")
    decoded: int = Field(default=0, ge=0, description="Photographs of each batch that are encoded and decoded.")
    picture_weight: float = Field(default=0.5, ge=0, description="Weight of all that is measured on pictures.")
    lpips: str | None = Field(default=None, description="LPIPS weights, relative to LIMNER_DATA.")
    lpips_weight: float = Field(default=1.0, ge=0)
    identity_weight: float = Field(default=0.5, ge=0)
    prior_weight: float = Field(default=0.01, ge=0, description="Weight of the mean square of a photograph's latents.")
    init_from: str | None = Field(default=None, description="Encoder file to start from, relative to LIMNER_DATA.")


class PhotoEncoderTask:
    """See the module. The codec stays as it is."""

    def __init__(self, settings: dict[str, Any], batch_size: int, seed: int) -> None:
        self.settings = s = PhotoEncoderSettings.model_validate(settings)
        self.batch_size, self.seed = batch_size, seed
        self.codec = GeneratorCodec.load(s.codec)
        codec = self.codec.config
        sizes = {"grid": codec.grid, "outputs": codec.token_width, "size": codec.size}
        self.config = PhotoEncoderConfig(**{**sizes, **s.architecture})
        self.files, self.styles = read_synthetic([data_root() / folder for folder in s.synthetic])
        self.photographs: list[Path] = []
        self.unseen: list[Path] = []
        for folder in s.photographs:
            found = picture_files([folder])
            self.photographs += found[: -s.held_out]
            self.unseen += found[-s.held_out :]
        if s.decoded and not self.photographs:
            raise InputError("task.decoded: there are no photographs to decode; name folders in task.photographs")
        self.lpips = LPIPS.load(None if s.lpips is None else data_root() / s.lpips) if self.photographs else None
        self.identity = IdentityEncoder.load() if self.photographs else None
        self.weights = importance(self.codec, s.importance, s.style_weight)

    def build(self) -> nn.Module:
        encoder = PhotoEncoder(self.config)
        if self.settings.init_from is not None:
            load_into(encoder.trained(), data_root() / self.settings.init_from)
        return encoder

    def batch(self, step: int) -> dict[str, Tensor]:
        """Synthetic pictures in changed light with their styles, and photographs as they are."""
        s, random = self.settings, np.random.default_rng([self.seed, step])
        known = self.batch_size - s.decoded
        rows = random.integers(0, len(self.files) - s.held_out, known)
        pictures = to_model(np.stack([read_picture(self.files[row]) for row in rows]))
        gain = torch.from_numpy(1 + s.colour_jitter * random.uniform(-1, 1, (known, 3, 1, 1))).float()
        shift = torch.from_numpy(s.colour_jitter * random.uniform(-1, 1, (known, 1, 1, 1))).float()
        made = {
            "pictures": (pictures * gain + shift).clamp(-1, 1),
            "styles": torch.from_numpy(self.styles[rows].astype(np.float32)),
        }
        if s.decoded:
            chosen = random.integers(0, len(self.photographs), s.decoded)
            made["photographs"] = to_model(np.stack([read_picture(self.photographs[k]) for k in chosen]))
        return made

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        s, encoder = self.settings, _encoder(model)
        with torch.no_grad():
            latents = self.codec.encode_style(batch["styles"]).float()
        found = encoder(batch["pictures"]).float()
        parts = {"latents": ((found - latents).square() * self.weights).mean()}
        total = parts["latents"]
        if s.decoded:
            latents = encoder(batch["photographs"]).float()
            parts |= self._pictures(self.codec.decode(latents), batch["photographs"])
            parts["prior"] = latents.square().mean()
            pictures = parts["l1"] + s.lpips_weight * parts["lpips"] + s.identity_weight * parts["identity"]
            total = total + s.picture_weight * (pictures + s.prior_weight * parts["prior"])
        return total, parts

    def _pictures(self, made: Tensor, target: Tensor) -> dict[str, Tensor]:
        assert self.lpips is not None and self.identity is not None
        with torch.autocast(made.device.type, enabled=False):
            made, target = made.float(), target.float()
            return {
                "l1": F.l1_loss(F.avg_pool2d(made, 8), F.avg_pool2d(target, 8)),
                "lpips": self.lpips(made, target).mean(),
                "identity": (self.identity(made) - self.identity(target)).norm(dim=1).mean(),
            }

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Share of the latents' weighted variance that is lost on unseen synthetic faces; on unseen photographs LPIPS
        and the median identity distance of what is decoded.
        """
        s, encoder = self.settings, _encoder(model)
        pictures = to_model(np.stack([read_picture(file) for file in self.files[-s.held_out :]]))
        latents = self.codec.encode_style(torch.from_numpy(self.styles[-s.held_out :].astype(np.float32)))
        found = torch.cat([encoder(part) for part in pictures.split(16)]).float()
        weighted = lambda x: (x.square() * self.weights).mean()  # noqa: E731
        figures = {"variance_lost": float(weighted(found - latents) / weighted(latents))}
        if self.unseen:
            compared = []
            for file in self.unseen:
                photograph = to_model(read_picture(file)[None])
                parts = self._pictures(self.codec.decode(encoder(photograph).float()), photograph)
                compared.append((float(parts["lpips"]), float(parts["identity"])))
            figures["lpips"] = float(np.mean([lpips for lpips, _ in compared]))
            figures["identity_median"] = float(np.median([distance for _, distance in compared]))
        return figures

    def samples(self, model: nn.Module) -> np.ndarray:
        """Pairs of rows: unseen pictures above, decoded from what the encoder finds below."""
        rows = []
        for files in (self.files[-8:], self.unseen[:: max(1, len(self.unseen) // 8)][:8]):
            if files:
                pictures = np.stack([read_picture(file) for file in files])
                made = to_pictures(self.codec.decode(_encoder(model)(to_model(pictures)).float()))
                rows += [np.concatenate(list(pictures), 1), np.concatenate(list(made), 1)]
        return np.concatenate(rows, 0)

    def export(self, model: nn.Module, path: Path, facts: dict[str, str]) -> None:
        """``encoder.safetensors`` in a folder beside `path`."""
        _encoder(model).save(path.with_suffix(""), facts)


def _encoder(model: nn.Module) -> PhotoEncoder:
    assert isinstance(model, PhotoEncoder)
    return model
