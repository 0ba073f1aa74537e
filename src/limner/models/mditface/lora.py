"""Low-rank corrections that turn image weights into mask weights.

The mask stream of a model that starts from an image transformer is that transformer's image stream plus
W x -> W x + U V x with rank 4 to 16 [R], and a constant on the modulation (c_M is constant, so is any correction of
its projection). U and the constant start at zero: a fresh correction changes nothing, exactly.

Legend: B batch, M mask tokens, D width.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from limner.errors import InputError
from limner.weights.tensors import check_keys, load_tensors, save_tensors

if TYPE_CHECKING:
    from .transformer import MDiT

FORMAT = "limner mask corrections 1"


class LowRank(nn.Module):
    """x -> U V x, V: (rank, inputs), U: (outputs, rank) zero at first."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., inputs)."""
        return self.up(self.down(x))


class MaskAdapter(nn.Module):
    """The corrections of one block's mask stream: one per linear layer, by that layer's name, and a constant.

    In the last block only keys and values are ever read, so only those are corrected.
    """

    def __init__(self, layers: dict[str, tuple[int, int]], modulation: int, rank: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({name: LowRank(*sizes, rank) for name, sizes in layers.items()})
        self.table = nn.Parameter(torch.zeros(modulation))

    def apply_to(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        """y, the image layer's answer to x, corrected."""
        return y + self.layers[name](x)


def add_mask_lora(model: MDiT, rank: int, seed: int = 0) -> MDiT:
    """The same model whose mask stream has fresh corrections of that rank; its weights are shared, not copied.

    ``model`` must be of ``mask_weights="lora"`` with rank 0 (as ``from_flux`` returns it). ``ValueError`` otherwise.
    What the model computes does not change until the corrections are trained.
    """
    from .transformer import MDiT

    config = model.config
    if config.mask_weights != "lora" or config.mask_rank != 0:
        raise ValueError(
            f"mask_weights={config.mask_weights!r}, mask_rank={config.mask_rank}: corrections are added to a model "
            "with mask_weights='lora' and mask_rank=0"
        )
    if rank < 1:
        raise ValueError(f"rank={rank}: must be at least 1 (4 to 16 is usual)")
    weight = model.image_in.weight
    with torch.device("meta"):
        adapted = MDiT(replace(config, mask_rank=rank))
    generator = torch.Generator().manual_seed(seed)
    fresh: dict[str, Tensor] = {}
    for name, parameter in adapted.named_parameters():
        if ".adapter." not in name:
            continue
        start = torch.zeros(parameter.shape)
        if name.endswith("down.weight"):
            start.normal_(std=parameter.shape[1] ** -0.5, generator=generator)
        fresh[name] = start.to(weight.device, weight.dtype)
    adapted.load_state_dict({**dict(model.named_parameters()), **fresh}, strict=True, assign=True)
    return adapted


def mask_parameters(model: MDiT) -> list[nn.Parameter]:
    """The parameters that exist for the mask stream's corrections alone: what a LoRA training updates."""
    return [parameter for name, parameter in model.named_parameters() if ".adapter." in name]


def save_mask_lora(model: MDiT, path: str | os.PathLike[str], facts: Mapping[str, str] | None = None) -> None:
    """Write the corrections alone, in 16 bits: what a LoRA training of the mask stream ships. facts: for the header."""
    tensors = {name: parameter for name, parameter in model.named_parameters() if ".adapter." in name}
    save_tensors(
        path, tensors, {**(facts or {}), "format": FORMAT, "rank": model.config.mask_rank}, dtype=torch.bfloat16
    )


def load_mask_lora(model: MDiT, path: str | os.PathLike[str]) -> MDiT:
    """The model with corrections from a file; ``InputError`` if they do not fit it."""
    tensors, header = load_tensors(path)
    if header.get("format") != FORMAT:
        raise InputError(f"{path} holds no mask corrections: make them by training, see docs/mditface.md")
    adapted = add_mask_lora(model, int(header["rank"]))
    wanted = {name: parameter for name, parameter in adapted.named_parameters() if ".adapter." in name}
    check_keys(tensors, wanted, where=str(path))
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(tensors[name])
    return adapted
