"""Training a controller on pairs of pictures of one person: the paper's curriculum, head swap first.

Legend: B batch, C latent channels, h x w latent grid, N face tokens, F factors.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from limner.codecs.perceptual import LPIPS
from limner.data.order import EpochOrder
from limner.data.prepared_set import PreparedSet
from limner.errors import InputError
from limner.faces.data_folders import data_root
from limner.faces.identity import IdentityEncoder
from limner.faces.image_tensors import to_pictures
from limner.faces.iresnet import IResNet
from limner.weights.fingerprint import weights_hash
from limner.weights.registry import registry

from .assemble import NOWHERE, TEXTURES
from .base import BASE, Base, base_folder, load_base, save_unet
from .base_task import losses_of_words
from .config import PRESETS, ControlConfig
from .control import Controller, new_controller, read_controller_header, save_controller, start_from
from .loading import CONTROLLER, controller_file
from .pairs import TASKS, PreparedPairSet, unpack_factors
from .reference import Reference
from .sample import draw_noise, guided, make_scheduler, sample
from .schedule import NoiseSchedule
from .steer import SteeredUNet

SHARES = {"head": 0.3, "face": 0.2, "person": 0.3, "part": 0.1, "hole": 0.1}
FITTED = 1000
"""Faces, at most, that the ways in of factors are fitted to."""

WORDLESS = 0.1
"""Share of the faces painted from words alone that get no words, so that guidance has something to guide from."""


class FaceXSettings(BaseModel):
    """The `[task]` table of a FaceX training config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "facex"
    data: str = Field(description="Prepared set of pairs (see prepare.py), relative to LIMNER_DATA.")
    base: str = Field(description="Base to steer: a registry name, or a folder relative to LIMNER_DATA.")
    preset: str = Field(default="nano", description=f"Sizes to start from: {', '.join(PRESETS)}.")
    model: dict[str, Any] = Field(
        default={},
        description="Fields of ControlConfig that differ from the preset; both assemblers can be turned off.",
    )
    init_from: str | None = Field(
        default=None,
        description="Warm start: a controller trained with ``base``; a registry name, or a file or folder "
        "relative to LIMNER_DATA.",
    )
    freeze_unet: bool = Field(default=True, description="Train only the controller; false: also the UNet.")
    gamma_init: float = Field(
        default=0.0,
        ge=0,
        description="Initial γ of the controller's attention. At 0 (published) an untrained controller has no effect, "
        "and γ grows slowly. Above 0, for UNets that are trained too, the reference convolution is also random.",
    )
    fit_factors: bool = Field(
        default=False,
        description="Initialise the input projections of identity, and of textures without an adapter, from the "
        "statistics of the set (RepresentationAssembler.fit).",
    )
    faces: str | None = Field(
        default=None,
        description="Prepared faces with captions, as for training a base, below LIMNER_DATA. With freeze_unet = false "
        "the UNet is also trained on text-to-image.",
    )
    face_rows: int = Field(default=8, gt=0, description="Number of those faces per batch.")
    outside_weight: float = Field(default=1.0, ge=0, le=1, description="Loss weight of latents outside the hole.")
    head_steps: int = Field(default=2000, ge=0, description="Initial steps with only the head swap task.")
    task_shares: dict[str, float] = Field(
        default=SHARES, description=f"Shares of the tasks {', '.join(TASKS)} after head_steps."
    )
    shift: float = Field(default=1.0, gt=0, description="Timestep shift; above 1 trains more at high noise.")
    drop_all: float = Field(default=0.05, ge=0, le=1, description="Dropout of all factors.")
    drop_textures: float = Field(default=0.45, ge=0, le=1, description="Dropout of region textures.")
    drop_hole_fill: float = Field(
        default=0.15, ge=0, le=1, description="Dropout of the hole fill, if model.hole_fill is true."
    )
    identity_weight: float = Field(default=0.1, ge=0, description="Weight of the identity loss, 1 − cosine, on x0.")
    identity: str | None = Field(
        default=None,
        description="ArcFace's weights (an iresnet as safetensors), relative to LIMNER_DATA, for that loss where the "
        "set was prepared with ArcFace. Sets with Limner's own identity network need none.",
    )
    lpips_weight: float = Field(default=0.1, ge=0, description="Weight of the LPIPS loss, on x0.")
    lpips: str = Field(default="lpips/alex.safetensors", description="LPIPS weights, relative to LIMNER_DATA.")
    image_loss_min_signal: float = Field(
        default=0.8, gt=0, lt=1, description="Minimum signal level for the identity and LPIPS losses."
    )
    image_loss_every: int = Field(default=1, gt=0, description="Interval of the identity and LPIPS losses in steps.")
    image_loss_rows: int = Field(
        default=2, ge=0, description="Maximum rows per batch for the identity and LPIPS losses."
    )
    validation_faces: int = Field(default=64, gt=0, description="Held-out pairs for the validation loss.")
    sample_faces: int = Field(default=5, gt=0, description="Columns of a sample sheet.")
    sample_steps: int = Field(default=20, gt=0, description="Sampling steps of sample sheets.")
    guidance: float = Field(
        default=2.0, ge=0, description="Guidance scale of sample sheets, and default of the exported weights."
    )
    identity_guidance: float = Field(
        default=2.0,
        ge=0,
        description="Default identity guidance of the exported weights (see `Strength`).",
    )

    @field_validator("task_shares")
    @classmethod
    def _of_tasks(cls, value: dict[str, float]) -> dict[str, float]:
        for name, share in value.items():
            if name not in TASKS or share < 0:
                raise ValueError(f"{name}={share}: give shares from 0 of {', '.join(TASKS)}")
        if sum(value.values()) <= 0:
            raise ValueError("no task has a share above 0")
        return value


class FaceXTask:
    """Loss = |UNet − target|² + .1·(1 − cos identity) + .1·LPIPS, the last two on x0 where there is little noise."""

    def __init__(self, settings: dict[str, Any], batch_size: int, seed: int) -> None:
        self.settings = s = FaceXSettings.model_validate(settings)
        if s.drop_all + s.drop_textures > 1:
            raise InputError("drop_all + drop_textures is above 1: lower one of them")
        if s.preset not in PRESETS:
            raise InputError(f"preset {s.preset!r}: choose one of {', '.join(PRESETS)}")
        self.batch_size, self.seed = batch_size, seed
        self.data = PreparedPairSet.open(data_root() / s.data)
        self.train, self.held_out = self.data.rows(validation=False), self.data.rows(validation=True)
        if len(self.train) == 0:
            raise InputError(f"{s.data} holds no person with two faces to train on")
        self.order = self.data.order(self.train, seed)
        self.base_folder = base_folder(s.base)
        self.base: Base = load_base(self.base_folder, torch.device("cpu"), torch.float32)
        self._unet = weights_hash(self.base.unet)
        self.schedule = NoiseSchedule(self.base.schedule)
        self.none, self.none_mask = self.base.text("", torch.device("cpu"), torch.float32)
        self.words: PreparedSet | None = None
        self.word_order: EpochOrder | None = None
        if s.faces is not None:
            if s.freeze_unet:
                raise InputError("faces = … teaches the UNet, which freeze_unet = true keeps as it is: leave one out")
            if self.none_mask is None:
                raise InputError("faces = … is for small bases, whose words Limner encodes itself: leave it out")
            self.words = PreparedSet.open(data_root() / s.faces)
            if self.words.live:
                raise InputError(f"{s.faces} contains texts without features: prepare it without --live-text")
            self.word_order = self.words.order(self.words.rows(validation=False), seed)
        self._hole_fill = bool(s.model.get("hole_fill", PRESETS[s.preset].get("hole_fill", False)))
        self.steered: SteeredUNet | None = None
        self._judges: tuple[nn.Module | None, LPIPS | None] | None = None
        if s.identity_weight and self.data.header["identity_encoder"] == "arcface" and s.identity is None:
            raise InputError(
                "the identity loss is taken by the network that steers, ArcFace here: set task.identity to its "
                "weights, or task.identity_weight to 0"
            )

    def build(self) -> nn.Module:
        """The controller; with ``freeze_unet = false`` a ModuleDict of it and the UNet."""
        s, header = self.settings, self.data.header
        found = {
            "identity_encoder": header["identity_encoder"],
            "identity_width": header["identity_width"],
            "identity_tokens": header["identity_tokens"],
            "region_encoder": header["region_encoder"],
            "level_widths": tuple(header["level_widths"]),
            "motion_encoder": header.get("motion_encoder", "mesh"),  # sets of before have no other
            "expression": self.data.stored.shape("expression")[0],
        }
        preset = PRESETS[s.preset] | found | {"adapter_width": 0 if header["pooled"] else 256}
        if self.steered is not None:
            self.steered.release()
        controller = new_controller(self.base.unet, ControlConfig(**{**preset, **s.model}))
        if s.init_from is not None:
            start = controller_file(s.init_from if s.init_from in registry() else data_root() / s.init_from)
            check_start(start, s.base, self.base_folder, self._unet)
            start_from(controller, start)
        elif s.gamma_init:
            controller.begin(s.gamma_init)
        begun = controller.whole is None or bool(controller.whole.project.weight.any())  # has learned already
        if s.fit_factors or not begun:
            some = self.data.factors(self.train[:: -(-len(self.train) // FITTED)])
            if s.fit_factors:
                controller.assembler.fit(some)
            if controller.whole is not None and not begun:
                controller.whole.fit(controller.assembler.encode(some))
        self.steered = SteeredUNet(self.base.unet, controller, self.base.name)
        self.base.unet.requires_grad_(not s.freeze_unet)
        return controller if s.freeze_unet else nn.ModuleDict({"controller": controller, "unet": self.base.unet})

    def batch(self, step: int) -> dict[str, Tensor]:
        """Pairs and tasks of a step; a function of the step alone."""
        targets = self.order.rows(step, self.batch_size)
        random = np.random.default_rng([self.seed, 1, step])
        sources = self.data.partners(targets, random.random(len(targets)))
        tasks = self.draw_tasks(step, random)
        batch = self.data.batch(sources, targets, tasks, self.hole_fill(random.random(len(tasks))))
        if self.word_order is not None:
            rows = self.word_order.rows(step, self.settings.face_rows)
            batch |= self._painted(rows, random.integers(0, 1 << 30, len(rows)))
        return batch

    def draw_tasks(self, step: int, random: np.random.Generator) -> np.ndarray:
        """The task of each pair (B,): head swap first, then all by their shares."""
        if step < self.settings.head_steps:
            return np.full(self.batch_size, TASKS.index("head"))
        shares = np.array([self.settings.task_shares.get(task, 0.0) for task in TASKS])
        return random.choice(len(TASKS), self.batch_size, p=shares / shares.sum())

    def hole_fill(self, chance: np.ndarray) -> np.ndarray:
        """Whether each pair's hole shows a draft, by its chance (B,)."""
        return self._hole_fill & (chance >= self.settings.drop_hole_fill)

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Diffusion loss of a batch, and what pictures of its least noisy rows look like."""
        s, latents = self.settings, batch["latents"]
        count, device = len(latents), latents.device
        times = self.schedule.draw(count, generator, s.shift).to(device)
        noise = torch.randn(latents.shape, generator=generator).to(device)
        chance = torch.rand(count, generator=generator).to(device)
        noisy = self.schedule.noisy(latents, noise, times)
        out = self._predict(model, noisy, times, batch, self.dropped(batch["choice"], chance))
        errors = F.mse_loss(out.float(), self.schedule.target(latents, noise, times), reduction="none")
        weights = (s.outside_weight + (1 - s.outside_weight) * batch["mask"]).expand_as(errors)
        loss = (errors * weights).sum() / weights.sum().clamp_min(1e-6)
        parts = {"diffusion": loss.detach()}
        if self.words is not None:
            words = self._from_words(batch, generator).mean()
            loss, parts["words"] = loss + words, words.detach()
        rows = torch.nonzero(self.schedule.alphas.to(device)[times] >= s.image_loss_min_signal)[: s.image_loss_rows, 0]
        if len(rows) and step % s.image_loss_every == 0 and (s.identity_weight or s.lpips_weight):
            start = self.schedule.start(noisy[rows], out[rows].float(), times[rows])
            for name, weight, value in self._judge(start, latents[rows]):
                loss = loss + weight * value
                parts[name] = value.detach()
        return loss, parts

    def dropped(self, choice: Tensor, chance: Tensor) -> Tensor:
        """Choices (B, F) with all factors, or all textures, dropped in the rows that chance (B,) says [A]."""
        s = self.settings
        choice = choice.clone()
        choice[chance < s.drop_all] = NOWHERE
        without = (chance >= s.drop_all) & (chance < s.drop_all + s.drop_textures)
        textures = torch.zeros(choice.shape[1], dtype=torch.bool, device=choice.device)
        textures[list(TEXTURES)] = True
        choice[without[:, None] & textures[None]] = NOWHERE
        return choice

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Mean diffusion loss of each task on held-out pairs at evenly spread times, the same noise every time."""
        rows, figures = self.held_out[: self.settings.validation_faces], {}
        device = next(model.parameters()).device
        for number, task in enumerate(TASKS):
            generator, losses = torch.Generator().manual_seed(1), []
            for start in range(0, len(rows), 16):
                targets = rows[start : start + 16]
                count = len(targets)
                sources, shown = self.data.partners(targets, np.zeros(count)), self.hole_fill(np.ones(count))
                batch = self.data.batch(sources, targets, np.full(count, number), shown)
                batch = {key: value.to(device) for key, value in batch.items()}
                times = ((torch.arange(count) + 0.5) / count * len(self.schedule.alphas)).long().to(device)
                noise = torch.randn(batch["latents"].shape, generator=generator).to(device)
                noisy = self.schedule.noisy(batch["latents"], noise, times)
                out = self._predict(model, noisy, times, batch, batch["choice"])
                target = self.schedule.target(batch["latents"], noise, times)
                losses.append(F.mse_loss(out.float(), target, reduction="none").mean((1, 2, 3)))
            if losses:
                figures[f"{task}.loss"] = torch.cat(losses).mean().item()
        if self.words is not None:
            rows = self.words.rows(validation=True)[: self.settings.validation_faces]
            batch = {key: value.to(device) for key, value in self._painted(rows, np.zeros(1, np.int64)).items()}
            figures["words.loss"] = self._from_words(batch, torch.Generator().manual_seed(1)).mean().item()
        return figures

    def samples(self, model: nn.Module) -> np.ndarray | None:
        """Rows: source, target, then the target repainted by head swap, face swap and reenactment from the source."""
        rows = (self.held_out if len(self.held_out) else self.train)[: self.settings.sample_faces]
        sources, device = self.data.partners(rows, np.zeros(len(rows))), next(model.parameters()).device
        sheet = [self.data.take("latents", which) for which in (sources, rows)]
        noise = torch.cat([draw_noise(tuple(sheet[0].shape[1:]), seed) for seed in range(len(rows))]).to(device)
        for task in ("head", "face", "person"):
            shown = self.hole_fill(np.ones(len(rows)))
            batch = self.data.batch(sources, rows, np.full(len(rows), TASKS.index(task)), shown)
            batch = {key: value.to(device) for key, value in batch.items()}
            nothing = torch.full_like(batch["choice"], NOWHERE)
            predict = guided(
                lambda x, t, b=batch: self._predict(model, x, t.expand(len(x)), b, b["choice"]),
                lambda x, t, b=batch, n=nothing: self._predict(model, x, t.expand(len(x)), b, n),
                self.settings.guidance,
            )
            scheduler = make_scheduler(self.base.schedule, "euler")
            sheet.append(sample(predict, noise, scheduler, self.settings.sample_steps).cpu())
        decoded = (to_pictures(self.base.codec.to("cpu").decode(latents)) for latents in sheet)
        return np.concatenate([np.concatenate(list(pictures), 1) for pictures in decoded], 0)

    def export(self, model: nn.Module, path: Path, facts: dict[str, str]) -> None:
        """A folder beside ``path`` with the controller in float16 and, where the UNet was trained too, its base."""
        folder = path.with_suffix("")
        header = {**facts, "base": self.settings.base, "guidance": self.settings.guidance}
        header["identity_guidance"] = self.settings.identity_guidance
        if self.settings.freeze_unet:
            header["unet"] = self._unet  # else it lies beside the controller
        save_controller(_controller(model), folder / CONTROLLER, header)
        if not self.settings.freeze_unet:
            assert self.steered is not None
            unchanged = shutil.ignore_patterns("unet")
            shutil.copytree(self.base_folder, folder / BASE, ignore=unchanged, dirs_exist_ok=True)
            save_unet(self.steered.plain_state(), self.base.unet.config, folder / BASE / "unet", facts)

    def _painted(self, rows: np.ndarray, choices: np.ndarray) -> dict[str, Tensor]:
        """Faces to be painted from words alone, as entries of a batch."""
        assert self.words is not None
        found = self.words.batch(rows, choices)
        return {f"words.{name}": found[name] for name in ("latents", "tokens", "keep")}

    def _from_words(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """(R,) losses of the plain UNet on the faces of ``_painted``; a tenth of them without words."""
        assert self.steered is not None and self.none_mask is not None
        faces = {name: batch[f"words.{name}"] for name in ("latents", "tokens", "keep")}
        count, steered = len(faces["latents"]), self.steered
        times = self.schedule.draw(count, generator, self.settings.shift)
        noise = torch.randn(faces["latents"].shape, generator=generator)
        dropped = torch.rand(count, generator=generator) < WORDLESS
        return losses_of_words(
            lambda x, times, tokens, keep: steered(x, times, tokens, keep, None, None),
            self.schedule,
            faces,
            (times, noise, dropped),
            (self.none, self.none_mask),
        )

    def _predict(
        self, model: nn.Module, noisy: Tensor, times: Tensor, batch: dict[str, Tensor], choice: Tensor
    ) -> Tensor:
        assert self.steered is not None and _controller(model) is self.steered.controller
        device = noisy.device
        if next(self.base.unet.parameters()).device != device:
            self.base.unet.to(device)
        photos = [unpack_factors(name, batch) for name in ("source", "target")]
        face = self.steered.controller.assembler(photos, choice)
        text = self.none.to(device).expand(len(noisy), -1, -1)
        keep = None if self.none_mask is None else self.none_mask.to(device).expand(len(noisy), -1)
        reference = Reference(batch["reference"], batch["mask"])
        return self.steered(noisy, times, text, keep, face, reference)

    def _identity_network(self, device: torch.device) -> nn.Module:
        """The network that the set's identity factors come from."""
        if self.data.header["identity_encoder"] == "arcface":
            assert self.settings.identity is not None
            return IResNet.load(data_root() / self.settings.identity).to(device)
        return IdentityEncoder.load().to(device)

    def _judge(self, start: Tensor, latents: Tensor) -> list[tuple[str, float, Tensor]]:
        """(name, weight, value) of the losses on pictures: what x0 shows against what the codec makes of the truth."""
        s, device = self.settings, start.device
        if self._judges is None:
            lpips = LPIPS.load(data_root() / s.lpips).to(device) if s.lpips_weight else None
            self._judges = self._identity_network(device) if s.identity_weight else None, lpips
            self.base.codec.to(device)
        identity, lpips = self._judges
        decode = self.base.codec.decode
        with torch.no_grad():
            truth = decode(latents).float()
        painted = decode(start).float()  # torch cannot resize smoothly in 16 bits
        found = []
        if identity is not None:
            found.append(
                ("identity", s.identity_weight, (1 - F.cosine_similarity(identity(painted), identity(truth))).mean())
            )
        if lpips is not None:
            found.append(("lpips", s.lpips_weight, lpips(painted, truth).mean()))
        return found


def check_start(start: Path, base: str, folder: Path, unet: str) -> None:
    """Raise ``InputError`` when the controller in the file ``start`` was trained with another UNet than that of
    ``base``, which lies in ``folder`` and whose hash (``weights_hash``, in float32) is ``unet``.

    It was trained with the one in the folder ``base`` beside it; else with the one whose hash its header has; else,
    in older files, with the base that its header names. A file that names none is taken as it is.
    """
    header, beside = read_controller_header(start), start.parent / BASE
    if (beside / "unet").is_dir():
        where = f"the one in {beside}"
        same = beside.resolve() == folder.resolve()
        same = same or weights_hash(load_base(beside, torch.device("cpu"), torch.float32).unet) == unet
    else:
        where = f"{header.get('base')!r}, as its weights were then"
        same = header["unet"] == unet if "unet" in header else header.get("base", base) == base
    if not same:
        raise InputError(
            f"start: {start} was trained with another base than {base!r}: give base = … {where}, below LIMNER_DATA"
        )


def _controller(model: nn.Module) -> Controller:
    found = model if isinstance(model, Controller) else model["controller"]  # pyright: ignore[reportIndexIssue]
    assert isinstance(found, Controller)
    return found
