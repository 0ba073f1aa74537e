"""Making a generator codec: its components are fitted, its light head is distilled from the generator's own picture.

Loss = L1 + 2 · squared error + λ LPIPS between the head's picture and the generator's, reduced to the head's size. A
part of the pictures has a foreign style or noisy features, since a painter's latents are never quite the generator's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from limner.codecs.generator_codec import GeneratorCodec, GeneratorCodecConfig
from limner.codecs.perceptual import LPIPS
from limner.codecs.truncation import PSI
from limner.faces.data_folders import data_root
from limner.faces.image_tensors import to_pictures
from limner.weights.tensors import load_into

HELD_OUT_SEED = 1


class GeneratorCodecSettings(BaseModel):
    """The `[task]` table of such a config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "generator-codec"
    generator: str = Field(description="File of tools/convert/face_generator.py, relative to LIMNER_DATA.")
    architecture: dict[str, Any] = Field(default={}, description="Fields of GeneratorCodecConfig.")
    fit_faces: int = Field(default=4000, gt=1, description="Faces that components and deviations are taken from.")
    pictures: int = Field(default=3000, gt=0, description="Different faces the head learns from; they are remembered.")
    foreign: float = Field(default=0.35, ge=0, le=1, description="Share of them with another face's style.")
    noisy: float = Field(default=0.2, ge=0, le=1, description="Share of them with noise in their features.")
    noise: float = Field(default=0.25, ge=0, description="Largest noise, in deviations of the features.")
    lpips: str = Field(description="LPIPS weights, relative to LIMNER_DATA.")
    lpips_weight: float = Field(default=0.3, ge=0)
    window: int = Field(default=128, ge=64, description="Side of the window that LPIPS compares.")
    held_out: int = Field(default=48, gt=0)


class GeneratorCodecTask:
    """See the module. A sample is one face; its picture by the generator is made once and remembered."""

    def __init__(self, settings: dict[str, Any], batch_size: int, seed: int) -> None:
        self.settings = s = GeneratorCodecSettings.model_validate(settings)
        self.batch_size, self.seed = batch_size, seed
        self.config = GeneratorCodecConfig.from_dict(s.architecture)
        self.lpips = LPIPS.load(data_root() / s.lpips)
        self._known: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def build(self) -> nn.Module:
        """The codec with its generator and components; only the head is trained.

        The head's first modulation starts as that of the generator's next block, which reads the same features.
        """
        s, codec = self.settings, GeneratorCodec(self.config)
        load_into(codec.generator, data_root() / s.generator)
        codec.eval().requires_grad_(False)
        codec.fit(self._styles(np.random.default_rng([self.seed, 2]), s.fit_faces, codec))
        _start_head(codec)
        codec.head.requires_grad_(True)
        return codec

    def batch(self, step: int) -> dict[str, Tensor]:
        return {"faces": torch.from_numpy(np.random.default_rng([self.seed, 1, step]).integers(
            0, self.settings.pictures, self.batch_size))}  # fmt: skip

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        s, codec = self.settings, _codec(model)
        sums: dict[str, Tensor] = {}
        for face in batch["faces"].tolist():
            features, w, target = self._taught(codec, face)
            made = codec.head(features, w).float()
            corner = torch.randint(codec.config.size - s.window + 1, (2,), generator=generator).tolist()
            cut = (slice(None), slice(None), *(slice(c, c + s.window) for c in corner))
            parts = {
                "l1": F.l1_loss(made, target),
                "squares": F.mse_loss(made, target),
                "lpips": self.lpips(made[cut], target[cut]).mean(),
            }
            sums = {name: sums.get(name, 0) + value / len(batch["faces"]) for name, value in parts.items()}
        return sums["l1"] + 2 * sums["squares"] + s.lpips_weight * sums["lpips"], sums

    @torch.no_grad()
    def _taught(self, codec: GeneratorCodec, face: int) -> tuple[Tensor, Tensor, Tensor]:
        """Middle features, style and the generator's picture of a face."""
        blocks = codec.config.head[0]
        if face not in self._known:
            latent, w = self._face(codec, np.random.default_rng([self.seed, 3, face]))
            target = self._target(codec, codec.generator.run(latent, w, codec.config.cut, blocks), w)
            self._known[face] = (latent.half(), w, target.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8))
        latent, w, target = self._known[face]
        return codec.generator.run(latent.float(), w, codec.config.cut, blocks), w, target.float() / 127.5 - 1

    def _face(self, codec: GeneratorCodec, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        s = self.settings
        styles = self._styles(random, 2, codec)
        features, w = codec.generator.features(styles[:1], codec.config.cut), styles[:1]
        if random.random() < s.foreign:
            w = styles[1:]
        if random.random() < s.noisy:
            noise = torch.from_numpy(random.standard_normal(features.shape, np.float32))
            features = features + s.noise * float(random.random()) * features.std((0, 2, 3), keepdim=True) * noise
        return features, w

    def _styles(self, random: np.random.Generator, count: int, codec: GeneratorCodec) -> Tensor:
        z = torch.from_numpy(random.standard_normal((count, codec.config.generator.style), np.float32))
        psi = torch.from_numpy(random.uniform(*PSI, (count, 1)).astype(np.float32))
        with torch.no_grad():
            return codec.generator.truncate(codec.generator.mapping(z), psi)

    @torch.no_grad()
    def _target(self, codec: GeneratorCodec, features: Tensor, w: Tensor) -> Tensor:
        generator, last = codec.generator, codec.config.generator.blocks
        picture = generator.to_picture(generator.run(features, w, codec.config.head[0], last), w)
        return F.interpolate(picture.clamp(-1, 1), size=codec.config.size, mode="bicubic", antialias=True)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """PSNR in dB and LPIPS of the head's picture to the generator's, reduced, on faces it never saw."""
        codec, random = _codec(model), np.random.default_rng([self.seed, HELD_OUT_SEED])
        found = []
        for w in self._styles(random, self.settings.held_out, codec).split(1):
            features = codec.generator.features(w, codec.config.head[0])
            made, target = codec.head(features, w).clamp(-1, 1), self._target(codec, features, w)
            psnr = 10 * torch.log10(4 / (made - target).square().mean())
            found.append((float(psnr), float(self.lpips(made, target))))
        return {"psnr": float(np.mean([p for p, _ in found])), "lpips": float(np.mean([d for _, d in found]))}

    def samples(self, model: nn.Module) -> np.ndarray:
        """The generator's picture, the head's, and the codec's from latents alone, of six faces."""
        codec, random = _codec(model), np.random.default_rng([self.seed, HELD_OUT_SEED])
        columns = []
        for w in self._styles(random, 6, codec).split(1):
            features = codec.generator.features(w, codec.config.head[0])
            rows = [self._target(codec, features, w), codec.head(features, w), codec.decode(codec.encode_style(w))]
            columns.append(np.concatenate([to_pictures(row)[0] for row in rows], 0))
        return np.concatenate(columns, 1)

    def export(self, model: nn.Module, path: Path, facts: dict[str, str]) -> None:
        """A folder beside `path` that `GeneratorCodec.load` reads."""
        _codec(model).save(path.with_suffix(""), facts)


@torch.no_grad()
def _start_head(codec: GeneratorCodec) -> None:
    blocks, head = codec.config.head[0], codec.head
    following: Any = (
        codec.generator.blocks[blocks] if blocks < len(codec.generator.blocks) else codec.generator.to_picture
    )
    scale = 1 / following.modulation.bias.abs().mean()
    head.convolution_1.modulation.weight.copy_(following.modulation.weight * scale)
    head.convolution_1.modulation.bias.copy_(following.modulation.bias * scale)
    for modulation in (head.convolution_2.modulation, head.to_picture.modulation):
        nn.init.zeros_(modulation.weight)
        nn.init.ones_(modulation.bias)
    for convolution in (head.convolution_1, head.convolution_2):  # a filter that at first passes each channel on
        convolution.depthwise.weight.mul_(0.1)
        convolution.depthwise.weight[:, :, 1, 1] += 1
    w = codec.generator.get_buffer("mean_style")[None]
    entering = codec.generator.features(w, blocks) * head.convolution_1.modulation(w)[:, :, None, None]
    head.convolution_1.pointwise.weight.div_(entering.std())


def _codec(model: nn.Module) -> GeneratorCodec:
    assert isinstance(model, GeneratorCodec)
    return model
