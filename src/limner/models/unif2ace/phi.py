"""Phi checkpoints in transformers' own format as the backbone, with the vocabulary enlarged.

Nothing is trained or guessed here but the rows of new tokens and, where asked for, norms of queries and keys.

Legend: D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limner.errors import InputError
from limner.json_lines import parse_object
from limner.weights.tensors import check_keys, load_sharded

from .config import UniF2aceConfig
from .tokenizer import Tokenizer
from .transformer import UniF2aceTransformer

WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer_config.json"

# Ours <- Phi's, outside the blocks and in them; several names are stacked in this order.
STEM = {"embed": "model.embed_tokens", "norm": "model.final_layernorm", "head": "lm_head"}
BLOCK = {
    "norm": ("input_layernorm",),
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.out": ("self_attn.dense",),
    "attention.q_norm": ("self_attn.q_layernorm",),
    "attention.k_norm": ("self_attn.k_layernorm",),
    "ffn.shared.0.up": ("mlp.fc1",),
    "ffn.shared.0.down": ("mlp.fc2",),
}


def phi_names(config: UniF2aceConfig) -> dict[str, tuple[str, ...]]:
    """Tensor names of a dense model, each with the names in a Phi checkpoint it is stacked from."""
    names: dict[str, tuple[str, ...]] = {}
    for ours, theirs in STEM.items():
        for part in ("weight",) if ours == "embed" else ("weight", "bias"):
            names[f"{ours}.{part}"] = (f"{theirs}.{part}",)
    for layer in range(config.layers):
        for ours, theirs in BLOCK.items():
            if config.qk_norm or not ours.endswith(("q_norm", "k_norm")):
                for part in ("weight", "bias"):
                    sources = tuple(f"model.layers.{layer}.{name}.{part}" for name in theirs)
                    names[f"blocks.{layer}.{ours}.{part}"] = sources
    return names


def phi_shapes(config: UniF2aceConfig) -> dict[str, Tensor]:
    """What a Phi checkpoint of these sizes must hold: names and shapes, as tensors without memory."""
    with torch.device("meta"):
        model = UniF2aceTransformer(config.dense())
    wanted, names = model.state_dict(), phi_names(config)
    return {
        theirs: part
        for ours, sources in names.items()
        for theirs, part in zip(sources, wanted[ours].chunk(len(sources)))
    }


def from_phi_names(config: UniF2aceConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A Phi checkpoint's tensors under our names, projections stacked."""
    names = phi_names(config)
    return {ours: torch.cat([tensors[theirs] for theirs in sources]) for ours, sources in names.items()}


def phi_config(values: Mapping[str, Any], **fields: Any) -> UniF2aceConfig:
    """The dense configuration of a transformers ``PhiConfig``; ``fields`` set what Phi does not know, or go before it.

    ``InputError`` for another kind of model, for variants whose arithmetic differs, and where neither says which ids
    start and end a text.
    """
    kind = values.get("model_type")
    if kind != "phi":
        raise InputError(f"config.json describes a model of type {kind!r}: the backbone is a 'phi'")
    needed = ("num_attention_heads", "vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size",
              "layer_norm_eps")  # fmt: skip
    if missing := [name for name in needed if name not in values]:
        raise InputError(f"config.json has no {missing[0]!r}: it is not a Phi's")
    heads, rope = values["num_attention_heads"], values.get("rope_parameters") or values
    if values.get("num_key_value_heads") not in (None, heads):
        raise InputError("this Phi shares keys between heads (num_key_value_heads): use Phi-1.5, which does not")
    if rope.get("rope_type", "default") != "default" or values.get("rope_scaling"):
        raise InputError("this Phi scales its rotary positions: use Phi-1.5, which does not")
    if values.get("hidden_act", "gelu_new") != "gelu_new" or values.get("tie_word_embeddings"):
        raise InputError("this Phi has another activation than gelu_new, or tied embeddings: use Phi-1.5")
    known: dict[str, Any] = {
        "text_vocabulary": values["vocab_size"], "width": values["hidden_size"], "layers": values["num_hidden_layers"],
        "heads": heads, "mlp_width": values["intermediate_size"], "rope_theta": float(rope.get("rope_theta", 10_000.0)),
        "partial_rotary_factor": float(rope.get("partial_rotary_factor", values.get("partial_rotary_factor", 0.5))),
        "qk_norm": bool(values.get("qk_layernorm", False)), "gelu": "tanh", "norm_eps": values["layer_norm_eps"],
        "sot": values.get("bos_token_id"), "eot": values.get("eos_token_id"),
        "token_experts": 0, "sequence_experts": False,
    }  # fmt: skip
    known |= fields
    if unsaid := [name for name in ("sot", "eot") if known[name] is None]:
        raise InputError(
            f"config.json does not say which ids start and end a text: put {TOKENIZER} and tokenizer.json beside it, "
            f"or give {unsaid[0]}="
        )
    return UniF2aceConfig(**known)


def mark_ids(folder: Path) -> dict[str, int]:
    """``sot`` and ``eot`` as a folder's tokenizer has them, those that it names: Phi-1.5's ``config.json`` has null."""
    file = folder / TOKENIZER
    if not file.is_file() or not (folder / "tokenizer.json").is_file():
        return {}
    said, tokenizer, ids = parse_object(file.read_text(encoding="utf-8"), str(file)), Tokenizer.load(folder), {}
    for ours, theirs in (("sot", "bos_token"), ("eot", "eos_token")):
        token = said.get(theirs)
        token = token.get("content") if isinstance(token, dict) else token
        if token is not None:
            ids[ours] = tokenizer.id_of(token)
    return ids


def from_phi(
    folder: str | Path, dtype: torch.dtype = torch.float32, seed: int = 0, **fields: Any
) -> UniF2aceTransformer:
    """Load a Phi folder (``config.json`` and safetensors, one file or sharded), its vocabulary enlarged.

    fields: of ``UniF2aceConfig``. ``text_vocabulary`` is the tokenizer's length, which may be below Phi's rows
    (Phi-1.5: 50,295 of 51,200); special tokens and image codes then take over its unused rows, as in Show-o, and rows
    beyond are drawn normal with deviation 0.02, ``seed`` deciding. ``qk_norm`` gives norms of queries and keys to a Phi
    that has none, as Phi-1.5, with weight 1 and bias 0: what Show-o was trained from [S], another function than Phi's.
    Start and end of text are those of ``config.json``, or of the tokenizer's files beside it. Strict: a missing,
    unexpected or mis-shaped tensor is an ``InputError`` that names it.
    """
    place = Path(folder)
    file = place / "config.json"
    if not file.is_file():
        raise InputError(f"{place} is not a Phi folder in transformers' format: config.json is missing")
    values = parse_object(file.read_text(encoding="utf-8"), str(file))
    marks = {} if None not in (values.get("bos_token_id"), values.get("eos_token_id")) else mark_ids(place)
    config = phi_config(values, **{**marks, **fields})
    normed = bool(values.get("qk_layernorm", False))
    tensors = {name: tensor.to(dtype) for name, tensor in load_sharded(place, WEIGHTS)}
    wanted = phi_shapes(config if normed else replace(config, qk_norm=False))
    for name in ("model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"):
        wanted[name] = wanted[name].new_empty(values["vocab_size"], *wanted[name].shape[1:])
    check_keys(tensors, wanted, where=str(place))
    for name in phi_shapes(config).keys() - wanted.keys():  # norms that Phi has not
        fresh = torch.ones if name.endswith("weight") else torch.zeros
        tensors[name] = fresh(config.head_size, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    for name in ("model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"):
        new = torch.zeros(config.vocabulary, *tensors[name].shape[1:])
        if new.ndim == 2:
            new.normal_(std=0.02, generator=generator)
        kept = min(len(new), len(tensors[name]))
        new[:kept] = tensors[name][:kept]
        tensors[name] = new.to(dtype)
    return fill(config, from_phi_names(config, tensors))


def fill(config: UniF2aceConfig, tensors: dict[str, Tensor]) -> UniF2aceTransformer:
    """A model of those very tensors, built without memory of its own."""
    with torch.device("meta"):
        model = UniF2aceTransformer(config)
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval()
