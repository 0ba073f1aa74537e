"""Training the region parser, and measuring it. C the 19 classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from limner.faces.data_folders import data_root, picture_files
from limner.faces.efficientnet import EfficientNetLite0
from limner.faces.geometry import resize, warp
from limner.faces.image_tensors import to_model
from limner.faces.parse import ENCODER_BLOCKS, SIZE, ParserNet, RegionParser, mirrored_shares
from limner.faces.parse_data import IGNORE, augment, find_pairs, mirror, read_pair
from limner.faces.picture import read_picture
from limner.faces.regions import REGION_NAMES, Region, colourise
from limner.weights.tensors import load_into


class ParserSettings(BaseModel):
    """The `[task]` table of a parser training config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "parser"
    pairs: str = Field(description="Folder of labelled faces, relative to LIMNER_DATA.")
    test: int = Field(default=350, ge=0, description="The last pairs by name, never trained or selected on.")
    validation: int = Field(default=40, gt=0, description="The pairs before those, measured during training.")
    dice_weight: float = Field(default=1.0, ge=0)
    rare_weight: float = Field(default=2.0, ge=1, description="Cross-entropy weight of glasses, hat, jewellery, ears.")
    init_from: str | None = Field(default=None, description="Parser weights to go on from, relative to LIMNER_DATA.")
    frozen_blocks: int = Field(
        default=3,
        ge=0,
        description="First encoder blocks that stay as they are, the stem with them; training them costs most.",
    )
    unlabelled: list[str] = Field(default=[], description="Folders of square portraits that `init_from` labels.")
    unlabelled_count: int = Field(default=1500, gt=0, description="How many first pictures of each folder to use.")
    label_sides: tuple[int, ...] = Field(
        default=(SIZE,), description="Sizes at which `init_from` looks; it answers once."
    )
    unlabelled_share: float = Field(default=0.5, ge=0, le=1, description="Share of a batch drawn from them.")
    min_confidence: float = Field(
        default=0.7, ge=0, le=1, description="Confidence under which a made label does not count."
    )
    undistorted_share: float = Field(
        default=0.0, ge=0, le=1, description="Share of labelled pictures that are only mirrored."
    )
    encoder: str = Field(default="efficientnet-lite0", description="ImageNet weights to start the encoder from.")

    @model_validator(mode="after")
    def _labelled_by(self) -> ParserSettings:
        if self.unlabelled and not self.init_from:
            raise ValueError("unlabelled pictures need `init_from`: the weights that label them")
        return self


def split_pairs(folder: Path, validation: int, test: int) -> dict[str, list[tuple[Path, Path]]]:
    """The split by name: the last `test` pairs, `validation` before them, and the rest to train on."""
    pairs = find_pairs(folder)
    first_test = len(pairs) - test
    return {
        "train": pairs[: first_test - validation],
        "validation": pairs[first_test - validation : first_test],
        "test": pairs[first_test:],
    }


class ParserTask:
    """Loss = cross-entropy + λ·(1 − Dice), the Dice part over the classes present in a batch.

    Our choice: Dice beside cross-entropy, because earrings and necklaces are a thousandth of the pixels and half of
    the measure.
    """

    def __init__(self, settings: dict[str, Any], batch_size: int, seed: int) -> None:
        self.settings = s = ParserSettings.model_validate(settings)
        self.batch_size, self.seed = batch_size, seed
        pairs = split_pairs(data_root() / s.pairs, s.validation, s.test)
        self.train = [read_pair(*pair) for pair in pairs["train"]]
        self.held_out = [reduce(*read_pair(*pair)) for pair in pairs["validation"]]
        self.labelled_later: list[tuple[np.ndarray, np.ndarray]] = []
        if s.unlabelled:
            files = [file for folder in s.unlabelled for file in picture_files([folder])[: s.unlabelled_count]]
            self.labelled_later = self_labelled(
                files, str(data_root() / str(s.init_from)), s.min_confidence, s.label_sides
            )
        weights = torch.ones(len(Region))
        rare = [Region.EYE_GLASSES, Region.HAT, Region.EAR_RING, Region.NECKLACE, Region.LEFT_EAR, Region.RIGHT_EAR]
        weights[[int(region) for region in rare]] = s.rare_weight
        self.weights = weights

    def build(self) -> nn.Module:
        net = ParserNet()
        if self.settings.init_from:
            load_into(net, data_root() / self.settings.init_from)
        else:
            net.encoder.load_state_dict(EfficientNetLite0.load(self.settings.encoder, ENCODER_BLOCKS).state_dict())
        frozen = self.settings.frozen_blocks
        for part in (net.encoder.conv_stem, *net.encoder.blocks[:frozen]) if frozen else ():
            part.requires_grad_(False)
        return net

    def batch(self, step: int) -> dict[str, Tensor]:
        pictures, maps = [], []
        others = round(self.settings.unlabelled_share * self.batch_size) if self.labelled_later else 0
        for source, count in ((self.train, self.batch_size - others), (self.labelled_later, others)):
            for position in range(step * count, (step + 1) * count):
                epoch, index = divmod(position, len(source))
                order = np.random.default_rng([self.seed, epoch]).permutation(len(source))
                random = np.random.default_rng([self.seed, 1, position])
                picture, ids = source[order[index]]
                if random.random() < self.settings.undistorted_share:
                    picture, ids = reduce(picture, ids)
                    picture, ids = (picture[:, ::-1], mirror(ids)) if random.random() < 0.5 else (picture, ids)
                else:
                    picture, ids = augment(picture, ids, random)
                pictures.append(picture)
                maps.append(ids)
        return {"pictures": torch.from_numpy(np.stack(pictures)), "ids": torch.from_numpy(np.stack(maps))}

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logits = model(_input(batch["pictures"].numpy())).float()  # (B, C, H, W)
        ids = batch["ids"].long()
        entropy, dice = region_losses(logits, ids, self.weights.to(logits))
        return entropy + self.settings.dice_weight * dice, {"entropy": entropy, "dice": dice}

    def validate(self, model: nn.Module) -> dict[str, float]:
        counts = np.zeros((len(Region), len(Region)), np.int64)
        for picture, ids in self.held_out:
            counts += confusion(predict(model, picture[None])[0], ids)
        return figures(counts)

    def samples(self, model: nn.Module) -> np.ndarray:
        """Rows of photograph, truth and prediction."""
        shown = self.held_out[:16]
        predicted = predict(model, np.stack([picture for picture, _ in shown]))
        columns = [
            np.concatenate([picture, colourise(ids), colourise(p)], 0)
            for (picture, ids), p in zip(shown, predicted, strict=True)
        ]
        half = len(columns) // 2
        return np.concatenate([np.concatenate(columns[:half], 1), np.concatenate(columns[half:], 1)], 0)

    def export(self, model: nn.Module, path: Path, facts: dict[str, str]) -> None:
        from limner.weights.tensors import save_tensors

        save_tensors(path, model.state_dict(), {"model": "face-parser", **facts}, dtype=torch.float16)


def self_labelled(
    files: list[Path], teacher: str, sure: float, sides: Sequence[int] = (SIZE,)
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures with the teacher's labels, IGNORE where it is less sure than `sure` (noisy student, arXiv 1911.04252).

    The teacher's word is the mean of its answers to the picture and to its mirror image, at each of the sides.
    """
    net = RegionParser.load(teacher).net
    labelled = []
    for start in range(0, len(files), 8):
        pictures = np.stack([resize(read_picture(file), (SIZE, SIZE)) for file in files[start : start + 8]])
        with torch.inference_mode():
            shares = torch.stack([_at_side(net, pictures, side) for side in sides]).mean(0)
            confidence, ids = shares.max(1)
        maps = ids.where(confidence >= sure, IGNORE).to(torch.uint8).numpy()
        labelled += list(zip(pictures, maps, strict=True))
    return labelled


def _at_side(net: nn.Module, pictures: np.ndarray, side: int) -> Tensor:
    """(B, 19, 256, 256) shares of pictures (B, 256, 256, 3) looked at with that side."""
    resized = np.stack([resize(picture, (side, side)) for picture in pictures])
    return F.interpolate(mirrored_shares(net, resized), size=(SIZE, SIZE), mode="bilinear", align_corners=False)


def reduce(picture: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A square labelled picture of any size at 256 px."""
    scale = SIZE / picture.shape[0]
    matrix = np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]])
    return warp(picture, matrix, SIZE), warp(ids, matrix, SIZE, nearest=True)


def predict(model: nn.Module, pictures: np.ndarray) -> np.ndarray:
    """Region maps (B, 256, 256) uint8 of pictures (B, 256, 256, 3) uint8."""
    with torch.inference_mode():
        return model(_input(pictures)).argmax(1).to(torch.uint8).numpy()


def region_losses(logits: Tensor, ids: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy, and 1 − mean Dice over the classes present; pixels with IGNORE count in neither.

    logits (B, C, H, W) float32, ids (B, H, W) int64, weights (C,). Both from one log-softmax: it is what costs.
    """
    known = ids != IGNORE
    target = ids.where(known, 0)
    log_shares = logits.log_softmax(1)
    chosen = log_shares.gather(1, target.unsqueeze(1)).squeeze(1)  # (B, H, W)
    weight = weights[target] * known
    entropy = -(weight * chosen).sum() / weight.sum()
    hits = torch.zeros_like(weights).index_add(0, target.flatten(), (chosen.exp() * known).flatten())
    truth = torch.bincount(target[known], minlength=logits.shape[1])
    sizes = (log_shares.exp() * known.unsqueeze(1)).sum((0, 2, 3)) + truth
    dice = 2 * hits / sizes.clamp_min(1)
    return entropy, 1 - dice[truth > 0].mean()


def confusion(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Pixel counts (19, 19): rows truth, columns prediction; IGNORE in the truth does not count."""
    known = truth != IGNORE
    index = truth[known].astype(np.int64) * len(Region) + predicted[known]
    return np.bincount(index, minlength=len(Region) ** 2).reshape(len(Region), len(Region))


def figures(counts: np.ndarray) -> dict[str, float]:
    """Pixel accuracy, F1 of every class that occurs in the truth, and their mean, from pooled pixel counts."""
    hits = np.diag(counts).astype(np.float64)
    truth, predicted = counts.sum(1), counts.sum(0)
    present = truth > 0
    f1 = 2 * hits / np.maximum(truth + predicted, 1)
    named = {f"f1.{REGION_NAMES[k]}": float(f1[k]) for k in np.nonzero(present)[0]}
    return {"pixel_accuracy": float(hits.sum() / counts.sum()), "mean_f1": float(f1[present].mean()), **named}


def _input(pictures: np.ndarray) -> Tensor:
    return to_model(pictures).contiguous(memory_format=torch.channels_last)
