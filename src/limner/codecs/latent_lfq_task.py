"""Training codes for the latents of a generator codec.

Loss = weighted squared error of latents + λ_e entropy + λ_c commitment, and on a few faces of each batch, decoded to
pictures, L1 + λ_p LPIPS + λ_i identity distance.
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
from limner.codecs.latent_lfq import LatentLFQCodec, LatentLFQConfig
from limner.codecs.perceptual import LPIPS
from limner.codecs.quantizer import codebook_perplexity, codebook_use
from limner.codecs.styles_data import StyleBatches, read_styles, styles_of
from limner.faces.data_folders import data_root
from limner.faces.identity import IdentityEncoder
from limner.faces.image_tensors import to_pictures


class LatentLFQSettings(BaseModel):
    """The `[task]` table of such a config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "latent-lfq"
    styles: list[str] = Field(description="Files of styles (w.npz), relative to LIMNER_DATA.")
    share: float = Field(default=0.5, ge=0, le=1, description="Share of a batch that comes from them.")
    architecture: dict[str, Any] = Field(default={}, description="Fields of LatentLFQConfig.")
    importance: float = Field(
        default=0.5, ge=0, description="Power of a component's variance in its weight; 0: all alike, 1: by variance."
    )
    style_weight: float = Field(default=0.2, ge=0, description="Weight of the style token's error.")
    entropy_weight: float = Field(default=0.05, ge=0)
    commitment_weight: float = Field(default=0.1, ge=0)
    decoded: int = Field(default=0, ge=0, description="Faces of each batch that are decoded and compared as pictures.")
    picture_weight: float = Field(default=0.3, ge=0, description="Weight of all that is measured on pictures.")
    lpips: str | None = Field(default=None, description="LPIPS weights, relative to LIMNER_DATA; with `decoded`.")
    lpips_weight: float = Field(default=1.0, ge=0)
    identity_weight: float = Field(default=0.5, ge=0)
    init_from: str | None = Field(default=None, description="Codec folder to start from, relative to LIMNER_DATA.")
    held_out_count: int = Field(default=96, gt=0, le=256)


class LatentLFQTask:
    """See the module. The base codec stays as it is."""

    def __init__(self, settings: dict[str, Any], batch_size: int, seed: int) -> None:
        self.settings = s = LatentLFQSettings.model_validate(settings)
        self.config = LatentLFQConfig(**s.architecture)
        self.batches = StyleBatches(read_styles([data_root() / f for f in s.styles]), batch_size, seed, s.share)
        self.base = GeneratorCodec.load(self.config.base)
        self.lpips = LPIPS.load(None if s.lpips is None else data_root() / s.lpips) if s.decoded else None
        self.identity = IdentityEncoder.load() if s.decoded else None
        self.weights = importance(self.base, s.importance, s.style_weight)

    def build(self) -> nn.Module:
        start = self.settings.init_from
        codec = LatentLFQCodec(self.config, self.base) if start is None else LatentLFQCodec.load(data_root() / start)
        for part in (codec.encoder, codec.decoder):
            part.requires_grad_(True)
        codec.style_query.requires_grad_(True)
        return codec

    def batch(self, step: int) -> dict[str, Tensor]:
        return self.batches.batch(step)

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        s, codec = self.settings, _codec(model)
        with torch.no_grad():
            latents = codec.base.encode_style(styles_of(batch, codec.base.generator)).float()
        found = codec.quantise(latents)
        made = codec.restore(found.z).float()
        weights = self.weights.to(made.device)
        parts = {
            "latents": ((made - latents).square() * weights).mean(),
            "entropy": found.entropy,
            "commitment": found.commitment,
        }
        total = parts["latents"] + s.entropy_weight * parts["entropy"] + s.commitment_weight * parts["commitment"]
        if s.decoded:
            parts |= self._pictures(codec.base, made[-s.decoded :], latents[-s.decoded :])
            pictures = parts["l1"] + s.lpips_weight * parts["lpips"] + s.identity_weight * parts["identity"]
            total = total + s.picture_weight * pictures
        return total, parts

    def _pictures(self, base: GeneratorCodec, made: Tensor, latents: Tensor) -> dict[str, Tensor]:
        assert self.lpips is not None and self.identity is not None
        with torch.autocast(made.device.type, enabled=False):
            pictures = base.decode(made)
            with torch.no_grad():
                target = base.decode(latents)
            return {
                "l1": F.l1_loss(pictures, target),
                "lpips": self.lpips(pictures, target).mean(),
                "identity": (self.identity(pictures) - self.identity(target)).norm(dim=1).mean(),
            }

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Share of the latents' weighted variance that is lost, and how many codes are used."""
        codec = _codec(model)
        latents = codec.base.encode_style(self.batches.held_out(self.settings.held_out_count)).float()
        codes = codec.encode_latents(latents)
        made = codec.decode_latents(codes).float()
        lost = ((made - latents).square() * self.weights).mean() / (latents.square() * self.weights).mean()
        style = (made[:, 0] - latents[:, 0]).square().mean() / latents[:, 0].square().mean()
        return {
            "variance_lost": float(lost),
            "style_variance_lost": float(style),
            "codebook_use": codebook_use(codes, self.config.codebook),
            "codebook_perplexity": codebook_perplexity(codes, self.config.codebook),
        }

    def samples(self, model: nn.Module) -> np.ndarray:
        """Held-out faces above, their reconstructions below."""
        codec = _codec(model)
        latents = codec.base.encode_style(self.batches.held_out(8)).float()
        made = codec.decode_latents(codec.encode_latents(latents)).float()
        rows = [np.concatenate(list(to_pictures(codec.base.decode(each))), 1) for each in (latents, made)]
        return np.concatenate(rows, 0)

    def export(self, model: nn.Module, path: Path, facts: dict[str, str]) -> None:
        """A folder beside `path` that `LatentLFQCodec.load` reads."""
        _codec(model).save(path.with_suffix(""), facts)


def importance(base: GeneratorCodec, power: float, style_weight: float) -> Tensor:
    """Weight of each number of the latents (1 + N, P): its component's variance to a power, mean 1; the style's apart.

    Latents are whitened, so that equal weights would spend bits on components that a picture hardly shows.
    """
    variance = base.get_buffer("deviation").square().repeat(base.config.patch**2)
    grid = variance**power / (variance**power).mean()
    style = base.get_buffer("style_deviation").square() ** power
    tokens, width = base.latent_shape()
    weights = grid.expand(tokens, width).clone()
    weights[0] = style / style.mean() * style_weight * (tokens - 1)
    return weights


def _codec(model: nn.Module) -> LatentLFQCodec:
    assert isinstance(model, LatentLFQCodec)
    return model
