"""The base a controller steers: UNet, codec, text encoder and schedule of a text-to-picture model.

A folder in diffusers' layout: `unet/`, `scheduler/`, and either `vae/`, `text_encoder/` and `tokenizer/` (Stable
Diffusion 1.5 and its relatives) or `base.json`, which names what Limner has itself (nano). With "of" in `base.json` the
folder holds only what differs from that other base, as one does of which a part was trained on.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limner.codecs.continuous import KLCodec
from limner.errors import InputError
from limner.faces.data_folders import data_root
from limner.files import write_json_atomic
from limner.weights.registry import registry
from limner.weights.store import locate
from limner.weights.tensors import check_keys, load_sharded, save_tensors
from limner.words.encoder import MiniLM, TextEncoder

WEIGHTS = "diffusion_pytorch_model.safetensors"
CARD = "base.json"
BASE = "base"
"""Folder beside a controller, for the base it was trained with."""


@dataclass(frozen=True)
class Base:
    """A text-to-picture model in parts."""

    unet: Any
    codec: KLCodec
    encoder: TextEncoder
    schedule: dict[str, Any]
    """Configuration of its scheduler, as diffusers writes it."""
    size: int
    """Side of its pictures."""
    text_length: int
    """Tokens of a text."""
    masked: bool
    """Whether its UNet was trained not to look at padding."""
    name: str

    def text(self, words: str, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Words, or none (""), as the UNet reads them: (1, T, W) and (1, T) bool or None."""
        found = self.encoder.encode([words], self.text_length)
        return found.tokens.to(device, dtype).clone(), found.mask.to(device).clone() if self.masked else None


def load_base(source: str | os.PathLike[str], device: torch.device, dtype: torch.dtype) -> Base:
    """From a registry name or a folder, of a base or of an editor. ``InputError`` with what is missing."""
    folder = _base_in(Path(locate(source)))
    if not (folder / "unet" / "config.json").is_file():
        raise InputError(f"{folder} holds no base model: there is no unet/config.json in it (diffusers' layout)")
    card = _json(folder / CARD) if (folder / CARD).is_file() else None
    beneath = base_folder(card["of"]) / "unet" if card is not None and "of" in card else None
    unet = load_unet(folder / "unet", dtype, beneath).to(device)
    schedule = _json(folder / "scheduler" / "scheduler_config.json")
    if card is not None:
        codec = KLCodec.load(card["codec"]).to(device)
        encoder, length, masked = MiniLM.load(device=device), int(card["text_length"]), True
        size = int(card["size"])
    else:
        from limner.words.transformers_encoders import TransformersEncoder

        codec = KLCodec.load(folder / "vae").to(device)  # in float32: its decoder overflows in 16 bits
        encoder = TransformersEncoder.load(
            folder / "text_encoder", folder / "tokenizer", device, dtype, attend_padding=True
        )
        length, masked = encoder.limit or 77, False
        size = int(unet.config.sample_size) * codec.factor
    if codec.channels != unet.config.in_channels:
        raise InputError(f"{folder}: its codec has {codec.channels} channels, its UNet takes {unet.config.in_channels}")
    if encoder.width != unet.config.cross_attention_dim:
        raise InputError(f"{folder}: its text encoder gives {encoder.width} numbers a token, its UNet takes "
                         f"{unet.config.cross_attention_dim}")  # fmt: skip
    return Base(unet, codec, encoder, schedule, size, length, masked, Path(source).name)


def base_folder(name: str) -> Path:
    """Where the base of that name lies, or of the editor: a registry name, or a folder relative to LIMNER_DATA."""
    folder = Path(locate(name)) if name in registry() else data_root() / name
    if not folder.is_dir():
        raise InputError(f"the base {name!r} is neither a registered one nor below LIMNER_DATA")
    return _base_in(folder)


def _base_in(folder: Path) -> Path:
    """The base in an editor's folder; a base's folder itself."""
    return folder / BASE if (folder / BASE).is_dir() else folder


def load_unet(folder: Path, dtype: torch.dtype = torch.float32, beneath: Path | None = None) -> Any:
    """diffusers' UNet2DConditionModel from its own files, strictly; frozen. beneath: where what they lack is taken."""
    from diffusers import UNet2DConditionModel

    config = _json(folder / "config.json")
    if config.get("_class_name", "UNet2DConditionModel") != "UNet2DConditionModel":
        raise InputError(f"{folder} holds a {config['_class_name']}: FaceX steers a UNet2DConditionModel")
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(config)
    # copied, because a file's own memory lies unaligned, and matrix products then round differently from load to load
    folders = [folder] if beneath is None else [beneath, folder]
    tensors = {key: value.to(dtype, copy=True) for each in folders for key, value in load_sharded(each, WEIGHTS)}
    check_keys(tensors, unet.state_dict(), where=str(folder))
    unet.load_state_dict(tensors, assign=True)
    return unet.eval().requires_grad_(False)


def save_base(unet: Any, schedule: dict[str, Any], card: dict[str, Any], folder: Path, facts: dict[str, str]) -> None:
    """Write a nano base: UNet in float16, schedule, and what it needs of Limner's.

    With "of" in the card, only the parameters that require gradients.
    """
    tensors = unet.state_dict()
    if "of" in card:
        tensors = {key: tensors[key] for key, value in unet.named_parameters() if value.requires_grad}
    save_unet(tensors, unet.config, folder / "unet", facts)
    write_json_atomic(folder / "scheduler" / "scheduler_config.json", schedule)
    write_json_atomic(folder / CARD, card)


def save_unet(tensors: dict[str, Tensor], config: Any, folder: Path, facts: dict[str, str]) -> None:
    """A UNet in diffusers' format, float16."""
    kept = {key: value for key, value in dict(config).items() if not key.startswith("_")}
    save_tensors(folder / WEIGHTS, tensors, facts, dtype=torch.float16)
    write_json_atomic(folder / "config.json", {**kept, "_class_name": "UNet2DConditionModel"})


def _json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file} is missing: give a base model's folder in diffusers' layout") from None
    except json.JSONDecodeError:
        raise InputError(f"{file} is damaged: fetch the base model again") from None
