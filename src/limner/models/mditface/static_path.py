"""The mask's static path on a FLUX transformer as diffusers holds it, block by block.

The weights of a block are borrowed for the moment in which it runs, under MDiT's names; so there is one implementation
of the mask stream, and no second copy of FLUX.

Legend: B batch, M mask tokens, H heads, E head size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .blocks import Block
from .flux import flux_config, parameter_sources
from .transformer import MaskFeatures, MDiT


def shell_of(transformer: Any, rank: int = 0) -> MDiT:
    """An MDiT of a FluxTransformer2DModel's sizes on the meta device, with mask corrections of that rank."""
    from dataclasses import replace

    config = replace(flux_config(dict(transformer.config)), mask_rank=rank)
    with torch.device("meta"):
        return MDiT(config).eval().requires_grad_(False)


@torch.no_grad()
def static_path_of(
    transformer: Any, mask: Tensor, corrections: dict[str, Tensor], device: torch.device, rank: int
) -> MaskFeatures:
    """Keys and values of all layers of a mask.

    transformer: diffusers' FluxTransformer2DModel; its LoRA layers, if it has any, do not count, as in ``MDiT``. mask:
    the coloured map's latents (B, C, h, w). corrections: the mask stream's, by name, empty for none; rank: theirs.
    """
    weights = _plain_weights(transformer)
    sources = parameter_sources(flux_config(dict(transformer.config)))
    dtype = weights["x_embedder.weight"].dtype
    model = shell_of(transformer, rank)

    def borrow(module: nn.Module, prefix: str) -> None:
        needed = {}
        for name, parameter in module.named_parameters():
            full = f"{prefix}{name}"
            if full in corrections:
                needed[name] = corrections[full].to(device, dtype)
            elif ".text." not in f".{full}" and full in sources:
                parts = [weights[source].to(device) for source in sources[full]]
                parts = [part[None] if part.ndim == parameter.ndim - 1 else part for part in parts]
                needed[name] = torch.cat(parts) if len(parts) > 1 else parts[0]
        module.load_state_dict(needed, strict=False, assign=True)

    stem = {"image_in", "time_in", "guidance_in"}
    for name, module in model.named_children():
        if name in stem:
            borrow(module, f"{name}.")
    step = model.config.patch
    grid = (mask.shape[2] // step, mask.shape[3] // step)
    tokens = model.embed_mask(mask.to(device))
    conditioning = model.mask_conditioning(device, dtype)
    freqs = model.rotary_frequencies(grid, 0, device)
    keys, values = [], []
    for kind in ("double_blocks", "single_blocks"):
        for index, block in enumerate(getattr(model, kind)):
            assert isinstance(block, Block)
            borrow(block, f"{kind}.{index}.")
            tokens, k, v = block.static(tokens, conditioning, freqs)
            block.to("meta")
            keys.append(k)
            values.append(v)
    return MaskFeatures(tuple(keys), tuple(values))


def _plain_weights(transformer: Any) -> dict[str, Tensor]:
    """The weights under diffusers' own names, whether or not peft has put LoRA layers around them."""
    found = {}
    for name, parameter in transformer.named_parameters():
        if ".lora_" in name:
            continue
        if not parameter.is_floating_point() or parameter.is_meta:
            raise ValueError(
                f"{name} is quantised or offloaded layer by layer: masks need a transformer in floating point "
                "(enable_model_cpu_offload is fine)"
            )
        found[name.replace(".base_layer.", ".")] = parameter.detach()
    return found
