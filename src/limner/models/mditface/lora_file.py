"""Corrections in files, in the format of peft and diffusers.

    transformer.<layer>.lora_A.weight, .lora_B.weight   image, text and merged streams: any FLUX LoRA
    mask.<layer>.lora_A.weight, .lora_B.weight          the mask stream, under the image stream's names
    mask.<block's norm>.linear.lora_B.bias              the mask stream's constant on the modulation

`FluxPipeline.load_lora_weights` takes the first kind from our files and passes the others over, because a plain FLUX
has no mask stream. Layers have diffusers' names; what MDiT computes at once (queries, keys, values) is several there.
B A is scaled by alpha / rank when a file is read; files written here have alpha = rank.

Legend: r rank.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from limner.errors import InputError
from limner.weights.shards import Shards
from limner.weights.tensors import save_tensors

from .blocks import Block
from .flux import linear_sources
from .lora import STEM, LowRank, StreamAdapter, add_mask_lora, attach, mask_names

if TYPE_CHECKING:
    from .transformer import MDiT

MASK, OTHERS = "mask.", "transformer."
PEFT_FILE, PEFT_CONFIG, PEFT_PREFIX = "adapter_model.safetensors", "adapter_config.json", "base_model.model."
DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"
DIFFUSERS_METADATA = "lora_adapter_metadata"


class Factors(NamedTuple):
    """One layer's correction B A."""

    a: Tensor  # (r, inputs)
    b: Tensor  # (outputs, r)


class Corrections(NamedTuple):
    """What a file holds, under diffusers' layer names, all scales multiplied in."""

    streams: dict[str, Factors]
    mask: dict[str, Factors]
    constants: dict[str, Tensor]


def save_lora(model: MDiT, path: str | os.PathLike[str], facts: Mapping[str, str] | None = None) -> None:
    """Write the model's corrections, and nothing else, in 16 bits. facts: for the header."""
    tensors: dict[str, Tensor] = {}
    modules = dict(model.named_modules())
    for target, sources in linear_sources(model.config).items():
        owner, layer = (
            ("", target) if target in STEM else (".".join(target.split(".")[:3]), ".".join(target.split(".")[3:]))
        )
        adapter = getattr(modules[owner], "adapter", None)
        if type(adapter) is StreamAdapter and layer.replace(".", "-") in adapter.layers:
            tensors |= _split(OTHERS, adapter.layers[layer.replace(".", "-")], sources, model.config.width)
        block = modules[".".join(target.split(".")[:2])] if "_blocks." in target else None
        adapter = getattr(block, "adapter", None)
        if block is None or adapter is None or modules[owner] is not block.base():  # type: ignore[operator]
            continue
        if layer in adapter.layers:
            corrected = sources[1:3] if layer == "qkv" and block.last else sources  # type: ignore[union-attr]
            tensors |= _split(MASK, adapter.layers[layer], corrected, model.config.width)
        elif layer == "modulation.full":
            tensors[f"{MASK}{sources[0]}.lora_B.bias"] = adapter.table
    if not tensors:
        raise ValueError("this model has no corrections to save")
    save_tensors(path, _of_one_rank(tensors), dict(facts or {}), dtype=torch.bfloat16)


def _split(prefix: str, correction: Any, sources: Sequence[str], width: int) -> dict[str, Tensor]:
    """The correction of a layer that is several layers in diffusers: one each, without ranks that add nothing to it."""
    assert isinstance(correction, LowRank)
    down, up = correction.down.weight.detach(), correction.up.weight.detach()
    sizes = [width] * (len(sources) - 1)
    out = {}
    for name, b in zip(sources, up.split([*sizes, up.shape[0] - sum(sizes)])):
        used = (b != 0).any(0)
        used = used if bool(used.any()) else ~used
        out[f"{prefix}{name}.lora_A.weight"], out[f"{prefix}{name}.lora_B.weight"] = down[used], b[:, used]
    return out


def _of_one_rank(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Filled up with zeros to one rank per kind: readers take alpha to be the rank only where all are the same."""
    out = dict(tensors)
    for kind in (OTHERS, MASK):
        found = {k: v for k, v in tensors.items() if k.startswith(kind) and k.endswith(".weight")}
        rank = max((v.shape[0] for k, v in found.items() if ".lora_A." in k), default=0)
        for name, value in found.items():
            axis = 0 if ".lora_A." in name else 1
            shape = list(value.shape)
            shape[axis] = rank - shape[axis]
            out[name] = torch.cat([value, value.new_zeros(shape)], axis)
    return out


def load_lora(model: MDiT, *paths: str | os.PathLike[str], scale: float = 1.0) -> MDiT:
    """The model with the corrections of one or several files: ours, diffusers', peft's, or kohya's and XLabs' (which
    diffusers converts). Weights are shared with ``model``, corrections of several files add up.

    scale: how strongly the streams' corrections count; the mask's always count in full. ``InputError`` for a file that
    is damaged, does not fit this model, or changes a layer that can not be corrected here (time and guidance embedding,
    text encoders), and for mask corrections in two files.
    """
    read = [(path, read_lora(path)) for path in paths]
    streams: dict[str, list[Factors]] = {}
    for _, found in read:
        for name, (a, b) in found.streams.items():
            streams.setdefault(name, []).append(Factors(a, b * scale))
    with_mask = [(path, found) for path, found in read if found.mask or found.constants]
    if len(with_mask) > 1:
        raise InputError(f"{with_mask[0][0]} and {with_mask[1][0]} both hold mask corrections: give one of them")
    where = ", ".join(str(path) for path in paths)
    _attach_streams(model, streams, where)
    return _with_mask(model, with_mask[0][1], where) if with_mask else model


def _attach_streams(model: MDiT, found: dict[str, list[Factors]], where: str) -> None:
    layers, left = linear_sources(model.config), set(found)
    ranks: dict[str, int] = {}
    fused: dict[str, Factors] = {}
    modules = dict(model.named_modules())
    for target, sources in layers.items():
        present = [source for source in sources if source in found]
        if not present or target.startswith(("time_in", "guidance_in", "text_in.pooled")):
            continue
        left -= set(present)
        layer = modules[target]
        assert isinstance(layer, torch.nn.Linear)
        fused[target] = _fuse([found.get(s, []) for s in sources], layer, model.config.width, f"{where}: {present[0]}")
        ranks[target] = fused[target].a.shape[0]
    if left:
        raise InputError(f"{where} corrects the layer '{min(left)}', which can not be corrected in this model")
    attach(model, ranks)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for target, (a, b) in fused.items():
            owner, layer = ("", target) if target in STEM else (
                ".".join(target.split(".")[:3]) + ".", ".".join(target.split(".")[3:]))  # fmt: skip
            place = f"{owner}adapter.layers.{layer.replace('.', '-')}"
            parameters[f"{place}.down.weight"].copy_(a)
            parameters[f"{place}.up.weight"].copy_(b)


def _fuse(parts: list[list[Factors]], layer: torch.nn.Linear, width: int, where: str) -> Factors:
    """One correction of a fused layer from those of its parts. Parts that share their A (as ours do) keep one rank."""
    sizes = [width] * (len(parts) - 1)
    sizes.append(layer.out_features - sum(sizes))
    for each, size in zip(parts, sizes):
        for a, b in each:
            if a.ndim != 2 or b.ndim != 2 or a.shape[1] != layer.in_features or b.shape != (size, a.shape[0]):
                raise InputError(f"{where} is of another size than this model's layer")
    every = [(factors, index) for index, each in enumerate(parts) for factors in each]
    first = every[0][0].a
    if len(every) == len({index for _, index in every}) and all(torch.equal(f.a, first) for f, _ in every):
        rows = [each[0].b if each else first.new_zeros(size, first.shape[0]) for each, size in zip(parts, sizes)]
        return Factors(first, torch.cat(rows))
    b = first.new_zeros(sum(sizes), sum(f.a.shape[0] for f, _ in every))
    column = 0
    for factors, index in every:
        row = sum(sizes[:index])
        b[row : row + sizes[index], column : column + factors.b.shape[1]] = factors.b
        column += factors.b.shape[1]
    return Factors(torch.cat([f.a for f, _ in every]), b)


def _with_mask(model: MDiT, found: Corrections, where: str) -> MDiT:
    if model.config.mask_rank:
        raise InputError(f"{where}: this model has mask corrections already")
    adapted = add_mask_lora(model, mask_rank(found, where))
    parameters = dict(adapted.named_parameters())
    with torch.no_grad():
        for name, value in mask_values(adapted, found, where).items():
            parameters[name].copy_(value)
    return adapted


def mask_rank(found: Corrections, where: str) -> int:
    """The rank of a file's mask corrections; ``InputError`` where there are several, or none."""
    ranks = {factors.a.shape[0] for factors in found.mask.values()}
    if len(ranks) != 1:
        raise InputError(f"{where}: mask corrections of {len(ranks)} ranks; a file of ours has them in one")
    return ranks.pop()


def mask_values(adapted: MDiT, found: Corrections, where: str) -> dict[str, Tensor]:
    """The values of a model's mask corrections, which may lie on the meta device, by name. ``InputError`` if the file
    does not fit them."""
    values: dict[str, Tensor] = {}
    modules = dict(adapted.named_modules())
    left = set(found.mask)
    for target, sources in linear_sources(adapted.config).items():
        if "_blocks." not in target:
            continue
        name, layer = ".".join(target.split(".")[:2]), ".".join(target.split(".")[3:])
        block = modules[name]
        assert isinstance(block, Block) and isinstance(block.adapter, StreamAdapter)
        if modules[".".join(target.split(".")[:3])] is not block.base():
            continue
        if layer == "modulation.full":
            values[f"{name}.adapter.table"] = _need(found.constants, sources[0], where)
        elif layer in block.adapter.layers:
            corrected = sources[1:3] if layer == "qkv" and block.last else sources
            parts = [_need(found.mask, source, where) for source in corrected]
            left -= set(corrected)
            if any(not torch.equal(part.a, parts[0].a) for part in parts):
                raise InputError(f"{where}: the parts of '{sources[0]}' have different factors, which ours never have")
            values[f"{name}.adapter.layers.{layer}.down.weight"] = parts[0].a
            values[f"{name}.adapter.layers.{layer}.up.weight"] = torch.cat([part.b for part in parts])
    if left:
        raise InputError(f"{where} corrects the mask layer '{min(left)}', which this model does not have")
    parameters = dict(adapted.named_parameters())
    for name in mask_names(adapted):
        if parameters[name].shape != values[name].shape:
            raise InputError(f"{where}: tensor '{name}' is of another size than this model's layer")
    return values


def _need(found: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in found:
        raise InputError(f"{where}: mask corrections of tensor '{name}' are missing; they belong to another model")
    return found[name]


def read_lora(path: str | os.PathLike[str]) -> Corrections:
    """What a file, or a folder that diffusers or peft wrote, holds. ``InputError`` if that is nothing of the kind."""
    file = Path(path)
    settings: dict[str, Any] = {}
    if file.is_dir():
        if (file / PEFT_CONFIG).is_file():
            settings = json.loads((file / PEFT_CONFIG).read_text(encoding="utf-8"))
        file = file / (PEFT_FILE if settings else DIFFUSERS_FILE)
    shards = Shards(file.parent, file.name)
    tensors = {name: shards.whole(name).float() for name in shards.names()}
    if not settings:
        settings = _diffusers_settings(file)
    if settings.get("use_rslora") or settings.get("use_dora"):
        raise InputError(f"{file} is a DoRA or rank-stabilised LoRA: only plain ones can be read")
    mask = {name.removeprefix(MASK): tensors.pop(name) for name in list(tensors) if name.startswith(MASK)}
    if not mask and not any("lora" in name for name in tensors):
        raise InputError(f"{file} holds no LoRA: make one by training, see docs/mditface.md")
    streams = _pairs(_in_diffusers_names(tensors, file), settings, file)
    constants = {name.removesuffix(".lora_B.bias"): mask.pop(name) for name in list(mask) if name.endswith(".bias")}
    return Corrections(streams, _pairs(mask, {}, file), constants)


def _diffusers_settings(file: Path) -> dict[str, Any]:
    """peft's settings as diffusers stores them in the header, of the transformer."""
    with safe_open(file, framework="pt") as handle:
        text = (handle.metadata() or {}).get(DIFFUSERS_METADATA)
    try:
        found = json.loads(text) if text else {}
    except ValueError as error:
        raise InputError(f"{file} has a damaged header ({DIFFUSERS_METADATA}): fetch it again") from error
    return {name.removeprefix(OTHERS): value for name, value in found.items() if name.startswith(OTHERS)}


def _in_diffusers_names(tensors: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """The transformer's tensors under diffusers' layer names; other trainers' formats are converted by diffusers."""
    names = [name.removeprefix(PEFT_PREFIX) for name in tensors]
    ours = all(name.endswith((".lora_A.weight", ".lora_B.weight", ".alpha")) for name in names)
    if not ours:
        from diffusers.loaders.lora_pipeline import FluxLoraLoaderMixin

        try:
            found, alphas = FluxLoraLoaderMixin.lora_state_dict(dict(tensors), return_alphas=True)  # pyright: ignore
        except (ValueError, KeyError, NotImplementedError, AssertionError) as error:
            reason = (str(error).splitlines() or ["unknown layers"])[0]
            raise InputError(f"{file} is a LoRA in a format that diffusers does not convert: {reason}") from error
        tensors = {**found, **{name: torch.tensor(alpha) for name, alpha in (alphas or {}).items()}}
    out = {name.removeprefix(PEFT_PREFIX).removeprefix(OTHERS): tensor for name, tensor in tensors.items()}
    for name in out:
        if name.startswith("text_encoder"):
            raise InputError(f"{file} also changes the text encoder: only LoRAs of the transformer can be used")
    return out


def _pairs(tensors: Mapping[str, Tensor], settings: Mapping[str, Any], file: Path) -> dict[str, Factors]:
    """A and B of each layer; B times alpha / rank, where alpha is known (else it is the rank)."""
    out = {}
    for name in tensors:
        layer, _, kind = name.rpartition(".lora_A.") if ".lora_A." in name else name.rpartition(".lora_B.")
        if name.endswith(".alpha"):
            continue
        if kind != "weight" or f"{layer}.lora_B.weight" not in tensors or f"{layer}.lora_A.weight" not in tensors:
            raise InputError(f"{file}: tensor '{name}' is no half of a plain LoRA")
        a, b = tensors[f"{layer}.lora_A.weight"], tensors[f"{layer}.lora_B.weight"]
        rank = a.shape[0]
        alpha = tensors.get(f"{layer}.alpha")
        if alpha is None:
            alpha = settings.get("alpha_pattern", {}).get(layer, settings.get("lora_alpha"))
        out[layer] = Factors(a, b if alpha is None else b * (float(alpha) / rank))
    return out
