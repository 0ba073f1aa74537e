"""What training any codec has in common: pictures, L1 and LPIPS, a patch discriminator that joins late, measuring."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from limner.codecs.crops import PictureCrops
from limner.codecs.discriminator import PatchDiscriminator, discriminator_loss, generator_loss
from limner.codecs.perceptual import LPIPS
from limner.faces.data_folders import data_root, picture_files
from limner.faces.image_tensors import to_model, to_pictures
from limner.faces.picture import read_picture


class PictureSettings(BaseModel):
    """Fields of the `[task]` table that all codec training configs have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pictures: list[str] = Field(description="Folders to train on, relative to LIMNER_DATA.")
    held_out: dict[str, str] = Field(description="Name → folder of aligned 256² faces that measure progress.")
    skip_last: dict[str, int] = Field(default={}, description="Folder → how many of its last files are kept unseen.")
    lpips: str = Field(description="LPIPS weights, relative to LIMNER_DATA.")
    init_from: str | None = Field(default=None, description="Codec folder to start from, relative to LIMNER_DATA.")
    decoder_only: bool = Field(default=False, description="Leave the encoder, and so what it makes, as it is.")
    lpips_weight: float = Field(default=0.5, ge=0)
    adversarial_weight: float = Field(default=0.0, ge=0)
    adversarial_after: int = Field(default=0, ge=0, description="Step after which the discriminator joins in.")
    window: int = Field(default=256, ge=64, le=256, multiple_of=16, description="Side of the windows trained on.")
    held_out_count: int = Field(default=128, gt=0)


Settings = TypeVar("Settings", bound=PictureSettings)


class CodecAndDiscriminator(nn.Module):
    """The codec and, where the recipe wants one, the critic it plays against."""

    def __init__(self, codec: Any) -> None:
        super().__init__()
        self.codec: Any = codec
        self.critic: PatchDiscriminator | None = None


class Reconstruction(NamedTuple):
    """What a codec made of a training batch."""

    target: Tensor
    """(B, 3, h, w): the pictures, or the windows of them that were made again."""
    made: Tensor
    """(B, 3, h, w): what is compared with them."""
    terms: dict[str, tuple[float, Tensor]]
    """Name → weight and value of what else is minimised."""


class PictureCodecTask(Generic[Settings]):
    """Loss = L1 + λ·LPIPS + the codec's own terms + λ′·hinge.

    A subclass says how a codec is made (`make_codec`), goes there and back in training (`remake`) and in use
    (`code`), and is written (`export`).
    """

    def __init__(self, settings: Settings, batch_size: int, seed: int, window: int) -> None:
        self.settings = s = settings
        files = []
        for folder in s.pictures:
            found = picture_files([folder])
            files += found[: len(found) - s.skip_last.get(folder, 0)]
        self.crops = PictureCrops(files, batch_size, seed, window=window)
        self.held_out = {name: _held_out(folder, s.held_out_count) for name, folder in s.held_out.items()}
        self.lpips = LPIPS.load(data_root() / s.lpips).eval()

    def make_codec(self) -> nn.Module:
        """The codec to train, started from another where the settings say so."""
        raise NotImplementedError

    def remake(self, codec: Any, pictures: Tensor, generator: torch.Generator) -> Reconstruction:
        """Pictures (B, 3, H, W) there and back, with a gradient."""
        raise NotImplementedError

    def code(self, codec: Any, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, 256, 256) to what stands for them, and back to pictures in [-1, 1]."""
        raise NotImplementedError

    def coded(self, codes: list[Tensor]) -> dict[str, float]:
        """Figures on what stands for the pictures of a held-out set, batch by batch."""
        raise NotImplementedError

    def build(self) -> nn.Module:
        model = CodecAndDiscriminator(self.make_codec())
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
        target, made, terms = self.remake(codec_of(model), pictures, generator)
        parts["l1"] = F.l1_loss(made.float(), target)
        parts["lpips"] = self.lpips(made, target).mean()
        total = parts["l1"] + s.lpips_weight * parts["lpips"]
        for name, (weight, value) in terms.items():
            parts[name] = value
            total = total + weight * value
        critic = _players(model).critic
        if critic is not None and step >= s.adversarial_after:
            parts["fooling"] = generator_loss(critic, made)
            parts["critic"] = discriminator_loss(critic, target, made)
            total = total + s.adversarial_weight * parts["fooling"] + parts["critic"]
        return total, parts

    def validate(self, model: nn.Module) -> dict[str, float]:
        """PSNR in dB (peak 255, mean over pictures), LPIPS(alex) and the codec's own figures, per held-out set."""
        figures = {}
        for name, pictures in self.held_out.items():
            psnr, distance, codes = [], [], []
            for start in range(0, len(pictures), 16):
                x = to_model(pictures[start : start + 16])
                z, y = self.code(codec_of(model), x)
                error = (x - y).mul(127.5).square().mean((1, 2, 3))
                psnr += (10 * torch.log10(255**2 / error)).tolist()
                distance += self.lpips(x, y).tolist()
                codes.append(z)
            figures |= {f"{name}.psnr": float(np.mean(psnr)), f"{name}.lpips": float(np.mean(distance))}
            figures |= {f"{name}.{key}": value for key, value in self.coded(codes).items()}
        return figures

    def samples(self, model: nn.Module) -> np.ndarray:
        """Pairs of rows: held-out pictures above, their reconstructions below."""
        rows = []
        for pictures in self.held_out.values():
            x = pictures[:6]
            y = to_pictures(self.code(codec_of(model), to_model(x))[1])
            rows += [np.concatenate(list(x), 1), np.concatenate(list(y), 1)]
        return np.concatenate(rows, 0)


def codec_of(model: nn.Module) -> Any:
    """The codec among the players."""
    return _players(model).codec


def window_of(x: Tensor, corner: tuple[int, int], side: int) -> Tensor:
    """The square of `side` at `corner` (row, column) of maps (B, C, H, W)."""
    return x[:, :, corner[0] : corner[0] + side, corner[1] : corner[1] + side]


def draw_corner(places: int, side: int, generator: torch.Generator) -> tuple[int, int]:
    """Where a window of `side` starts among `places`, along both sides."""
    row, column = torch.randint(places - side + 1, (2,), generator=generator).tolist()
    return row, column


def _players(model: nn.Module) -> CodecAndDiscriminator:
    assert isinstance(model, CodecAndDiscriminator)
    return model


def _held_out(folder: str, count: int) -> np.ndarray:
    """The last `count` pictures of a folder, uint8 (N, 256, 256, 3): name order makes them the same every time."""
    return np.stack([read_picture(file) for file in picture_files([folder])[-count:]])
