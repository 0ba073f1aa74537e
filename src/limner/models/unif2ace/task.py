"""Training a UniF²ace: understanding and painting in every step, each in its own batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from limner.codecs.discrete import LFQCodec
from limner.data.order import EpochOrder
from limner.data.sampling_weights import WeightedDraw
from limner.data.tensor_shards import TensorShards
from limner.errors import InputError
from limner.faces.data_folders import data_root
from limner.faces.image_tensors import to_pictures
from limner.weights.tensors import load_into, read_config, save_tensors

from .code_bits import folded_weights, share_bits
from .config import GROUPS, PRESETS, Group, UniF2aceConfig, preset
from .d3diff import ALPHA, draw_masks
from .guidance import encode_prompt, guided_logits
from .loading import COMPANIONS
from .losses import (
    FOILS_FROM,
    SHARPNESS,
    Answered,
    Painted,
    balance,
    conversation_loss,
    foil_loss,
    paint_loss,
    text_loss,
)
from .prepared import PreparedConversations, unpad, unpad_turns
from .routing import Routing
from .transformer import UniF2aceTransformer
from .unmasking import all_masked, confidence

ALONE: dict[Group, tuple[str, ...]] = {
    "understand": ("clip_in.", "face_in."),
    "paint": ("ratio_in.", "head.parametrizations.weight.0."),
}
"""Beginnings of the names of what one task alone uses, besides what is named after it."""
FITTED = 2000
"""Faces, at most, that resamplers are fitted to."""


class UniF2aceSettings(BaseModel):
    """The `[task]` table of a UniF²ace training config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "unif2ace"
    data: str = Field(description="Prepared set (see prepared_set.py), relative to LIMNER_DATA.")
    preset: str = Field(default="nano", description=f"Sizes to start from: {', '.join(PRESETS)}.")
    model: dict[str, Any] = Field(default={}, description="Fields of UniF2aceConfig that differ from the preset.")
    init_from: str | None = Field(default=None, description="Warm start: weight file, relative to LIMNER_DATA.")
    fit_features: tuple[Literal["clip", "face"], ...] = Field(
        default=(),
        description="Features whose resamplers are initialised from the statistics of the set (UniF2aceTransformer).",
    )
    alpha: float = Field(default=ALPHA, ge=0, description="Weight of the score-matching term of D3Diff.")
    mask_weight: float = Field(default=1.0, ge=0, description="Weight of the masked cross-entropy term; 0 disables it.")
    balance_weight: float = Field(
        default=0.01, ge=0, description="Weight of the load-balancing loss of each group's routers."
    )
    balance_weight_paint: float | None = Field(
        default=None, ge=0, description="λ_t2i: the same for generation [P]. Default: balance_weight."
    )
    balance_weight_understand: float | None = Field(
        default=None, ge=0, description="λ_mmu: the same for understanding [P]. Default: balance_weight."
    )
    share_code_bits: bool = Field(
        default=True, description="Share updates between image codes with common bits (code_bits.py)."
    )
    train_only: Group | None = Field(
        default=None,
        description="Train only the parameters that no other task uses (used_alone). The other task does not change; "
        "validation measures both.",
    )
    understand_share: float = Field(
        default=1.0, gt=0, le=1, description="Share of a batch's faces used for understanding."
    )
    paint_share: float = Field(default=1.0, gt=0, le=1, description="Share of a batch's faces used for generation.")
    rarity_sampling: bool = Field(
        default=False,
        description="Sample faces for generation by the rarity of their attributes (data/sampling_weights.py); faces "
        "for understanding are sampled uniformly.",
    )
    answer_weight: float = Field(
        default=1.0,
        gt=0,
        description="Weight of the understanding loss [P: 1]. At nano size the gradient of generation is ten times as "
        "large in shared parameters, and a model trained from scratch learns to ignore the image.",
    )
    questions_per_face: int = Field(default=4, ge=1, description="Questions per sequence.")
    isolated_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of batches whose questions do not attend to each other (isolate_turns).",
    )
    long_caption_share: float = Field(
        default=0.5, ge=0, le=1, description="Share of batches with captions; the others have prompts."
    )
    foil_weight: float = Field(
        default=0.0, ge=0, description="Weight of the contrastive loss against foils (foil_loss); 0 disables it."
    )
    foil_beta: float = Field(default=SHARPNESS, gt=0, description="β of the contrastive loss.")
    text: str | None = Field(
        default=None,
        description="Plain text (prepare_text.py), relative to LIMNER_DATA, for a language modelling loss [S].",
    )
    text_rows: int = Field(default=4, gt=0, description="Text documents per batch.")
    text_weight: float = Field(default=0.1, ge=0, description="Weight of the language modelling loss [S].")
    foil_share: float = Field(
        default=0.5,
        gt=0,
        description="Additional faces for the contrastive loss, as a share of the batch size.",
    )
    drop_text: float = Field(default=0.1, ge=0, le=1, description="Prompt dropout for classifier-free guidance.")
    sample_sheets: bool = Field(default=True, description="Write sample sheets, decoded with the codec of the set.")
    validation_faces: int = Field(default=64, gt=0, description="Held-out faces for the validation losses.")
    sample_faces: int = Field(default=6, gt=0, description="Columns of a sample sheet.")
    sample_steps: int = Field(default=18, gt=0, description="Sampling steps of sample sheets.")
    guidance: float = Field(
        default=5.0, ge=0, description="Guidance scale of sample sheets, and default of the exported weights."
    )
    temperature: float = Field(default=1.0, ge=0, description="Sampling temperature, likewise.")


class UniF2aceTask:
    """Loss = w·next-token cross-entropy + D3Diff + λ_t2i·balance + λ_mmu·balance [P, with w = 1], and foils besides."""

    def __init__(self, settings: dict[str, Any], batch_size: int, seed: int) -> None:
        self.settings = s = UniF2aceSettings.model_validate(settings)
        self.batch_size, self.seed = batch_size, seed
        self.data = PreparedConversations.open(data_root() / s.data)
        self.train, self.held_out = self.data.rows(validation=False), self.data.rows(validation=True)
        if len(self.train) == 0:
            raise InputError(f"{s.data} holds no faces to train on")
        self.order = self.data.order(self.train, seed)
        self.weighted = self.data.weighted(self.train) if s.rarity_sampling else None
        if s.foil_weight and s.train_only == "understand":
            raise InputError('foils teach painting, train_only = "understand" leaves it as it is: leave one out')
        self.text: TensorShards | None = None
        if s.text is not None:
            if s.train_only == "paint":
                raise InputError('text teaches understanding, train_only = "paint" leaves it as it is: leave one out')
            self.text = TensorShards.read(data_root() / s.text, "plain text: make it with prepare_text")
            learned, has = self.text.header["tokenizer_hash"], self.data.header.get("tokenizer_hash")
            if has is not None and learned != has:
                raise InputError(f"{s.text} was made with another tokenizer than {s.data}: make it with the same")
            self.text_order = EpochOrder(self.text.by_shard(np.arange(len(self.text))), seed)
        self.foiled = self.data.with_foils(self.train) if s.foil_weight else None
        if self.foiled is not None and not len(self.foiled):
            raise InputError(f"no face of {s.data} has a foil (too few known attributes): set foil_weight = 0")
        self.foil_draw: WeightedDraw | None = None
        if self.foiled is not None:
            evenly = WeightedDraw(self.foiled, np.ones(len(self.foiled)))
            self.foil_draw = self.data.weighted(self.foiled) if s.rarity_sampling else evenly
        self.config = UniF2aceConfig.from_dict({**preset(s.preset).to_dict(), **s.model, **self.data.header["model"]})
        if s.train_only is not None and self.config == self.config.dense() and self.config.shared_experts == 1:
            raise InputError(
                f'train_only = "{s.train_only}" needs experts: a dense model shares all parameters between the tasks'
            )
        if s.train_only == "paint" and s.fit_features:
            raise InputError(
                'fit_features changes what understanding sees, train_only = "paint" forbids it: leave one out'
            )

    def build(self) -> nn.Module:
        model = UniF2aceTransformer(self.config)
        if self.settings.init_from is not None:
            self._check_start(data_root() / self.settings.init_from)
            load_into(model, data_root() / self.settings.init_from)
        generator = None
        if self.settings.init_from is None:
            generator = torch.Generator().manual_seed(self.seed)
            model.initialise(generator)
        if self.settings.fit_features:
            rows = self.train[:: -(-len(self.train) // FITTED)]
            fitted = {name: self.data.features(name, rows) for name in self.settings.fit_features}
            model.fit_features(fitted.get("clip"), fitted.get("face"), torch.Generator().manual_seed(self.seed))
        if self.settings.share_code_bits:
            share_bits(model, generator)
        if self.settings.train_only is not None:
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(used_alone(name, self.settings.train_only, self.config.shared_experts))
        return model

    def _check_start(self, file: Path) -> None:
        """Refuse weights that learned from another codec, tokenizer or encoder than the set's; an encoder's may differ
        where its resampler starts anew. Codecs and tokenizers are told by their hashes, wherever they lie."""
        header = read_config(file)
        for name in ("codec_hash", "tokenizer_hash", "clip", "face"):
            had, has = header.get(name), self.data.header.get(name)
            if had is not None and has is not None and had != has and name not in self.settings.fit_features:
                way = f', or add it to fit_features = ["{name}"]' if name in ("clip", "face") else ""
                raise InputError(
                    f"{file.name} learned with {name} '{had}', {self.settings.data} was prepared with '{has}': "
                    f"prepare a set with '{had}'{way}"
                )

    def batch(self, step: int) -> dict[str, Tensor]:
        """Faces in an order that is new in each epoch, each with a text and a conversation; a function of the step.

        With ``balanced`` those to paint are others, drawn by their weights with replacement.
        """
        rows = self.order.rows(step, self.batch_size)
        rng = np.random.default_rng([self.seed, 1, step])
        long, painted = rng.random() < self.settings.long_caption_share, None
        if self.weighted is not None:
            painted = self.weighted.draw(np.random.default_rng([self.seed, 3, step]), self.batch_size)
        drawn = self.data.batch(rows, rng, bool(long), self.settings.questions_per_face, painted)
        if self.text is not None:
            drawn["plain"] = self.text.take(["ids"], self.text_order.rows(step, self.settings.text_rows))["ids"]
        if self.foil_draw is None:
            return drawn
        random, count = np.random.default_rng([self.seed, 4, step]), round(self.settings.foil_share * self.batch_size)
        return drawn | self.data.foils(self.foil_draw.draw(random, max(1, count)), random)

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See the class; parts for the log are the losses, each group's busiest expert's share, and ``told``: the
        share of faces that true words make likelier than their foil does."""
        assert isinstance(model, UniF2aceTransformer)
        only = self.settings.train_only
        painted = None if only == "understand" else self._painted(model, batch, generator)
        answered = None if only == "paint" else self._answered(model, batch, step)
        total, parts = self._weighed(painted, answered)
        if "plain" in batch:
            plain = text_loss(model, unpad(batch["plain"]))
            weight = self.settings.balance_weight_understand
            even = (self.settings.balance_weight if weight is None else weight) * balance(plain.routing)
            total = total + self.settings.text_weight * (plain.loss + even)
            parts = {**parts, "text": plain.loss.detach()}
        if self.foiled is not None:
            foil, told = self._foil_loss(model, batch, generator)
            total, parts = total + self.settings.foil_weight * foil, {**parts, "foil": foil.detach(), "told": told}
        return total, parts

    def _foil_loss(
        self, model: UniF2aceTransformer, batch: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        codes = batch["foiled_codes"]
        drawn = draw_masks((codes.shape[0], codes.shape[1]), generator, FOILS_FROM)
        gamma, masked = (each.to(codes.device) for each in drawn)
        texts, foils = unpad(batch["foiled"]), unpad(batch["foils"])
        return foil_loss(model, texts, foils, codes, masked, gamma, self.settings.foil_beta)

    def _painted(self, model: UniF2aceTransformer, batch: dict[str, Tensor], generator: torch.Generator) -> Painted:
        s, shown = self.settings, _first(batch, self.settings.paint_share)
        codes = shown["painted"]
        gamma, masked = (drawn.to(codes.device) for drawn in draw_masks((codes.shape[0], codes.shape[1]), generator))
        dropped = (torch.rand(len(codes), generator=generator) < s.drop_text).tolist()
        texts = [[] if drop else text for drop, text in zip(dropped, unpad(shown["texts"]))]
        return paint_loss(model, texts, codes, masked, gamma, s.alpha, s.mask_weight)

    def _weighed(self, painted: Painted | None, answered: Answered | None) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighed sum of what is there, and its parts for the log."""
        s = self.settings
        losses: list[Tensor] = []
        even: list[Tensor] = []
        parts: dict[str, Tensor] = {}
        if answered is not None:
            losses.append(s.answer_weight * answered.loss)
            parts["answer"] = answered.loss
        if painted is not None:
            losses.append(painted.loss.total)
            parts |= {"mask": painted.loss.mask, "score": painted.loss.score}
        weights = {"paint": s.balance_weight_paint, "understand": s.balance_weight_understand}
        for group, found in (("paint", painted), ("understand", answered)):
            if found is None:
                continue
            even.append(balance(found.routing))
            weight = weights[group]
            losses.append((s.balance_weight if weight is None else weight) * even[-1])
            if found.routing:
                parts[f"{group}.busiest"] = _busiest(found.routing)
        parts["balance"] = torch.stack(even).sum()
        return torch.stack(losses).sum(), {k: v.detach() for k, v in parts.items()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The losses on held-out faces, with the same masks every time; and ``looking``: how many nats a token answers
        lose when every picture is another face's, near 0 for a model that answers without looking.
        ``share.{group}.{level}.{layer}.{expert}``: how routers shared out their choices on both levels."""
        assert isinstance(model, UniF2aceTransformer)
        rows = self.held_out[: self.settings.validation_faces]
        generator, sums, faces = torch.Generator().manual_seed(1), {}, 0
        for start in range(0, len(rows), 32):
            part = rows[start : start + 32]
            drawn = self.data.batch(
                part, np.random.default_rng(start), long=start % 64 == 0, turns=self.settings.questions_per_face
            )
            batch = {k: v.to(model.norm.weight.device) for k, v in drawn.items()}
            painted, answered = self._painted(model, batch, generator), self._answered(model, batch, 0)
            _, parts = self._weighed(painted, answered)
            parts |= _shares("paint", painted) | _shares("understand", answered)
            asked = _first(batch, self.settings.understand_share)
            others = {name: asked[name].roll(1, 0) for name in ("codes", "clip", "face")}
            parts["looking"] = self._answers(model, {**asked, **others}, 0).loss - parts["answer"]
            faces += len(part)
            for key, value in parts.items():
                sums[key] = sums.get(key, 0.0) + float(value) * len(part)
        found = {key: value / faces for key, value in sums.items()}
        if self.foiled is not None and len(having := self.data.with_foils(rows)):
            drawn = self.data.foils(having, np.random.default_rng(0))
            batch = {k: v.to(model.norm.weight.device) for k, v in drawn.items()}
            foil, told = self._foil_loss(model, batch, torch.Generator().manual_seed(0))  # others' masks stay theirs
            found |= {"foil": float(foil), "told": float(told)}
        return found

    def _answered(self, model: UniF2aceTransformer, batch: dict[str, Tensor], step: int) -> Answered:
        return self._answers(model, _first(batch, self.settings.understand_share), step)

    def _answers(self, model: UniF2aceTransformer, batch: dict[str, Tensor], step: int) -> Answered:
        apart = np.random.default_rng([self.seed, 2, step]).random() < self.settings.isolated_share
        talks = unpad_turns(batch["questions"], batch["answers"])
        return conversation_loss(model, batch["codes"], talks, batch["clip"], batch["face"], bool(apart))

    def samples(self, model: nn.Module) -> np.ndarray | None:
        """Held-out faces through the codec above, paintings from their prompts below; None if not wanted."""
        assert isinstance(model, UniF2aceTransformer)
        s = self.settings
        if not s.sample_sheets:
            return None
        codec = LFQCodec.load(self.data.header["codec"])
        rows = self.held_out[: s.sample_faces]
        batch = self.data.batch(rows, np.random.default_rng(0), long=False)
        predict = guided_logits(
            model, encode_prompt(model, unpad(batch["texts"])), encode_prompt(model, [[]]), s.guidance
        )
        start = all_masked(len(rows), self.config.image_tokens, self.config.codebook)
        painted = confidence(predict, start, s.sample_steps, seed=0, temperature=s.temperature)
        sheet = [np.concatenate(list(to_pictures(codec.decode(codes))), 1) for codes in (batch["codes"], painted)]
        return np.concatenate(sheet, 0)

    def export(self, model: nn.Module, path: Path, facts: dict[str, str]) -> None:
        """Weights in float16; the header holds the configuration, what the set was made with, and the facts."""
        header = {"model": self.config.to_dict(), "guidance": self.settings.guidance}
        header["temperature"] = self.settings.temperature
        header |= {name: self.data.header[name] for name in COMPANIONS if name in self.data.header}
        assert isinstance(model, UniF2aceTransformer)
        save_tensors(path, folded_weights(model), {**header, **facts}, dtype=torch.float16)


def used_alone(name: str, group: Group, shared_experts: int = 1) -> bool:
    """Whether a parameter of this name plays no part in the other task: a group's experts, routed and, where there are
    two, shared, and its sequence level; the resamplers (understanding); the mask ratio and what codes share in the head
    (painting)."""
    mine = shared_experts == 2 and f".shared.{GROUPS.index(group)}." in name
    return mine or f".{group}." in name or name.startswith(ALONE[group])


def _first(batch: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """That share of a batch's faces, at least one."""
    return {name: part[: max(1, round(share * len(part)))] for name, part in batch.items()}


def _shares(group: Group, found: Painted | Answered) -> dict[str, Tensor]:
    """Share of every expert by its name in the log; a layer's sum to 1."""
    levels = {"token": found.routing, "sequence": found.sequence}
    return {
        f"share.{group}.{level}.{layer}.{expert}": share
        for level, routings in levels.items()
        for layer, routing in enumerate(routings)
        for expert, share in enumerate(routing.share)
    }


def _busiest(routing: tuple[Routing, ...]) -> Tensor:
    return torch.stack([r.share for r in routing]).max()
