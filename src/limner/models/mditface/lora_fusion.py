"""The mask stream's corrections multiplied out, for painting.

A correction costs two narrow products beside each wide one, which is little to store and to train but a quarter of a
small model's time for a mask. W + U V is one product again, and the mask's modulation, of a c_M that never changes, is
one table. The folded model is an ``MDiT`` with ``mask_weights="own"``; the weights of the other streams are shared, not
copied.

Legend: D width.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .blocks import Block
from .lora import LowRank
from .transformer import MDiT


@torch.no_grad()
def fuse_mask_lora(model: MDiT) -> MDiT:
    """The same model with weights of its own for the mask stream: equal up to rounding, faster to encode masks with.

    ``ValueError`` for a model whose mask stream has its own weights already. Our choice: summed in float32, rounded
    once to the model's number type.
    """
    config = model.config
    if config.mask_weights != "lora":
        raise ValueError(f"mask_weights={config.mask_weights!r}: this mask stream has no corrections to fold")
    with torch.device("meta"):
        folded = MDiT(replace(config, mask_weights="own", mask_rank=0))
    weights: dict[str, Tensor] = {n: p for n, p in model.named_parameters() if ".adapter." not in n}
    weight = model.image_in.weight
    c_m = model.mask_conditioning(weight.device, weight.dtype)
    for name, block in model.named_modules():
        if isinstance(block, Block):
            for part, value in _mask_weights(block).items():
                weights[f"{name}.own.{part}"] = value
            modulation = block.mask_stream(c_m)[1]
            weights[f"{name}.own.modulation.table"] = torch.cat(modulation, dim=2)[0, 0]
    folded.load_state_dict(weights, strict=True, assign=True)
    return folded.train(model.training).requires_grad_(weight.requires_grad)


def _mask_weights(block: Block) -> dict[str, Tensor]:
    """The base stream's weights by name, corrected; without the modulation."""
    base = {n: p.detach() for n, p in block.base().named_parameters() if not n.startswith("modulation.")}
    if block.adapter is None:
        return base
    for layer, correction in block.adapter.layers.items():
        assert isinstance(correction, LowRank)
        down, up = correction.down.weight.float(), correction.up.weight.float()
        weight = base[f"{layer}.weight"]
        first = weight.shape[1] if block.last else 0  # the last block's queries are not corrected: nothing reads them
        corrected = weight.float().clone()
        corrected[first : first + up.shape[0]] += up @ down
        base[f"{layer}.weight"] = corrected.to(weight.dtype)
    return base
