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
from limner.weights.tensors import check_keys, load_sharded

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


def from_flux(folder: str | Path, dtype: torch.dtype = torch.float32) -> MDiT:
    """Load a FLUX.1 transformer folder (``config.json`` and safetensors, one file or sharded with an index).

    folder: the transformer's, or a pipeline's, which holds it as ``transformer/``. Strict: a missing, unexpected or
    mis-shaped tensor is an ``InputError`` that names it. Built on the meta device, so memory holds the weights once.
    """
    config, folder = read_flux_config(folder), _transformer(folder)
    with torch.device("meta"):
        model = MDiT(config)
    tensors = convert({name: tensor.to(dtype) for name, tensor in load_sharded(folder, SINGLE)}, config)
    check_keys(tensors, model.state_dict(), where=str(folder))
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval()


def convert(flux: dict[str, Tensor], config: MDiTConfig) -> dict[str, Tensor]:
    """Diffusers' tensors under MDiT's names, projections fused; what is not recognised keeps its name.

    ``flux`` is emptied on the way, so that large weights are not held twice. ``InputError`` where a tensor is missing.
    """
    out: dict[str, Tensor] = {}

    def move(target: str, sources: tuple[str, ...]) -> None:
        for part in ("weight", "bias"):
            out[f"{target}.{part}"] = _fuse(flux, [f"{source}.{part}" for source in sources])

    for target, source in STEM.items():
        if config.guidance_embed or not target.startswith("guidance_in"):
            move(target, (source,))
    for i in range(config.double_blocks):
        ours, theirs = f"double_blocks.{i}", f"transformer_blocks.{i}"
        for stream, names, norms in (("image", IMAGE, "norm_"), ("text", TEXT, "norm_added_")):
            for target, sources in names.items():
                move(f"{ours}.{stream}.{target}", tuple(f"{theirs}.{source}" for source in sources))
            out[f"{ours}.{stream}.norm.gain"] = _gains(flux, f"{theirs}.attn.{norms}")
    for i in range(config.single_blocks):
        ours, theirs = f"single_blocks.{i}.merged", f"single_transformer_blocks.{i}"
        for target, sources in MERGED.items():
            move(f"{ours}.{target}", tuple(f"{theirs}.{source}" for source in sources))
        out[f"{ours}.norm.gain"] = _gains(flux, f"{theirs}.attn.norm_")
    return out | flux


def _fuse(flux: dict[str, Tensor], names: list[str]) -> Tensor:
    for name in names:
        if name not in flux:
            raise InputError(f"tensor {name!r} is missing from this FLUX transformer: fetch its files again")
    parts = [flux.pop(name) for name in names]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _gains(flux: dict[str, Tensor], prefix: str) -> Tensor:
    names = [f"{prefix}{letter}.weight" for letter in "qk"]
    return torch.stack([_fuse(flux, [name]) for name in names])
