"""Steering: a controller's hands on a UNet, through diffusers' own hooks (attention processors, its first convolution).

Legend: B pictures, C latent channels, h w latent grid, T text tokens, N face tokens, D control width.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor, nn

from .control import Controller, FaceAttention, check_base
from .reference import Reference

FACE = "face"
"""Name under which face tokens travel in diffusers' ``cross_attention_kwargs``."""


class SelfAttention(AttnProcessor2_0):
    """diffusers' own processor; face tokens pass by."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, face=None):
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


class CrossAttention(AttnProcessor2_0):
    """diffusers' own processor, plus what the block's FaceAttention reads in the face tokens, if there are any."""

    def __init__(self, attention: FaceAttention) -> None:
        super().__init__()
        self.attention = attention

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, face=None):
        words = super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        return words if face is None else words + self.attention(hidden_states, face)


class WidenedInput(nn.Module):
    """The first convolution over latents ⊕ reference ⊕ mask, as the sum over its two groups of input channels.

    The same as one convolution with more input channels; kept apart so that the base stays whole and the same, and so
    that zero weights change not one bit.
    """

    def __init__(self, base: nn.Module, reference: nn.Module, channels: int) -> None:
        super().__init__()
        self.base, self.channels = base, channels
        self._reference = (reference,)  # the controller's, not a part of the UNet

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w), or (B, 2C + 1, h, w) with reference and mask."""
        if x.shape[1] == self.channels:
            return self.base(x)
        return self.base(x[:, : self.channels]) + self._reference[0](x[:, self.channels :])


class ShiftedTime(nn.Module):
    """The base's time embedding plus what a face adds to it, which travels as diffusers' ``timestep_cond``."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, time: Tensor, shift: Tensor | None = None) -> Tensor:
        """time: (B, T), as the base reads it; shift: (B, W) or None for the plain embedding."""
        embedded = self.base(time)
        return embedded if shift is None else embedded + shift


class SteeredUNet:
    """A UNet with a controller on it; ``release`` takes it off again. The UNet's weights are never touched."""

    def __init__(self, unet: Any, controller: Controller, name: str = "this base") -> None:
        check_base(controller.config, unet, name)
        self.unet, self.controller = unet, controller
        self._before = dict(unet.attn_processors)
        blocks = iter(controller.attentions)
        order = {id(module): f"{name}.processor" for name, module in unet.named_modules() if name.endswith(".attn2")}
        processors: dict[str, Any] = {key: SelfAttention() for key in self._before}
        for key in order.values():
            attention = next(blocks)
            assert isinstance(attention, FaceAttention)
            processors[key] = CrossAttention(attention)
        unet.set_attn_processor(processors)
        if controller.reference is not None:
            unet.conv_in = WidenedInput(unet.conv_in, controller.reference, controller.config.latent_channels)
        if controller.whole is not None:
            unet.time_embedding = ShiftedTime(unet.time_embedding)

    def __call__(
        self,
        latents: Tensor,
        times: Tensor,
        text: Tensor,
        text_mask: Tensor | None,
        face: Tensor | None,
        reference: Reference | None,
    ) -> Tensor:
        """What the UNet predicts (B, C, h, w).

        latents: (B, C, h, w) with noise; times: (B,) of its training schedule; text: (B, T, W); text_mask: (B, T) bool
        or None; face: (B, N, D) or None for the plain UNet.
        """
        x, whole = latents, self.controller.whole
        if reference is not None and self.controller.reference is not None:
            x = torch.cat([latents, reference.latents.to(x), reference.mask.to(x)], 1)
        return self.unet(
            x,
            times,
            encoder_hidden_states=text,
            timestep_cond=None if face is None or whole is None else whole(face),
            encoder_attention_mask=text_mask,
            cross_attention_kwargs=None if face is None else {FACE: face},
        ).sample

    def plain_state(self) -> dict[str, Tensor]:
        """The UNet's tensors under its own names, as they are without a controller on it."""
        return {
            key.replace("conv_in.base.", "conv_in.").replace("time_embedding.base.", "time_embedding."): value
            for key, value in self.unet.state_dict().items()
        }

    def release(self) -> Any:
        """The UNet as it was."""
        self.unet.set_attn_processor(self._before)
        if isinstance(self.unet.conv_in, WidenedInput):
            self.unet.conv_in = self.unet.conv_in.base
        if isinstance(self.unet.time_embedding, ShiftedTime):
            self.unet.time_embedding = self.unet.time_embedding.base
        return self.unet
