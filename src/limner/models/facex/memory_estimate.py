"""The sizes a training plan needs of a FaceX recipe, counted on empty networks; neither data nor weights are opened.

Our choice of the base, since a recipe names only its folder: Stable Diffusion 1.5 at 512 pixels for the preset "full",
for "nano" a base of the sizes that `facex-base` recipes have by default. Of the networks that judge pictures the
decoder is counted, the two small ones behind it are not.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from limner.training.flop_counter import count
from limner.training.memory_estimate import Shape
from limner.weights.store import EMBEDDED

from .base_task import BaseSettings, new_unet
from .config import PRESETS, ControlConfig
from .control import Controller, new_controller
from .reference import Reference
from .steer import SteeredUNet
from .task import FaceXSettings

STABLE_DIFFUSION: dict[str, Any] = {"cross_attention_dim": 768, "sample_size": 64}
DECODER: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
WORDS = {"full": (77, 768), "nano": (48, 384)}
"""Text tokens and their width, by preset."""
NANO_CODEC = "kl-codec-nano"


def shape(settings: dict[str, Any]) -> Shape:
    """A sample is one picture, its tokens the cells of the latent grid."""
    s = FaceXSettings.model_validate(settings)
    with torch.device("meta"):
        unet, codec = _base(s.preset)
        controller = new_controller(unet, ControlConfig(**{**PRESETS[s.preset], **s.model}))
    unet.requires_grad_(not s.freeze_unet)
    codec.requires_grad_(False)
    side, channels = int(unet.config.sample_size), int(unet.config.in_channels)
    steered = SteeredUNet(unet, controller)
    sample = count(lambda: _paint(steered, channels, side, WORDS[s.preset]), [*_all(unet), *_all(controller)])
    judged = None
    if s.image_loss_rows and (s.identity_weight or s.lpips_weight):
        judged = count(lambda: _decoded(codec, s.image_loss_rows, channels, side), _all(codec))
    beside = sum(p.numel() for p in codec.parameters())
    if s.freeze_unet:
        model: torch.nn.Module = controller
        beside += sum(p.numel() for p in unet.parameters())
    else:
        model = torch.nn.ModuleDict({"controller": controller, "unet": unet})
    return Shape(model=model, tokens=side * side, sample=sample, batch=judged, beside=beside)


def _base(preset: str) -> tuple[Any, Any]:
    """An empty UNet and its codec."""
    from diffusers import AutoencoderDC, AutoencoderKL, UNet2DConditionModel

    if preset == "full":
        unet: Any = UNet2DConditionModel(**STABLE_DIFFUSION)
        return unet, AutoencoderKL(**DECODER)
    config = json.loads((EMBEDDED / NANO_CODEC / "config.json").read_text())
    s = BaseSettings(data="nowhere")
    latent = (int(config["latent_channels"]), 16, 16)
    codec: Any = AutoencoderDC.from_config(config)
    return new_unet(latent, WORDS[preset][1], s.widths, s.layers, s.heads), codec


def _paint(steered: SteeredUNet, channels: int, side: int, words: tuple[int, int]) -> Tensor:
    controller: Controller = steered.controller
    face = torch.zeros(1, controller.assembler.tokens, controller.config.width, requires_grad=True)
    grid = torch.zeros(1, channels, side, side)
    return steered(grid, torch.zeros(1), torch.zeros(1, *words), None, face, Reference(grid, grid[:, :1]))


def _decoded(codec: Any, rows: int, channels: int, side: int) -> Tensor:
    return codec.decode(torch.zeros(rows, channels, side, side, requires_grad=True)).sample


def _all(network: torch.nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
