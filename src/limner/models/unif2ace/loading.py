"""Everything an engine needs, from one weight file: the header names the codec, the tokenizer and the encoders.

A companion is a registry name, or a file or folder: first looked for beside the weights, then as it is written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from limner.codecs.discrete import LFQCodec
from limner.errors import InputError, WeightsError
from limner.weights.fingerprint import weights_hash
from limner.weights.registry import registry
from limner.weights.store import locate
from limner.weights.tensors import load_into, read_config

from .config import UniF2aceConfig
from .encoders import load_encoder
from .features import FeatureEncoder
from .tokenizer import Tokenizer
from .transformer import UniF2aceTransformer

DEFAULT = "unif2ace-nano"
FILE = "model.safetensors"
COMPANIONS = ("codec", "codec_hash", "tokenizer", "tokenizer_hash", "clip", "face")
"""What of a prepared set's header goes into the header of weights trained on it."""


@dataclass(frozen=True)
class UniF2aceComponents:
    """A model and what it needs around it, all of one place and ready to use."""

    model: UniF2aceTransformer
    codec: LFQCodec
    tokenizer: Tokenizer
    clip: FeatureEncoder | None
    face: FeatureEncoder | None
    guidance: float
    """Guidance that paintings use unless told otherwise."""
    temperature: float
    """Temperature of the sampler ``confidence``, likewise."""
    name: str
    """What was asked for."""

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.head.weight.device

    @property
    def size(self) -> int:
        """Side of its pictures, in pixels."""
        return round(self.model.config.image_tokens**0.5) * self.codec.factor


def weight_file(source: str | os.PathLike[str]) -> Path:
    """The weight file a registry name, a file or a folder stands for. ``InputError`` where there is none."""
    source = DEFAULT if str(source) == "unif2ace" else source
    if str(source) == DEFAULT and DEFAULT not in registry():
        raise WeightsError(
            f"weights '{DEFAULT}' are not part of this version of limner: train them (docs/unif2ace.md), "
            "and name their folder"
        )
    place = locate(source)
    file = place / FILE if place.is_dir() else place
    if not file.is_file():
        raise InputError(f"{place} holds no UniF²ace: {FILE} is missing")
    return file


def is_unif2ace(source: str | os.PathLike[str]) -> bool:
    """Whether weights at that place are a UniF²ace's; a name that means one counts before it is on this machine."""
    if str(source) in ("unif2ace", DEFAULT):
        return True
    place = locate(source)
    file = place / FILE if place.is_dir() else place
    return file.suffix == ".safetensors" and file.is_file() and "tokenizer_hash" in read_config(file)


def load_components(
    source: str | os.PathLike[str], device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> UniF2aceComponents:
    """Load a registry name, a weight file or its folder, with its companions.

    Raises ``InputError`` naming what is missing, or which companion is another than the weights were trained with.
    """
    file = weight_file(source)
    header = read_config(file)
    absent = [name for name in ("model", *COMPANIONS) if name not in header]
    if absent:
        raise InputError(f"{file} is no trained UniF²ace: its header has no '{absent[0]}'")
    config = UniF2aceConfig.from_dict(header["model"])
    with torch.device("meta"):
        model = UniF2aceTransformer(config)
    load_into(model, file)
    model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
    tokenizer = Tokenizer.load(companion(file, header["tokenizer"]))
    if tokenizer.hash != header["tokenizer_hash"]:
        raise InputError(f"{file} was trained with another tokenizer than '{header['tokenizer']}' here")
    codec = LFQCodec.load(companion(file, header["codec"])).to(device)
    if weights_hash(codec.encoder) != header["codec_hash"]:
        raise InputError(f"{file} was trained with another encoder than that of '{header['codec']}' here")
    clip = face = None
    if config.sequence_experts:
        clip = load_encoder(str(companion(file, header["clip"])), "clip")
        face = load_encoder(str(companion(file, header["face"])), "face")
    guidance, temperature = float(header.get("guidance", 5.0)), float(header.get("temperature", 1.0))
    return UniF2aceComponents(model, codec, tokenizer, clip, face, guidance, temperature, str(source))


def companion(file: Path, name: str) -> str | Path:
    """Where a companion of a weight file is: beside it, or, where nothing of that name is, as it is written."""
    beside = file.parent / name
    return beside if beside.exists() else name
