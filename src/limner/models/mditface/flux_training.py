"""What training corrections for FLUX.1 needs besides the task: a frozen base, empty prompts, the sampler's shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from limner.errors import InputError

from .config import MDiTConfig
from .flux import empty_flux, fill_from_flux, read_flux_config
from .flux_times import read_shift
from .lora import add_mask_lora, add_stream_lora, fill_fresh, lora_parameters, mask_names, stream_names
from .transformer import MDiT


class EmptyPrompt(NamedTuple):
    """The features of no words: tokens (T, D) and the pooled vector (D',)."""

    tokens: Tensor
    pooled: Tensor


PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}


def trained_config(folder: Path, rank: int) -> MDiTConfig:
    """The configuration of a FLUX.1 with mask corrections of that rank."""
    return replace(read_flux_config(folder), mask_rank=rank)


def empty_model(folder: Path, rank: int, streams: Sequence[str], stream_rank: int, precision: str) -> MDiT:
    """FLUX.1 with corrections on the meta device: the base in ``precision`` and frozen, the corrections in float32."""
    return freeze_base(add_corrections(empty_flux(folder, PRECISIONS[precision]), rank, streams, stream_rank))


def add_corrections(model: MDiT, rank: int, streams: Sequence[str], stream_rank: int) -> MDiT:
    """``model``, which lies on the meta device, with corrections of the mask stream and of the streams named."""
    return add_stream_lora(add_mask_lora(model, rank), streams, stream_rank)


def freeze_base(model: MDiT) -> MDiT:
    """Only corrections learn, as float32 masters."""
    model.requires_grad_(False)
    for parameter in lora_parameters(model):
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)
    return model


def fill(model: MDiT, folder: Path, seed: int) -> None:
    """The base from its files, fresh corrections from the seed; of a model in pieces, this process's pieces."""
    fill_from_flux(model, folder)
    fill_fresh(model, seed, only=mask_names(model))
    fill_fresh(model, seed + 1, only=stream_names(model))


def training_shift(folder: Path, config: MDiTConfig, tokens: int) -> float:
    """The shift that sampling has for pictures of that many image tokens."""
    return read_shift(folder, config.guidance_embed)(tokens)


def check_precision(model: nn.Module, device: torch.device) -> None:
    """`InputError` where a base in bfloat16 would meet corrections in float32 without autocast."""
    assert isinstance(model, MDiT)
    if model.image_in.weight.dtype == torch.bfloat16 and not torch.is_autocast_enabled(device.type):
        raise InputError("train.precision=fp32 needs the base in float32 too: set task.base_precision=fp32")


def without_words(batch: dict[str, Tensor], dropped: Tensor, empty: EmptyPrompt) -> dict[str, Tensor]:
    """A batch whose rows in ``dropped`` (B,) have the empty prompt's features, which is what sampling gives FLUX.1."""
    tokens, pooled = empty.tokens.to(batch["tokens"]), empty.pooled.to(batch["pooled"])
    return batch | {
        "tokens": torch.where(dropped[:, None, None], tokens, batch["tokens"]),
        "pooled": torch.where(dropped[:, None], pooled, batch["pooled"]),
    }
