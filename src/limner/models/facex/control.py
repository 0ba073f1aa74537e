"""FRC, the facial representation controller: what is trained, saved on its own, and loaded onto any UNet of a family.

Legend: B pictures, Q image tokens of a block, C its channels, N face tokens, D control width.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.errors import InputError
from limner.weights.tensors import check_keys, load_tensors, read_tensors, save_tensors

from .assemble import RepresentationAssembler
from .config import ControlConfig
from .plan import FACTORS, MOTION

FORMAT = "limner facex controller 1"


class FaceAttention(nn.Module):
    """γ·CrossAttn(z, face tokens), added to what a block's own cross-attention with the words gives.

    γ starts at zero, so that an untrained controller changes nothing. Our choice: words and face read the same
    normalised z side by side, because that is where diffusers' public hook stands.
    """

    def __init__(self, channels: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(channels, channels, bias=False)
        self.k, self.v = nn.Linear(width, channels, bias=False), nn.Linear(width, channels, bias=False)
        self.out = nn.Linear(channels, channels)
        self.gain = nn.Parameter(torch.zeros(1))  # γ

    def forward(self, z: Tensor, face: Tensor) -> Tensor:
        """z: (B, Q, C); face: (B, N, D)."""
        q, k, v = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project, x in ((self.q, z), (self.k, face), (self.v, face))
        )
        read = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.gain * self.out(read)


class FaceInTime(nn.Module):
    """What holds for a face as a whole, as a shift of the UNet's time embedding; it starts at zero.

    Of identity's tokens the vector alone, of motion and light all: the cells of identity's map and the regions'
    textures are of a place, and stay with cross-attention. Each channel is read by how far it is from its mean over
    some faces (``fit``), since most of a token is the same for everybody.
    """

    def __init__(self, assembler: RepresentationAssembler, time_width: int) -> None:
        super().__init__()
        factors, identity = assembler.factor_of, FACTORS.index("identity")
        whole = torch.isin(factors, torch.tensor([FACTORS.index(name) for name in (*MOTION, "light")]))
        whole[torch.nonzero(factors == identity)[-1]] = True  # the vector stands last
        self.register_buffer("chosen", torch.nonzero(whole)[:, 0], persistent=False)
        channels = len(self.chosen) * assembler.config.width
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.project = nn.Linear(channels, time_width, bias=False)
        nn.init.zeros_(self.project.weight)

    chosen: Tensor
    mean: Tensor
    deviation: Tensor

    def forward(self, face: Tensor) -> Tensor:
        """face: (B, N, D), as the assembler gives it; returns (B, time width)."""
        tokens = ((face[:, self.chosen].flatten(1) - self.mean) / self.deviation).unflatten(1, (len(self.chosen), -1))
        return self.project(F.layer_norm(tokens, tokens.shape[-1:]).flatten(1).to(face))  # dropped ones are far away

    @torch.no_grad()
    def fit(self, faces: Tensor) -> None:
        """Means and deviations of some faces' tokens (B, N, D)."""
        tokens = faces[:, self.chosen].flatten(1)
        self.mean.copy_(tokens.mean(0))
        self.deviation.copy_(tokens.std(0).clamp_min(1e-3))


class Controller(nn.Module):
    """The representation assembler, one FaceAttention a block, and the extra channels of the first convolution; where
    the configuration says so, also what a face adds to the time embedding."""

    def __init__(self, config: ControlConfig, first_channels: int) -> None:
        super().__init__()
        self.config, self.first_channels = config, first_channels
        self.assembler = RepresentationAssembler(config)
        self.attentions = nn.ModuleList(
            FaceAttention(channels, config.width, heads)
            for channels, heads in zip(config.attention_widths, config.attention_heads)
        )
        self.reference = None
        if config.region_assembler:
            # the weights of the extra input channels: reference latent and mask; zero [O]
            self.reference = nn.Conv2d(config.latent_channels + 1, first_channels, 3, padding=1, bias=False)
            nn.init.zeros_(self.reference.weight)
        self.whole = FaceInTime(self.assembler, config.time_width) if config.time_factors else None

    @torch.no_grad()
    def begin(self, gain: float) -> None:
        """Start from γ = gain and drawn weights for the reference instead of zeros (our choice, for short training)."""
        for attention in self.attentions:
            attention.get_parameter("gain").fill_(gain)
        if self.reference is not None:
            self.reference.reset_parameters()


def family_of(unet: Any) -> dict[str, Any]:
    """What a controller has to know of a UNet: its cross-attention blocks, in its own order, and its ends."""
    blocks = [module for name, module in unet.named_modules() if name.endswith(".attn2")]
    return {
        "attention_widths": tuple(int(block.to_q.in_features) for block in blocks),
        "attention_heads": tuple(int(block.heads) for block in blocks),
        "latent_channels": int(unet.config.in_channels),
        "time_width": int(unet.time_embedding.linear_2.out_features),
    }


def check_base(config: ControlConfig, unet: Any, name: str) -> None:
    """Raise ``InputError`` with the reason when a controller does not fit a UNet."""
    for what, found in family_of(unet).items():
        wanted = getattr(config, what)
        if found != wanted and (what != "time_width" or config.time_factors):
            raise InputError(
                f"this controller does not fit {name}: {what.replace('_', ' ')} are {_short(found)} there, and "
                f"{_short(wanted)} in the family it was trained for; give another base"
            )


def new_controller(unet: Any, config: ControlConfig) -> Controller:
    """An untrained controller for a UNet."""
    fields = family_of(unet)
    return Controller(config.replaced(**fields), unet.conv_in.out_channels)


def save_controller(
    controller: Controller, path: str | os.PathLike[str], facts: dict[str, Any], dtype: torch.dtype = torch.float16
) -> None:
    """The controller alone, its configuration and the facts (base, guidance, …) in the header."""
    header = {
        **facts,
        "format": FORMAT,
        "controller": controller.config.to_dict(),
        "first_channels": controller.first_channels,
    }
    save_tensors(path, controller.state_dict(), header, dtype=dtype)


def read_controller_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The header of a controller; ``InputError`` if the file is something else."""
    header = read_tensors(path)[1]
    if header.get("format") != FORMAT:
        raise InputError(f"{path} holds no FaceX controller: its header does not say so")
    return header


def load_controller(path: str | os.PathLike[str]) -> tuple[Controller, dict[str, Any]]:
    """The controller and its header. ``InputError`` for another kind of file, or another version of limner's."""
    header = read_controller_header(path)
    try:
        config, first = ControlConfig.from_dict(header["controller"]), int(header["first_channels"])
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{Path(path).name} is a controller of another version of limner: {error}") from error
    controller = Controller(config, first)
    tensors = load_tensors(path)[0]
    check_keys(tensors, controller.state_dict(), where=str(path))
    controller.load_state_dict({key: value.float() for key, value in tensors.items()})
    return controller.eval().requires_grad_(False), header


def start_from(controller: Controller, path: str | os.PathLike[str]) -> None:
    """Fill a controller from a file to train it on. What goes into the time embedding may be missing there: it then
    stays at zero. ``InputError`` for a file of another kind or other sizes."""
    tensors, wanted = load_tensors(path)[0], controller.state_dict()
    begun = {key: value for key, value in wanted.items() if key.startswith("whole.") and key not in tensors}
    check_keys(tensors | begun, wanted, where=str(path))
    controller.load_state_dict(tensors | begun)


def _short(values: object) -> str:
    if isinstance(values, tuple) and len(values) > 6:
        return f"{', '.join(map(str, values[:3]))} … {', '.join(map(str, values[-2:]))} ({len(values)} of them)"
    return ", ".join(map(str, values)) if isinstance(values, tuple) else str(values)
