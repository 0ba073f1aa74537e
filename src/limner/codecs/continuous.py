"""Pictures ↔ continuous latents, through any autoencoder in diffusers' format.

B batch, C latent channels, f spatial factor. The same class serves the nano codec (an `AutoencoderDC`) and the ones of
Stable Diffusion and FLUX (`AutoencoderKL`) or their tiny stand-ins (`AutoencoderTiny`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limner.codecs.deep_compression import DeepCompressionAutoencoder, is_supported
from limner.errors import InputError
from limner.weights.store import locate
from limner.weights.tensors import load_tensors

KINDS = ("AutoencoderKL", "AutoencoderDC", "AutoencoderTiny")


class KLCodec(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] ↔ latents (B, C, H/f, W/f) of about unit variance.

    Latents are (z − shift_factor)·scaling_factor, as diffusers' pipelines use them, so samplers see one scale
    whatever the codec.
    """

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder: Any = autoencoder  # ours, or one of KINDS; diffusers gives them no common type
        config = autoencoder.config
        self.channels = int(config["latent_channels"])
        self.factor = _factor(config)
        self.scale = float(config.get("scaling_factor") or 1.0)
        self.shift = float(config.get("shift_factor") or 0.0)

    @classmethod
    def load(cls, source: str | Path = "kl-codec-nano", dtype: torch.dtype = torch.float32) -> KLCodec:
        """Load a registry name or a folder with `config.json` and `diffusion_pytorch_model.safetensors`.

        Raises InputError for a folder of another kind of model and for weights that do not fit its config.
        """
        folder = locate(source)
        config_file = folder / "config.json"
        if not config_file.is_file():
            raise InputError(f"{folder} is no autoencoder in diffusers' format: config.json is missing")
        config = json.loads(config_file.read_text())
        kind = config.get("_class_name")
        if kind not in KINDS:
            raise InputError(f"{config_file} describes {kind!r}; a codec is one of {', '.join(KINDS)}")
        autoencoder = _make(kind, config)
        weights, _ = load_tensors(folder / "diffusion_pytorch_model.safetensors")
        weights = {_current_name(key): value for key, value in weights.items()}
        expected = autoencoder.state_dict()
        for key in sorted(expected.keys() | weights.keys()):
            if key not in weights or key not in expected or weights[key].shape != expected[key].shape:
                raise InputError(f"the weights in {folder} do not fit its config.json; first difference: {key}")
        # copied, because a file's own memory lies unaligned
        autoencoder.load_state_dict({k: v.to(torch.float32, copy=True) for k, v in weights.items()}, assign=True)
        if dtype != torch.float32:
            autoencoder = autoencoder.to(dtype)
        return cls(autoencoder).eval().requires_grad_(False)

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents of pictures; the mean of the posterior where the autoencoder has one (no sampling noise)."""
        encoded = self.autoencoder.encode(pictures)
        if isinstance(encoded, Tensor):
            latents = encoded
        elif hasattr(encoded, "latent_dist"):
            latents = encoded.latent_dist.mode()
        else:
            latents = encoded.latent if hasattr(encoded, "latent") else encoded.latents
        return (latents - self.shift) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of latents, clipped to [-1, 1]."""
        decoded = self.autoencoder.decode(latents / self.scale + self.shift)
        return (decoded if isinstance(decoded, Tensor) else decoded.sample).clamp(-1, 1)


def _make(kind: str, config: dict[str, Any]) -> Any:
    """An autoencoder without weights: our own where it covers the configuration, else diffusers'."""
    if kind == "AutoencoderDC" and is_supported(config):
        with torch.device("meta"):
            return DeepCompressionAutoencoder(config)
    import diffusers

    return getattr(diffusers, kind).from_config(config)


# How diffusers called an autoencoder's attention before 0.13; Stable Diffusion 1.5's file still does.
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def _current_name(key: str) -> str:
    parts = key.split(".")
    if "attentions" in parts and len(parts) > 1:
        parts[-2] = _OLD_NAMES.get(parts[-2], parts[-2])
    return ".".join(parts)


def _factor(config: Any) -> int:
    widths = config["block_out_channels" if "block_out_channels" in config else "encoder_block_out_channels"]
    return 2 ** (len(widths) - 1)
