"""Training an MDiT from scratch: rectified flow matching with dropped conditions.

Legend: B batch, C latent channels, h x w latent grid, T text tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from limner.codecs.continuous import KLCodec
from limner.data.prepared_set import PreparedSet, read_words
from limner.data.sampling_weights import WeightedDraw
from limner.errors import InputError
from limner.faces.data_folders import data_root
from limner.faces.image_tensors import to_model, to_pictures
from limner.faces.regions import PALETTE, colourise
from limner.weights.tensors import load_into, save_tensors
from limner.words.encoder import MiniLM, TextEncoder

from .config import PRESETS, MDiTConfig, preset
from .embedding import Prompt
from .flow import draw_noise, euler, interpolate, sample_timesteps, schedule
from .flux_training import (
    EmptyPrompt,
    check_precision,
    empty_model,
    fill,
    trained_config,
    training_shift,
    without_words,
)
from .guidance import guided_velocity
from .loading import flux_encoder
from .lora_file import save_lora
from .mask_cache import encode_mask
from .transformer import MaskFeatures, MDiT

MODES = {"both": (True, True), "mask": (False, True), "text": (True, False)}  # (words, mask)


class MDiTFaceSettings(BaseModel):
    """The `[task]` table of an MDiTFace training config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "mditface"
    data: str = Field(description="Prepared set (see prepare.py), relative to LIMNER_DATA.")
    preset: str = Field(default="nano", description=f"Sizes to start from: {', '.join(PRESETS)}.")
    model: dict[str, Any] = Field(default={}, description="Fields of MDiTConfig that differ from the preset.")
    init_from: str | None = Field(default=None, description="Warm start: weight file, relative to LIMNER_DATA.")
    flux: str | None = Field(
        default=None,
        description="FLUX.1 folder, relative to LIMNER_DATA: train corrections (LoRA) for it, nothing else.",
    )
    rank: int = Field(default=16, gt=0, description="Rank of the mask stream's corrections.")
    lora_streams: tuple[Literal["image", "text"], ...] = Field(
        default=(), description="Streams of FLUX.1 that are corrected too, so that painting from words alone learns."
    )
    lora_rank: int = Field(default=16, gt=0, description="Rank of those streams' corrections.")
    base_precision: Literal["bf16", "fp32"] = Field(default="bf16", description="Number type of the frozen FLUX.1.")
    codec: str | None = Field(
        default=None, description="Codec for sample sheets. Default: the one of the prepared set."
    )
    rarity_sampling: bool = Field(
        default=False, description="Sample faces with rare attributes more often (limner.data.sampling_weights)."
    )
    drop_text: float = Field(default=0.1, ge=0, le=1, description="Dropout of the prompt.")
    drop_mask: float = Field(default=0.1, ge=0, le=1, description="Dropout of the mask.")
    drop_both: float = Field(default=0.05, ge=0, le=1, description="Dropout of both.")
    shift: float | None = Field(
        default=None,
        gt=0,
        description="Shift of training and sampling times towards noise. None: 1; FLUX.1: the sampler's at this size.",
    )
    validation_faces: int = Field(default=96, gt=0, description="Held-out faces for the validation loss.")
    sample_faces: int = Field(default=6, gt=0, description="Columns of a sample sheet.")
    sample_steps: int = Field(default=20, gt=0, description="Euler steps of sample sheets.")
    guidance: float = Field(
        default=3.0, description="Guidance scale of sample sheets, and default of the exported weights."
    )


class MDiTFaceTask:
    """Loss = mean |v(x_t, t, c, m) - (eps - x_0)|^2, t = sigmoid(N(0, 1)) [R].

    Words, mask or both are replaced by their learned absences in a share of the faces [O], so that one model paints
    from words, from a mask, from both and from neither, and can be guided by either. With ``flux``, FLUX.1 stays as it
    is and only low-rank corrections are trained [P]: of its mask stream, and of the image and text streams if
    ``lora_streams`` says so. FLUX.1 has learned no absences: dropped words are the empty prompt's features, a dropped
    mask has no tokens, as in sampling.
    """

    def __init__(self, settings: dict[str, Any], batch_size: int, seed: int) -> None:
        self.settings = s = MDiTFaceSettings.model_validate(settings)
        dropped = s.drop_text + s.drop_mask + s.drop_both
        if dropped > 1:
            raise InputError("drop_text + drop_mask + drop_both is above 1: lower one of them")
        self.batch_size, self.seed = batch_size, seed
        self.data = PreparedSet.open(data_root() / s.data)
        self.train, self.held_out = self.data.rows(validation=False), self.data.rows(validation=True)
        if len(self.train) == 0:
            raise InputError(f"{s.data} holds no faces to train on")
        self.order = self.data.order(self.train, seed)
        self.weighted = WeightedDraw(self.train, self.data.weights(self.train)) if s.rarity_sampling else None
        self.config = MDiTConfig.from_dict({**preset(s.preset).to_dict(), **s.model})
        self.flux = None if s.flux is None else data_root() / s.flux
        if self.flux is not None:
            self.config = trained_config(self.flux, s.rank)
        if not self.data.live and self.data.length != self.config.text_length:
            raise InputError(
                f"{s.data} has {self.data.length} text tokens, the model {self.config.text_length}: prepare it with "
                f"--text-length {self.config.text_length}"
            )
        self.shift = s.shift or 1.0
        if self.flux is not None and s.shift is None:
            _, rows, columns = self.data.stored.shape("latents")
            self.shift = training_shift(self.flux, self.config, rows * columns // self.config.patch**2)
        self.codec: KLCodec | None = None
        self.encoder: TextEncoder | None = None
        self._no_words: EmptyPrompt | None = None

    def build(self) -> nn.Module:
        """Of FLUX.1 an empty model, which ``fill`` fills."""
        s = self.settings
        if self.flux is not None:
            return empty_model(self.flux, s.rank, s.lora_streams, s.lora_rank, s.base_precision)
        model = MDiT(self.config)
        if self.settings.init_from is not None:
            load_into(model, data_root() / self.settings.init_from)
            return model
        return model.initialise(torch.Generator().manual_seed(self.seed))

    def fill(self, model: nn.Module) -> None:
        """Values for what ``build`` left empty, in the pieces that this process holds."""
        if self.flux is not None:
            assert isinstance(model, MDiT)
            fill(model, self.flux, self.seed)

    def batch(self, step: int) -> dict[str, Tensor]:
        """Faces in an order that is new in each epoch, one caption each; a function of the step alone.

        With ``balanced`` they are drawn by their weights instead, with replacement.
        """
        choices = np.random.default_rng([self.seed, 1, step]).integers(0, 1 << 30, self.batch_size)
        if self.weighted is not None:
            random = np.random.default_rng([self.seed, 2, step])
            return self.data.batch(self.weighted.draw(random, self.batch_size), choices)
        return self.data.batch(self.order.rows(step, self.batch_size), choices)

    def with_features(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch with tokens, pooled and keep; those of words are made here, as sampling makes them: by the same
        encoder, at the same length, with the same padding and attention."""
        if "words" not in batch:
            return batch
        device = batch["words"].device
        if self.encoder is None:
            self.encoder = self._load_encoder(device)
        features = self.encoder.encode(read_words(batch["words"]), self.config.text_length)
        found = {"tokens": features.tokens, "pooled": features.pooled, "keep": features.mask}
        rest = {name: value for name, value in batch.items() if name != "words"}
        return rest | {name: value.to(device).clone() for name, value in found.items()}

    def empty(self, device: torch.device) -> EmptyPrompt | None:
        """The empty prompt, which stands in for dropped words of FLUX.1; None for models that learned a stand-in."""
        if self.config.null_conditions:
            return None
        if self._no_words is None:
            self.encoder = self.encoder or self._load_encoder(device)
            features = self.encoder.encode([""], self.config.text_length)
            self._no_words = EmptyPrompt(features.tokens[0].clone(), features.pooled[0].clone())
        return self._no_words

    def _load_encoder(self, device: torch.device) -> TextEncoder:
        if self.settings.flux is None:
            return MiniLM.load(device=device)
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        return flux_encoder(data_root() / self.settings.flux, device, dtype)

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Flow-matching loss of a batch (see `Prepared.batch`), with times, noise and dropped conditions drawn."""
        batch = self.with_features(batch)
        count, device = len(batch["latents"]), batch["latents"].device
        s = self.settings
        if self.flux is not None:
            check_precision(model, device)
        times = sample_timesteps(count, generator, self.shift).to(device)
        noise = torch.randn(batch["latents"].shape, generator=generator).to(device)
        chance = torch.rand(count, generator=generator).to(device)
        neither, wordless = chance < s.drop_both, chance < s.drop_both + s.drop_text
        maskless = ~wordless & (chance < s.drop_both + s.drop_text + s.drop_mask)
        losses = flow_loss(model, batch, times, noise, ~wordless, ~(neither | maskless), self.empty(device))
        return losses.mean(), {}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Mean loss on held-out faces at evenly spread times, the same noise every time, in each mode."""
        rows = self.held_out[: self.settings.validation_faces]
        generator = torch.Generator().manual_seed(1)
        figures = {}
        for mode, (words, mask) in MODES.items():
            generator.manual_seed(1)
            losses = []
            for start in range(0, len(rows), 32):
                drawn = self.data.batch(rows[start : start + 32], np.zeros(1, np.int64))
                batch = self.with_features(_to(drawn, _device(model)))
                count = len(batch["latents"])
                times = ((torch.arange(count) + 0.5) / count).to(batch["latents"].device)
                noise = torch.randn(batch["latents"].shape, generator=generator).to(times.device)
                given = torch.ones(count, dtype=torch.bool, device=times.device)
                with torch.autocast(times.device.type, torch.bfloat16):
                    losses.append(
                        flow_loss(model, batch, times, noise, given & words, given & mask, self.empty(times.device))
                    )
            figures[f"{mode}.loss"] = torch.cat(losses).mean().item()
        return figures

    def samples(self, model: nn.Module) -> np.ndarray | None:
        """Rows: held-out maps; painted from mask and words, from the mask, from the words; the codec's own limit."""
        assert isinstance(model, MDiT)
        codec = self.codec = self.codec or KLCodec.load(self.settings.codec or self.data.header["codec"])
        rows = self.held_out[: self.settings.sample_faces]
        batch = self.with_features(_to(self.data.batch(rows, np.zeros(1, np.int64)), _device(model)))
        sheet = [np.concatenate(list(colourise(batch["regions"].cpu().numpy())), axis=1)]
        for words, mask in MODES.values():
            latents = self._paint(model, batch, words, mask)
            sheet.append(np.concatenate(list(to_pictures(codec.decode(latents.cpu()))), axis=1))
        sheet.append(np.concatenate(list(to_pictures(codec.decode(batch["latents"].cpu()))), axis=1))
        return np.concatenate(sheet, axis=0)

    def export(self, model: nn.Module, path: Path, facts: dict[str, str]) -> None:
        """Weights in float16 with the model's configuration and the facts in the header; of FLUX the corrections."""
        assert isinstance(model, MDiT)
        if self.settings.flux is not None:
            return save_lora(model, path, facts)
        s, side = self.settings, self.data.stored.shape("latents")[1] * self.config.latent_factor
        codec = s.codec or self.data.header["codec"]
        header = {
            "model": self.config.to_dict(),
            "codec": codec,
            "size": side,
            "shift": self.shift,
            "guidance": s.guidance,
        }
        save_tensors(path, model.state_dict(), {**header, **facts}, dtype=torch.float16)

    def _paint(self, model: MDiT, batch: dict[str, Tensor], words: bool, mask: bool) -> Tensor:
        s, device = self.settings, batch["latents"].device
        grid = (batch["latents"].shape[2] // self.config.patch, batch["latents"].shape[3] // self.config.patch)
        distilled = self.config.guidance_embed
        learned = self.config.null_conditions  # absences to guide away from
        scale, mask_scale = (s.guidance if words else 1.0, 1.0 if words else 1.5) if learned else (1.0, 1.0)
        if not words and (empty := self.empty(device)) is not None:
            batch = without_words(batch, torch.ones(len(batch["latents"]), dtype=torch.bool, device=device), empty)
        with torch.autocast(device.type, torch.bfloat16):
            cache = encode_mask(model, mask_input(model, batch, self.codec)) if mask else None
            null = None if model.no_mask is None else encode_mask(model, None, grid)
            velocity = guided_velocity(
                model, _prompt(batch), cache, null, scale, mask_scale, has_words=words or not learned,
                distilled=s.guidance if distilled else None,
            )  # fmt: skip
            noise = draw_noise(batch["latents"].shape[1:], 0, len(batch["latents"])).to(device)
            return euler(velocity, noise, schedule(s.sample_steps, self.shift))


def flow_loss(
    model: nn.Module,
    batch: dict[str, Tensor],
    times: Tensor,
    noise: Tensor,
    words: Tensor,
    mask: Tensor,
    empty: EmptyPrompt | None = None,
) -> Tensor:
    """Squared error of the velocity, mean over each face's latents: (B,).

    times: (B,); noise: (B, C, h, w); words, mask: (B,) bool, False where the condition is dropped. empty: what stands
    in for dropped words of a model that has learned no stand-in.
    """
    assert isinstance(model, MDiT)
    latents = batch["latents"]
    grid = (latents.shape[2] // model.config.patch, latents.shape[3] // model.config.patch)
    features = _mask_features(model, mask_input(model, batch), mask, grid)
    noisy = interpolate(latents, noise, times)
    guidance = torch.ones_like(times) if model.config.guidance_embed else None  # 1: as if it were not distilled
    if empty is None:
        prompt = _prompt(batch).without(~words)
    else:
        prompt = _prompt(without_words(batch, ~words, empty))
    velocity = model(noisy, times, prompt, features, guidance)
    return F.mse_loss(velocity.float(), noise - latents, reduction="none").mean((1, 2, 3))


def _mask_features(model: MDiT, masks: Tensor, keep: Tensor, grid: tuple[int, int]) -> MaskFeatures:
    """Static path of a batch; the rows without mask share one run of the null mask, which saves their share of it.

    In a model without a null mask such rows have no mask tokens: their logits are -inf, so no query reads them. The
    static path runs for them too, because all processes of a sharded run must call the same blocks.
    """
    if model.no_mask is None:
        features = model.static_path(model.embed_mask(masks), grid)
        if bool(keep.all()):
            return features
        hidden = torch.zeros(keep.shape, device=keep.device).masked_fill(~keep, -torch.inf)
        return features._replace(counts=hidden[None, :, None].expand(len(features.keys), -1, features.keys[0].shape[2]))
    tokens = [model.embed_mask(None, grid=grid)]
    if bool(keep.any()):
        tokens.append(model.embed_mask(masks[keep]))
    rows = torch.where(keep, keep.cumsum(0), 0)
    keys, values, _ = model.static_path(torch.cat(tokens), grid)
    return MaskFeatures(tuple(k[rows] for k in keys), tuple(v[rows] for v in values))


def mask_input(model: MDiT, batch: dict[str, Tensor], codec: KLCodec | None = None) -> Tensor:
    """What ``embed_mask`` takes: region ids, or the palette picture's latents (``ValueError`` without a codec)."""
    if model.mask_in is not None:
        return batch["regions"]
    if "palette" in batch:
        return batch["palette"]
    if codec is None:
        raise ValueError("mask_embedding='palette' needs the codec, or the coloured maps' latents as batch['palette']")
    pictures = PALETTE[batch["regions"].cpu().numpy()]
    return codec.encode(to_model(pictures)).to(batch["latents"].device)


def _prompt(batch: dict[str, Tensor]) -> Prompt:
    return Prompt(batch["tokens"], batch["pooled"], batch["keep"])


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _to(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {key: value.to(device) for key, value in batch.items()}


__all__: Sequence[str] = ("MDiTFaceSettings", "MDiTFaceTask", "flow_loss", "mask_input")
