"""FLUX.1 transformers, in diffusers' own format, as MDiT.

The image and text streams take FLUX's weights; the mask stream is the image stream's weights (rank 0 until
``add_mask_lora``). Without a mask the result is FLUX, to rounding. Nothing is trained or guessed here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limner.errors import InputError
from limner.weights.shards import Shards, fill_rows

from .config import FLUX_DEV, MDiTConfig
from .transformer import MDiT

SINGLE = "diffusion_pytorch_model.safetensors"

# MDiT name <- diffusers name, outside the blocks.
STEM = {
    "image_in": "x_embedder",
    "text_in.tokens": "context_embedder",
    "time_in.first": "time_text_embed.timestep_embedder.linear_1",
    "time_in.second": "time_text_embed.timestep_embedder.linear_2",
    "guidance_in.first": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.second": "time_text_embed.guidance_embedder.linear_2",
    "text_in.pooled.first": "time_text_embed.text_embedder.linear_1",
    "text_in.pooled.second": "time_text_embed.text_embedder.linear_2",
    "head_modulation": "norm_out.linear",
    "head": "proj_out",
}
# Per stream of a double block: MDiT name <- diffusers names, fused in this order.
IMAGE = {
    "modulation.full": ("norm1.linear",),
    "qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "out": ("attn.to_out.0",),
    "up": ("ff.net.0.proj",),
    "down": ("ff.net.2",),
}
TEXT = {
    "modulation.full": ("norm1_context.linear",),
    "qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "out": ("attn.to_add_out",),
    "up": ("ff_context.net.0.proj",),
    "down": ("ff_context.net.2",),
}
MERGED = {
    "modulation.full": ("norm.linear",),
    "qkv": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "out": ("proj_out",),
}


def flux_config(values: Mapping[str, Any]) -> MDiTConfig:
    """The MDiT configuration of a diffusers ``FluxTransformer2DModel`` config. ``InputError`` for another class."""
    kind = values.get("_class_name", "FluxTransformer2DModel")
    if kind != "FluxTransformer2DModel":
        raise InputError(f"config.json describes {kind!r}: a FLUX transformer is a FluxTransformer2DModel")
    needed = ("num_attention_heads", "attention_head_dim", "in_channels", "num_layers", "num_single_layers",
              "joint_attention_dim", "pooled_projection_dim")  # fmt: skip
    if missing := [name for name in needed if name not in values]:
        raise InputError(f"config.json has no {missing[0]!r}: it is not a FLUX transformer's")
    heads, size = values["num_attention_heads"], values["attention_head_dim"]
    if values.get("out_channels") not in (None, values["in_channels"]) or values.get("patch_size", 1) != 1:
        raise InputError("this FLUX variant has extra input channels (fill, depth, canny): use a FLUX.1 dev or schnell")
    fields = {
        "latent_channels": values["in_channels"] // 4,
        "width": heads * size,
        "heads": heads,
        "double_blocks": values["num_layers"],
        "single_blocks": values["num_single_layers"],
        "rope_axes": tuple(values.get("axes_dims_rope", (16, 56, 56))),
        "text_width": values["joint_attention_dim"],
        "text_pooled": values["pooled_projection_dim"],
        "text_length": 512 if values.get("guidance_embeds", False) else 256,
        "guidance_embed": bool(values.get("guidance_embeds", False)),
    }
    return MDiTConfig(**{**FLUX_DEV.to_dict(), **fields})


def read_flux_config(folder: str | Path) -> MDiTConfig:
    """The configuration of a transformer's or a pipeline's folder; ``InputError`` if it is neither."""
    folder = _transformer(folder)
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} is not a FLUX transformer in diffusers' format: config.json is missing")
    return flux_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def _transformer(folder: str | Path) -> Path:
    inner = Path(folder) / "transformer"
    return inner if (inner / "config.json").is_file() else Path(folder)


def parameter_sources(config: MDiTConfig) -> dict[str, tuple[str, ...]]:
    """Every parameter of a FLUX-sized MDiT, and the diffusers tensors whose rows, one after the other, make it up."""
    out: dict[str, tuple[str, ...]] = {}

    def linear(target: str, modules: tuple[str, ...]) -> None:
        for part in ("weight", "bias"):
            out[f"{target}.{part}"] = tuple(f"{module}.{part}" for module in modules)

    for target, modules in linear_sources(config).items():
        linear(target, modules)
    for i in range(config.double_blocks):
        for stream, norms in (("image", "norm_"), ("text", "norm_added_")):
            out[f"double_blocks.{i}.{stream}.norm.gain"] = _gains(f"transformer_blocks.{i}.attn.{norms}")
    for i in range(config.single_blocks):
        out[f"single_blocks.{i}.merged.norm.gain"] = _gains(f"single_transformer_blocks.{i}.attn.norm_")
    return out


def linear_sources(config: MDiTConfig) -> dict[str, tuple[str, ...]]:
    """Every linear layer of a FLUX-sized MDiT, and the diffusers layers it computes at once."""
    out: dict[str, tuple[str, ...]] = {
        target: (source,)
        for target, source in STEM.items()
        if config.guidance_embed or not target.startswith("guidance_in")
    }
    for i in range(config.double_blocks):
        for stream, names in (("image", IMAGE), ("text", TEXT)):
            for target, sources in names.items():
                theirs = tuple(f"transformer_blocks.{i}.{source}" for source in sources)
                out[f"double_blocks.{i}.{stream}.{target}"] = theirs
    for i in range(config.single_blocks):
        for target, sources in MERGED.items():
            theirs = tuple(f"single_transformer_blocks.{i}.{source}" for source in sources)
            out[f"single_blocks.{i}.merged.{target}"] = theirs
    return out


def _gains(prefix: str) -> tuple[str, ...]:
    return tuple(f"{prefix}{letter}.weight" for letter in "qk")


def empty_flux(folder: str | Path, dtype: torch.dtype = torch.float32) -> MDiT:
    """The model of a FLUX.1 folder on the meta device: sizes and number type, no memory. See ``fill_from_flux``."""
    config = read_flux_config(folder)
    with torch.device("meta"):
        return MDiT(config).to(dtype)


def fill_from_flux(model: MDiT, folder: str | Path) -> None:
    """Fill a FLUX-sized MDiT, whole or this process's pieces of it (FSDP2), from a FLUX.1 transformer folder.

    Rows are read from the files and written where they belong, so a process never holds more than its own pieces and
    one layer's rows. Corrections the model may have are left as they are. Strict: a missing, unexpected or mis-shaped
    tensor is an ``InputError`` that names it, before anything is filled.
    """
    folder = _transformer(folder)
    shards, wanted = Shards(folder, SINGLE), parameter_sources(model.config)
    parameters = dict(model.named_parameters())
    _check(shards, {target: (parameters[target], sources) for target, sources in wanted.items()}, folder)
    for target, sources in wanted.items():
        fill_rows(parameters[target], shards, sources)


def _check(shards: Shards, wanted: Mapping[str, tuple[Tensor, tuple[str, ...]]], folder: Path) -> None:
    left = set(shards.names())
    for target, sources in wanted.values():
        rows = 0
        for name in sources:
            if name not in left:
                raise InputError(f"{folder}: tensor {name!r} is missing from this FLUX transformer: fetch it again")
            left.remove(name)
            shape = shards.shape(name)
            vector = len(shape) == target.ndim - 1
            rows += 1 if vector else shape[0]
            if (shape if vector else shape[1:]) != tuple(target.shape[1:]):
                raise InputError(f"{folder}: tensor {name!r} is {list(shape)}, which config.json does not describe")
        if rows != target.shape[0]:
            raise InputError(f"{folder}: tensor {sources[0]!r} has a length that config.json does not describe")
    if left:
        raise InputError(
            f"{folder}: tensor {min(left)!r} is unexpected ({len(left)} such); config.json is another model's"
        )


def from_flux(folder: str | Path, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> MDiT:
    """Load a FLUX.1 transformer folder (``config.json`` and safetensors, one file or sharded with an index).

    folder: the transformer's, or a pipeline's, which holds it as ``transformer/``. Strict, see ``fill_from_flux``.
    Memory holds the weights once, on ``device`` (default: the CPU), in ``dtype``.
    """
    model = empty_flux(folder, dtype).to_empty(device=device or "cpu")
    fill_from_flux(model, folder)
    return model.eval()
