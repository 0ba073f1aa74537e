"""Low-rank corrections (LoRA): W x -> W x + U V x, with U zero at first, so that fresh corrections change nothing.

Two kinds, which do not touch each other:

* of the mask stream (``MaskAdapter``, in each block): they turn the image stream's weights into mask weights [R], and
  have a constant on the modulation besides (c_M is constant, so is any correction of its projection);
* of the image, text and merged streams (``StreamAdapter``, in each stream), and of the layers around the blocks: what a
  public FLUX LoRA holds. The mask stream runs on the uncorrected image weights (our choice: because then a style LoRA
  does not change how a mask is read).

Legend: B batch, M mask tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from limner.weights.shards import local_rows

if TYPE_CHECKING:
    from .transformer import MDiT

STREAMS = ("image", "text")
"""Streams whose weights can be corrected, besides the mask's. Single blocks run both as one: either names them."""
STEM = ("image_in", "text_in.tokens", "head_modulation", "head")
"""Layers around the blocks that can be corrected."""


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


class StreamAdapter(nn.Module):
    """Corrections of some linear layers, by their names."""

    def __init__(self, layers: Mapping[str, tuple[int, int, int]]) -> None:
        """layers: name to (inputs, outputs, rank)."""
        super().__init__()
        self.layers = nn.ModuleDict({name.replace(".", "-"): LowRank(*sizes) for name, sizes in layers.items()})

    def apply_to(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        """y, the layer's answer to x, corrected where there is a correction for it."""
        name = name.replace(".", "-")
        return y + self.layers[name](x) if name in self.layers else y


class MaskAdapter(StreamAdapter):
    """The corrections of one block's mask stream: one per linear layer, by that layer's name, and a constant.

    In the last block only keys and values are ever read, so only those are corrected.
    """

    def __init__(self, layers: Mapping[str, tuple[int, int]], modulation: int, rank: int) -> None:
        super().__init__({name: (*sizes, rank) for name, sizes in layers.items()})
        self.table = nn.Parameter(torch.zeros(modulation))


def add_mask_lora(model: MDiT, rank: int, seed: int = 0) -> MDiT:
    """The same model whose mask stream has fresh corrections of that rank; its weights are shared, not copied.

    ``model`` must be of ``mask_weights="lora"`` with rank 0 (as ``from_flux`` returns it). ``ValueError`` otherwise.
    What the model computes does not change until the corrections are trained. A model on the meta device gives one on
    the meta device, to be filled by ``fill_fresh``.
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
    kept = dict(model.named_parameters())
    for name, parameter in adapted.named_parameters():
        kept.setdefault(name, nn.Parameter(torch.empty_like(parameter, device=weight.device, dtype=weight.dtype)))
    copy_adapters(model, adapted)
    adapted.load_state_dict(kept, strict=True, assign=True)
    fill_fresh(adapted, seed, only=mask_names(adapted))
    return adapted.train(model.training)


def add_stream_lora(model: MDiT, streams: Sequence[str], rank: int, seed: int = 0) -> MDiT:
    """``model`` itself, with fresh corrections of that rank for all attention and MLP layers of the streams named.

    streams: of ``STREAMS``; single blocks, in which both are one, are corrected for either. ``ValueError`` for others.
    """
    for name in streams:
        if name not in STREAMS:
            raise ValueError(f"stream {name!r}: choose from {', '.join(STREAMS)}")
    layers: dict[str, int] = {}
    for block in [*model.double_blocks, *model.single_blocks] if streams else []:
        for stream in [*streams, "merged"]:
            if (found := getattr(block, stream, None)) is not None:
                prefix = next(name for name, module in model.named_modules() if module is found)
                layers |= {f"{prefix}.{layer}": rank for layer in found.layers()}
    attach(model, layers)
    fill_fresh(model, seed, only=stream_names(model))
    return model


def attach(model: MDiT, ranks: Mapping[str, int]) -> None:
    """Give ``model`` corrections of its streams and stem, with empty values, in the place of those it may have.

    ranks: by the layer's name, such as ``double_blocks.0.image.qkv``. ``KeyError`` for a layer that takes none.
    """
    weight = model.image_in.weight
    modules = dict(model.named_modules())
    owners: dict[str, dict[str, tuple[int, int, int]]] = {}
    for name, rank in ranks.items():
        layer = modules[name]
        assert isinstance(layer, nn.Linear)
        owner, inner = ("", name) if name in STEM else _split(name)
        owners.setdefault(owner, {})[inner] = (layer.in_features, layer.out_features, rank)
    for owner, layers in owners.items():
        with torch.device("meta"):
            adapter = StreamAdapter(layers).to(weight.dtype)
        modules[owner].adapter = adapter if weight.is_meta else adapter.to_empty(device=weight.device)  # type: ignore[assignment]


def _split(name: str) -> tuple[str, str]:
    """``double_blocks.0.image.qkv`` to its stream and the layer's name in it."""
    parts = name.split(".")
    if len(parts) < 4 or parts[0] not in ("double_blocks", "single_blocks"):
        raise KeyError(name)
    return ".".join(parts[:3]), ".".join(parts[3:])


def copy_adapters(source: MDiT, target: MDiT) -> None:
    """Hand the corrections of the streams and the stem on, without copying them."""
    places = dict(target.named_modules())
    for name, module in source.named_modules():
        if type(adapter := getattr(module, "adapter", None)) is StreamAdapter:
            places[name].adapter = adapter  # type: ignore[assignment]


@torch.no_grad()
def fill_fresh(model: MDiT, seed: int, only: Sequence[str]) -> None:
    """Fresh values for the corrections named: V normal with deviation inputs^-0.5, all else zero.

    Of a model in pieces, this process's pieces: the values do not depend on how it is cut. Nothing on the meta device.
    """
    parameters = dict(model.named_parameters())
    generator = torch.Generator().manual_seed(seed)
    for name in only:
        parameter = parameters[name]
        if parameter.is_meta:
            continue
        start = torch.zeros(parameter.shape)
        if name.endswith("down.weight"):
            start.normal_(std=parameter.shape[1] ** -0.5, generator=generator)
        local, first, last = local_rows(parameter)
        local.copy_(start[first:last])


def mask_names(model: MDiT) -> list[str]:
    """Names of the mask stream's corrections."""
    return [name for name, _ in model.named_parameters() if ".adapter." in name and name.split(".")[2] == "adapter"]


def stream_names(model: MDiT) -> list[str]:
    """Names of the other streams' corrections, and of the stem's."""
    mask = set(mask_names(model))
    return [name for name, _ in model.named_parameters() if "adapter." in name and name not in mask]


def mask_parameters(model: MDiT) -> list[nn.Parameter]:
    """The parameters that exist for the mask stream's corrections alone."""
    parameters = dict(model.named_parameters())
    return [parameters[name] for name in mask_names(model)]


def lora_parameters(model: MDiT) -> list[nn.Parameter]:
    """All corrections: what a LoRA training updates."""
    parameters = dict(model.named_parameters())
    return [parameters[name] for name in [*mask_names(model), *stream_names(model)]]
