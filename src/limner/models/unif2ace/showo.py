"""Show-o's published checkpoints, and UniF²ace as it starts from one: the same function, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from limner.errors import InputError
from limner.weights.tensors import check_keys, load_sharded

from .config import PRESETS, SHOWO, UniF2aceConfig
from .phi import fill, from_phi_names, phi_shapes
from .transformer import UniF2aceTransformer

PREFIX = "showo."
WEIGHTS = ("model.safetensors", "pytorch_model.safetensors")
PICKLED = "pytorch_model.bin"


def from_showo(
    folder: str | Path, config: UniF2aceConfig = SHOWO, dtype: torch.dtype = torch.float32
) -> UniF2aceTransformer:
    """Load a Show-o folder: ``config.json`` and safetensors with names ``showo.model…`` and ``showo.lm_head…``.

    The weights are one of WEIGHTS, whole or in shards with an index. config: the sizes expected, of which Show-o's own
    ``config.json`` holds few (it names Phi-1.5 instead); image tokens are compared with it. Strict: the first missing,
    unexpected or mis-shaped tensor is an ``InputError`` that names it. The variants that read CLIP instead of image
    codes have a tensor ``mm_projector.0.weight`` too, and are refused by that name.
    """
    place = Path(folder)
    if not (place / "config.json").is_file():
        raise InputError(f"{place} is not a Show-o folder: config.json is missing")
    values = json.loads((place / "config.json").read_text(encoding="utf-8"))
    for name, wanted in (("vocab_size", config.vocabulary), ("codebook_size", config.codebook)):
        if values.get(name, wanted if name != "vocab_size" else None) != wanted:
            raise InputError(f"{place}: {name} is {values.get(name)}, this model's is {wanted}: not this Show-o")
    theirs = values.get("num_vq_tokens", config.image_tokens)
    if theirs != config.image_tokens:
        raise InputError(
            f"{place} was trained with {theirs} image tokens, this model has {config.image_tokens}: {_way_out(theirs)}"
        )
    found = [name for name in WEIGHTS if (place / name).is_file() or (place / f"{name}.index.json").is_file()]
    if not found:
        way = "save it as safetensors first with tools/convert/showo.py of the source"
        pickled = f"; {PICKLED} can run code when read: {way}" if (place / PICKLED).exists() else ""
        raise InputError(f"{place} holds no {WEIGHTS[0]}{pickled}")
    tensors = {name: tensor.to(dtype) for name, tensor in load_sharded(place, found[0])}
    check_keys(tensors, {PREFIX + name: shape for name, shape in phi_shapes(config).items()}, where=str(place))
    named = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    return fill(config.dense(), from_phi_names(config, named))


def _way_out(tokens: int) -> str:
    """Which preset fits a checkpoint of so many image tokens."""
    fitting = [name for name, preset in PRESETS.items() if preset.image_tokens == tokens and name != "nano"]
    return f"give --preset {' or '.join(fitting)}" if fitting else "no preset has that many"


def add_experts(model: UniF2aceTransformer, config: UniF2aceConfig, seed: int = 0) -> UniF2aceTransformer:
    """UniF²ace of ``config`` that starts as the dense ``model``: same logits, bit for bit in float32.

    The pretrained network becomes the shared expert (both, where groups have their own), routed experts' way down
    starts at zero and the sequence level's scale too; all else that is new is drawn, ``seed`` deciding. ``ValueError``
    where ``config`` differs from the model in more than experts.
    """
    ours, theirs = config.dense().to_dict(), model.config.dense().to_dict()
    free = {"shared_experts", "token_top_k", "expert_width", "sequence_top_k", "clip_width", "face_width",
            "resampler_width", "resampler_layers", "resampler_heads", "text_length"}  # fmt: skip
    different = [name for name in ours if name not in free and ours[name] != theirs[name]]
    if model.config != model.config.dense():
        raise ValueError("this model has experts already: add them to a dense one")
    if different:
        name = different[0]
        raise ValueError(f"{name}={ours[name]}: the dense model's is {theirs[name]}; only experts can be added")
    old: dict[str, Tensor] = model.state_dict()
    new = UniF2aceTransformer(config).initialise(torch.Generator().manual_seed(seed)).state_dict()
    for name in new:
        source = name.replace(".ffn.shared.1.", ".ffn.shared.0.")
        new[name] = old[source].clone() if source in old else new[name].to(old["norm.weight"].dtype)
    return fill(config, new)
