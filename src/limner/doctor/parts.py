"""The published checkpoints, part by part: where their files lie, what they hold, and one forward pass of each.

Parameters and number types are those of the published files; parameters were counted on empty networks of the published
configurations (`tests/house/test_doctor.py` counts them again).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Figures = dict[str, float]
Forward = Callable[[Path, torch.device, torch.dtype], Figures]
"""(checkpoint's folder, device, number type) to figures worth reporting. Loads the part as the engines do."""

BF16, F32 = ("BF16",), ("F32",)
PHOTOGRAPH = "face-10038.jpg"
ANY = ("F32", "BF16", "F16")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One network of a checkpoint."""

    name: str
    """Its folder in the checkpoint; "." for the checkpoint's own."""
    weights: tuple[str, ...]
    """Names its weight file may have; an index of shards has `.index.json` on top."""
    types: tuple[str, ...]
    """Number types its floating tensors are published in, by safetensors' names."""
    parameters: int | None
    """Published number of numbers in floating tensors; None where the sizes differ between releases."""
    forward: Forward
    names: Callable[[Path], dict[str, tuple[int, ...]]] | None = None
    """Tensors that must be there, and their shapes, for parts whose loader would only warn."""


DIFFUSERS = ("diffusion_pytorch_model.safetensors",)
TRANSFORMERS = ("model.safetensors",)


@torch.no_grad()
def flux_transformer(folder: Path, device: torch.device, dtype: torch.dtype) -> Figures:
    """One evaluation at 128 × 128 pixels with 16 text tokens, and the static path of a mask."""
    from limner.models.mditface.embedding import Prompt
    from limner.models.mditface.flux import from_flux
    from limner.models.mditface.mask_cache import encode_mask

    model = from_flux(folder, dtype, device)
    generator = torch.Generator().manual_seed(0)
    grid = torch.randn(1, model.config.latent_channels, 16, 16, generator=generator).to(device)
    prompt = Prompt(
        torch.randn(1, 16, model.config.text_width, generator=generator).to(device),
        torch.randn(1, model.config.text_pooled, generator=generator).to(device),
    )
    guidance = torch.full((1,), 3.5, device=device) if model.config.guidance_embed else None
    times = torch.full((1,), 0.8, device=device)
    plain = model(grid, times, prompt, None, guidance)
    masked = model(grid, times, prompt, encode_mask(model, grid), guidance)
    return {**spread(plain, "velocity"), "mask changes it by": float((masked - plain).abs().mean())}


@torch.no_grad()
def autoencoder(folder: Path, device: torch.device, dtype: torch.dtype) -> Figures:
    """A bundled portrait to latents and back: how near it comes (dB; the published ones reach 30 and more)."""
    from limner.codecs.continuous import KLCodec

    codec = KLCodec.load(folder / "vae").to(device)
    picture = portrait(256).to(device)
    latents = codec.encode(picture)
    return {**spread(latents, "latents"), "round trip dB": psnr(codec.decode(latents), picture)}


@torch.no_grad()
def t5(folder: Path, device: torch.device, dtype: torch.dtype) -> Figures:
    """Token features of one prompt."""
    return _text(folder / "text_encoder_2", folder / "tokenizer_2", device, dtype)


@torch.no_grad()
def clip_text(folder: Path, device: torch.device, dtype: torch.dtype) -> Figures:
    """Token features of one prompt."""
    return _text(folder / "text_encoder", folder / "tokenizer", device, dtype)


def _text(folder: Path, tokenizer: Path, device: torch.device, dtype: torch.dtype) -> Figures:
    from limner.words.transformers_encoders import TransformersEncoder

    encoder = TransformersEncoder.load(folder, tokenizer, device, dtype)
    found = encoder.encode(["a smiling woman with grey hair"])
    return {**spread(found.tokens, "features"), "tokens": int(found.mask.sum())}


@torch.no_grad()
def unet(folder: Path, device: torch.device, dtype: torch.dtype) -> Figures:
    """One evaluation at the smallest grid."""
    from limner.models.facex.base import load_unet

    network = load_unet(folder / "unet", dtype).to(device)
    generator = torch.Generator().manual_seed(0)
    grid = torch.randn(1, network.config.in_channels, 16, 16, generator=generator)
    words = torch.randn(1, 8, network.config.cross_attention_dim, generator=generator)
    times = torch.tensor([500], device=device)
    out = network(grid.to(device, dtype), times, encoder_hidden_states=words.to(device, dtype)).sample
    return spread(out, "prediction")


@torch.no_grad()
def show_o(folder: Path, device: torch.device, dtype: torch.dtype, config: Any = None) -> Figures:
    """Logits of a short sequence of text."""
    from limner.models.unif2ace.config import SHOWO
    from limner.models.unif2ace.showo import from_showo

    sizes = config or SHOWO
    model = from_showo(folder, sizes, dtype).to(device)
    ids = torch.arange(1, 9, device=device)[None]
    hidden = model(ids, None, "understand").hidden
    logits = model.logits(hidden)
    return {**spread(logits, "logits"), "vocabulary": logits.shape[-1]}


@torch.no_grad()
def magvit(folder: Path, device: torch.device, dtype: torch.dtype) -> Figures:
    """A bundled portrait to codes and back."""
    from limner.codecs.discrete import LFQCodec

    codec = LFQCodec.load(folder).to(device)
    picture = portrait(256).to(device)
    codes = codec.encode(picture)
    back = codec.decode(codes)
    return {**spread(back, "picture"), "different codes": len(codes.unique()), "round trip dB": psnr(back, picture)}


@torch.no_grad()
def clip(folder: Path, device: torch.device, dtype: torch.dtype) -> Figures:
    """Vision features of a bundled portrait and text features of one prompt."""
    from limner.models.unif2ace.encoders import load_encoder

    seen = load_encoder(str(folder), "clip").encode(portrait(256))
    words = _text(folder, folder, device, dtype)
    return {**spread(seen, "vision features"), **{f"text {name}": value for name, value in words.items()}}


def clip_text_names(folder: Path) -> dict[str, tuple[int, ...]]:
    """What transformers' CLIP text model of that folder's configuration holds."""
    return _names(folder / "text_encoder", "CLIPTextConfig", "CLIPTextModel")


def t5_names(folder: Path) -> dict[str, tuple[int, ...]]:
    """The same of the T5 encoder; the embedding may be stored under either of its two names."""
    found = _names(folder / "text_encoder_2", "T5Config", "T5EncoderModel")
    found.pop("encoder.embed_tokens.weight", None)
    return found


def clip_names(folder: Path) -> dict[str, tuple[int, ...]]:
    """The same of a whole CLIP model."""
    return _names(folder, "CLIPConfig", "CLIPModel")


def _names(folder: Path, config: str, model: str) -> dict[str, tuple[int, ...]]:
    import transformers

    described = getattr(transformers, config).from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        network = getattr(transformers, model)(described)
    return {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}


def portrait(side: int) -> Tensor:
    """A bundled photograph, (1, 3, side, side) in [-1, 1]."""
    import numpy as np
    from PIL import Image

    from limner.faces.image_tensors import to_model
    from limner.faces.picture import read_picture

    photo = Image.fromarray(read_picture((files("limner.demo") / "photographs" / PHOTOGRAPH).read_bytes())).resize(
        (side, side), Image.Resampling.LANCZOS
    )
    return to_model(np.asarray(photo)[None])


def spread(values: Tensor, name: str) -> Figures:
    """Mean and deviation of an output. `ValueError` where it is not finite, or constant, which no real weights give."""
    values = values.float()
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"its {name} are not finite")
    if float(values.std()) == 0:
        raise ValueError(f"its {name} are all the same number")
    return {f"{name} mean": float(values.mean()), f"{name} deviation": float(values.std())}


def psnr(found: Tensor, wanted: Tensor) -> float:
    """Decibels, of pictures in [-1, 1]."""
    return float(-10 * torch.log10((found.float() - wanted).square().mean() / 4))


FLUX_PARTS = {
    "vae": Part(name="vae", weights=DIFFUSERS, types=BF16, parameters=83_819_683, forward=autoencoder),
    "text_encoder": Part(
        name="text_encoder", weights=TRANSFORMERS, types=BF16, parameters=123_060_480, forward=clip_text,
        names=clip_text_names,
    ),
    "text_encoder_2": Part(
        name="text_encoder_2", weights=TRANSFORMERS, types=BF16, parameters=4_762_310_656, forward=t5, names=t5_names
    ),
}  # fmt: skip


def _transformer(parameters: int) -> Part:
    return Part(
        name="transformer", weights=DIFFUSERS, types=BF16, parameters=parameters, forward=flux_transformer
    )  # fmt: skip


CHECKPOINTS: dict[str, tuple[Part, ...]] = {
    "flux-schnell": (_transformer(11_891_178_560), *FLUX_PARTS.values()),
    "flux-dev": (_transformer(11_901_408_320), *FLUX_PARTS.values()),
    "stable-diffusion-1.5": (
        Part(name="unet", weights=DIFFUSERS, types=F32, parameters=859_520_964, forward=unet),
        Part(name="vae", weights=DIFFUSERS, types=F32, parameters=83_653_863, forward=autoencoder),
        Part(
            name="text_encoder", weights=TRANSFORMERS, types=F32, parameters=123_060_480, forward=clip_text,
            names=clip_text_names,
        ),
    ),
    "show-o": (
        Part(
            name=".", weights=("model.safetensors", "pytorch_model.safetensors"), types=ANY, parameters=None,
            forward=show_o,
        ),
    ),
    "magvit-v2": (
        Part(
            name=".", weights=("model.safetensors", "pytorch_model.safetensors"), types=ANY, parameters=None,
            forward=magvit,
        ),
    ),
    "clip-l": (
        Part(name=".", weights=TRANSFORMERS, types=F32, parameters=427_616_513, forward=clip, names=clip_names),
    ),
}  # fmt: skip
"""By the registry's name."""
