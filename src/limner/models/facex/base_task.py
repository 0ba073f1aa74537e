"""Training a small base: text to faces, the "Stable Diffusion" that the nano controller steers.

Legend: B batch, C latent channels, h x w latent grid, T text tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from limner.codecs.continuous import KLCodec
from limner.data.prepared_set import PreparedSet
from limner.errors import InputError
from limner.faces.data_folders import data_root
from limner.faces.image_tensors import to_pictures
from limner.words.encoder import MiniLM

from .base import base_folder, load_unet, save_base
from .sample import draw_noise, guided, make_scheduler, sample
from .schedule import NANO_SCHEDULE, NoiseSchedule


class BaseSettings(BaseModel):
    """The `[task]` table of a base training config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "facex-base"
    data: str = Field(description="Prepared set (limner.models.mditface.prepare makes it), relative to LIMNER_DATA.")
    widths: tuple[int, ...] = Field(default=(192, 288), description="Channels of the UNet's levels.")
    layers: int = Field(default=1, gt=0, description="Blocks a level.")
    heads: int = Field(default=6, gt=0, description="Attention heads of every block.")
    init_from: str | None = Field(default=None, description="Base to start from: a registry name, or a folder.")
    trainable: tuple[str, ...] = Field(
        default=(),
        description="What of the base to start from learns, by the beginnings of its parameters' names; all by "
        "default. The rest is not saved again.",
    )
    drop_text: float = Field(default=0.15, ge=0, le=1, description="Share of faces trained without words.")
    validation_faces: int = Field(default=96, gt=0, description="Held-out faces the validation loss is taken on.")
    sample_faces: int = Field(default=6, gt=0, description="Columns of a sample sheet.")
    sample_steps: int = Field(default=20, gt=0, description="Steps of sample sheets.")
    guidance: float = Field(default=3.0, description="Guidance of words in sample sheets.")


class FaceXBaseTask:
    """Loss = mean |UNet(x_t, t, words) − v|², t uniform; words are dropped in a share of the faces."""

    def __init__(self, settings: dict[str, Any], batch_size: int, seed: int) -> None:
        self.settings = BaseSettings.model_validate(settings)
        self.batch_size, self.seed = batch_size, seed
        self.data = PreparedSet.open(data_root() / self.settings.data)
        self.train, self.held_out = self.data.rows(validation=False), self.data.rows(validation=True)
        if self.settings.trainable and self.settings.init_from is None:
            raise InputError("trainable = … selects parameters of an existing base: give that base with init_from = …")
        if len(self.train) == 0:
            raise InputError(f"{self.settings.data} has no training faces")
        self.schedule = NoiseSchedule(NANO_SCHEDULE)
        if self.data.live:
            raise InputError(f"{self.settings.data} contains texts without features: prepare it without --live-text")
        self.order, self.length = self.data.order(self.train, seed), self.data.length
        none = MiniLM.load().encode([""], self.length)
        if none.tokens.shape[2] != self.data.stored.shape("tokens")[0]:
            raise InputError(f"{self.settings.data} was prepared with another text encoder: prepare it again")
        self.none = none.tokens.clone(), none.mask.clone()

    def build(self) -> nn.Module:
        s = self.settings
        if s.init_from is not None:
            unet = load_unet(base_folder(s.init_from) / "unet")
            for name, parameter in unet.named_parameters():
                parameter.requires_grad_(not s.trainable or name.startswith(s.trainable))
            if not any(parameter.requires_grad for parameter in unet.parameters()):
                raise InputError(f"no parameter of {s.init_from} begins with {' or '.join(s.trainable)}")
            return unet
        return new_unet(self.data.stored.shape("latents"), self.none[0].shape[2], s.widths, s.layers, s.heads)

    def batch(self, step: int) -> dict[str, Tensor]:
        """Faces in an order that is new in each epoch, one caption each; a function of the step alone."""
        rows = self.order.rows(step, self.batch_size)
        choices = np.random.default_rng([self.seed, 1, step]).integers(0, 1 << 30, self.batch_size)
        return self._cut(self.data.batch(rows, choices))

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """v-prediction loss of a batch."""
        count = len(batch["latents"])
        times = self.schedule.draw(count, generator)
        noise = torch.randn(batch["latents"].shape, generator=generator)
        dropped = torch.rand(count, generator=generator) < self.settings.drop_text
        return self._losses(model, batch, times, noise, dropped).mean(), {}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Mean loss on held-out faces at evenly spread times, the same noise every time, with words and without."""
        rows, figures = self.held_out[: self.settings.validation_faces], {}
        for name, without in (("words", False), ("alone", True)):
            generator, losses = torch.Generator().manual_seed(1), []
            for start in range(0, len(rows), 32):
                batch = self._cut(self.data.batch(rows[start : start + 32], np.zeros(1, np.int64)))
                batch = {key: value.to(next(model.parameters()).device) for key, value in batch.items()}
                count = len(batch["latents"])
                times = ((torch.arange(count) + 0.5) / count * len(self.schedule.alphas)).long()
                noise = torch.randn(batch["latents"].shape, generator=generator)
                losses.append(self._losses(model, batch, times, noise, torch.full((count,), without)))
            if losses:
                figures[f"{name}.loss"] = torch.cat(losses).mean().item()
        return figures

    def samples(self, model: nn.Module) -> np.ndarray | None:
        """Rows: painted from held-out words; the faces they describe, through the codec."""
        rows = self.held_out[: self.settings.sample_faces]
        if len(rows) == 0:
            return None
        codec, device = KLCodec.load(self.data.header["codec"]), next(model.parameters()).device
        batch = {k: v.to(device) for k, v in self._cut(self.data.batch(rows, np.zeros(1, np.int64))).items()}
        none = [part.to(device).repeat(len(rows), *[1] * (part.dim() - 1)) for part in self.none]
        noise = torch.cat([draw_noise(tuple(batch["latents"].shape[1:]), seed) for seed in range(len(rows))]).to(device)
        latents = sample(
            guided(
                lambda x, t: _predict(model, x, t.expand(len(x)), batch["tokens"], batch["keep"]),
                lambda x, t: _predict(model, x, t.expand(len(x)), none[0], none[1]),
                self.settings.guidance,
            ),
            noise,
            make_scheduler(NANO_SCHEDULE, "euler"),
            self.settings.sample_steps,
        )
        sheet = [np.concatenate(list(to_pictures(codec.decode(x.cpu()))), 1) for x in (latents, batch["latents"])]
        return np.concatenate(sheet, 0)

    def export(self, model: nn.Module, path: Path, facts: dict[str, str]) -> None:
        """A base's folder beside ``path``: UNet in float16, schedule, and which codec and text encoder go with it."""
        codec = self.data.header["codec"]
        side = self.data.stored.shape("latents")[1] * KLCodec.load(codec).factor
        card = {"codec": codec, "text_encoder": "minilm", "text_length": self.length, "size": side}
        if self.settings.trainable:
            card["of"] = self.settings.init_from
        save_base(model, NANO_SCHEDULE, card, path.with_suffix(""), facts)

    def _cut(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: batch[key] for key in ("latents", "tokens", "keep")}

    def _losses(
        self, model: nn.Module, batch: dict[str, Tensor], times: Tensor, noise: Tensor, dropped: Tensor
    ) -> Tensor:
        predict = partial(_predict, model)
        return losses_of_words(predict, self.schedule, batch, (times, noise, dropped), self.none)


def losses_of_words(
    predict: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    schedule: NoiseSchedule,
    batch: dict[str, Tensor],
    drawn: tuple[Tensor, Tensor, Tensor],
    none: tuple[Tensor, Tensor],
) -> Tensor:
    """(B,) the loss of painting faces from words alone, mean over each face's latents.

    predict: of noisy latents, times, tokens and their mask; batch: latents, tokens, keep; drawn: times (B,), noise (the
    latents' shape), and where (B,) the words are dropped for none.
    """
    latents, device = batch["latents"], batch["latents"].device
    times, noise, dropped = (x.to(device) for x in drawn)
    tokens = torch.where(dropped[:, None, None], none[0].to(device), batch["tokens"])
    keep = torch.where(dropped[:, None], none[1].to(device), batch["keep"])
    out = predict(schedule.noisy(latents, noise, times), times, tokens, keep)
    target = schedule.target(latents, noise, times)
    return F.mse_loss(out.float(), target, reduction="none").mean((1, 2, 3))


def new_unet(latent: tuple[int, ...], text: int, widths: tuple[int, ...], layers: int, heads: int) -> Any:
    """An untrained UNet for latents (C, h, w) and text tokens of that width, with cross-attention at every level."""
    from diffusers import UNet2DConditionModel

    channels, side = int(latent[0]), int(latent[1])
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        down_block_types=("CrossAttnDownBlock2D",) * len(widths),
        up_block_types=("CrossAttnUpBlock2D",) * len(widths),
        block_out_channels=tuple(widths),
        layers_per_block=layers,
        cross_attention_dim=text,
        attention_head_dim=heads,  # diffusers' name for the number of heads, kept by it for the sake of old files
        norm_num_groups=32 if all(width % 32 == 0 for width in widths) else 4,
    )


def _predict(model: nn.Module, x: Tensor, times: Tensor, tokens: Tensor, keep: Tensor) -> Tensor:
    return model(x, times, encoder_hidden_states=tokens, encoder_attention_mask=keep).sample
