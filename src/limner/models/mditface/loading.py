"""The parts of a painter, from nano weights or from a FLUX.1 pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limner.codecs.continuous import KLCodec
from limner.errors import InputError
from limner.weights.store import locate
from limner.weights.tensors import check_keys, load_tensors, read_tensors
from limner.words.encoder import MiniLM, TextEncoder

from .config import MDiTConfig
from .flux import from_flux, read_flux_config
from .flux_times import read_shift
from .lora_file import load_lora
from .lora_fusion import fuse_mask_lora
from .transformer import MDiT

MASK_LORA = "mask_lora.safetensors"
"""Name of the mask corrections in a saved pipeline's folder."""


@dataclass(frozen=True)
class MDiTFaceComponents:
    """Everything a painter paints with."""

    model: MDiT
    codec: KLCodec
    encoder: TextEncoder
    size: int
    """Side of a picture in pixels unless told otherwise."""
    fixed: bool
    """Whether it can paint no other size."""
    shift: Callable[[int], float]
    """Shift of the sampling times by number of image tokens."""
    guidance: float
    """Guidance of words unless told otherwise."""
    guided: bool = True
    """Whether guidance changes anything: FLUX.1-schnell is distilled to a fixed one."""
    steps: int = 28
    """Sampling steps unless told otherwise."""
    text_length: int = 32
    """Text tokens a prompt is padded or cut to."""


def load_components(
    source: str | os.PathLike[str],
    device: torch.device,
    dtype: torch.dtype,
    lora: Sequence[str | os.PathLike[str]] = (),
    text_length: int | None = None,
) -> MDiTFaceComponents:
    """Load what ``source`` names: nano weights (one file) or a FLUX.1 pipeline folder in diffusers' format.

    lora: files of corrections, for FLUX. text_length: text tokens of FLUX (see ``flux_text_length``); None: the
    published number. Raises ``InputError`` with the way out.
    """
    place = Path(locate(source))
    if is_pipeline(place):
        return _flux(place, device, dtype, lora, text_length)
    if lora:
        raise InputError("--lora holds corrections for FLUX.1: nano weights take none")
    if text_length is not None:
        raise InputError("--text-length is a setting of FLUX.1: the length of nano weights is fixed")
    return _nano(weight_file(place), device, dtype)


def is_pipeline(place: Path) -> bool:
    """Whether a folder is a FLUX.1 pipeline in diffusers' layout."""
    return place.is_dir() and ((place / "transformer").is_dir() or (place / "model_index.json").is_file())


def saved_loras(source: str | os.PathLike[str]) -> list[Path]:
    """The corrections that ``save_pretrained`` wrote into a pipeline's folder."""
    place = Path(locate(source))
    if not is_pipeline(place) or not (place / MASK_LORA).is_file():
        return []
    return [place / MASK_LORA, *sorted(place.glob("lora-*.safetensors"))]


def weight_file(place: Path) -> Path:
    """The one weight file of a folder, or the file itself. ``InputError`` for a folder with none, or several."""
    if place.is_file():
        return place
    files = sorted(place.glob("*.safetensors"))
    if len(files) != 1:
        raise InputError(f"{place} holds no painter: give one weight file, or the folder of a FLUX.1 pipeline")
    return files[0]


def _nano(file: Path, device: torch.device, dtype: torch.dtype) -> MDiTFaceComponents:
    config, header = read_header(file)
    with torch.device("meta"):
        model = MDiT(config)
    tensors = load_tensors(file)[0]
    check_keys(tensors, model.state_dict(), where=str(file))
    model.load_state_dict({key: value.to(device, dtype) for key, value in tensors.items()}, strict=True, assign=True)
    codec = KLCodec.load(header.get("codec", "kl-codec-nano")).to(device)
    shift = float(header.get("shift", 1.0))
    side = int(header.get("size", 256))
    guidance = float(header.get("guidance", 3.0))
    model = model.eval().requires_grad_(False)
    return MDiTFaceComponents(
        fuse_mask_lora(model) if config.mask_weights == "lora" else model,
        codec,
        MiniLM.load(device=device),
        side,
        True,
        lambda tokens: shift,
        guidance,
        text_length=config.text_length,
    )


def read_header(file: Path) -> tuple[MDiTConfig, dict[str, Any]]:
    """The model's configuration and the whole header of nano weights; ``InputError`` if the file is something else."""
    header = read_tensors(file)[1]
    model = header.get("model")
    if not isinstance(model, dict):
        raise InputError(
            f"{file} holds no MDiTFace weights: its header describes no such model; give --engine a painter's file"
        )
    try:
        return MDiTConfig.from_dict(model), header
    except (ValueError, TypeError) as error:  # a field of another name, value or type
        raise InputError(f"{file} holds no MDiTFace weights of this version of limner: {error}") from error


def flux_encoder(folder: Path, device: torch.device | str, dtype: torch.dtype) -> TextEncoder:
    """FLUX.1's text encoders from a pipeline's folder: T5 for tokens (which see the padding), CLIP for pooled."""
    from limner.words.transformers_encoders import PairedEncoder, TransformersEncoder

    return PairedEncoder(
        TransformersEncoder.load(folder / "text_encoder_2", folder / "tokenizer_2", device, dtype, attend_padding=True),
        TransformersEncoder.load(folder / "text_encoder", folder / "tokenizer", device, dtype),
    )


def flux_text_length(folder: Path, wanted: int | None = None) -> int:
    """T5 tokens of a prompt, padding included, in sampling, and so in training: 512 for FLUX.1-dev, 256 for schnell.

    wanted: fewer, which are cheaper (diffusers calls it ``max_sequence_length``): the padding that is left out is what
    the other queries no longer read. ``InputError`` outside 1 to the published number.
    """
    published = read_flux_config(folder).text_length
    if wanted is not None and not 1 <= wanted <= published:
        raise InputError(f"text length {wanted}: this FLUX.1 takes 1 to {published} tokens")
    return published if wanted is None else wanted


def _flux(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    lora: Sequence[str | os.PathLike[str]],
    text_length: int | None,
) -> MDiTFaceComponents:
    length = flux_text_length(folder, text_length)
    model = from_flux(folder, dtype, device)
    model = load_lora(model, *lora) if lora else model
    dev = model.config.guidance_embed
    return MDiTFaceComponents(
        model=model.requires_grad_(False),
        codec=KLCodec.load(folder / "vae").to(device),
        encoder=flux_encoder(folder, device, dtype),
        size=512,
        fixed=False,
        shift=read_shift(folder, dev),
        guidance=3.5 if dev else 1.0,
        guided=dev,
        steps=28 if dev else 4,
        text_length=length,
    )
