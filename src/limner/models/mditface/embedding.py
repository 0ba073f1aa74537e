"""From latents, times, words and region maps to tokens.

Legend: B batch, C latent channels, h x w latent grid, N image tokens, M mask tokens, T text tokens, K classes, D width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import MDiTConfig
from .lora import StreamAdapter


def pack(latents: Tensor, patch: int) -> Tensor:
    """(B, C, h, w) to tokens (B, N, C p p), row by row, channel slowest within a token, as FLUX packs."""
    batch, channels, rows, columns = latents.shape
    if rows % patch or columns % patch:
        raise ValueError(f"latents are {rows} x {columns}: both sides must be multiples of the patch, {patch}")
    grid = latents.view(batch, channels, rows // patch, patch, columns // patch, patch)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch * patch)


def unpack(tokens: Tensor, patch: int, rows: int, columns: int) -> Tensor:
    """Inverse of ``pack``; ``rows`` and ``columns`` are the latent grid's. (B, C, h, w)"""
    batch, _, width = tokens.shape
    grid = tokens.view(batch, rows // patch, columns // patch, width // patch**2, patch, patch)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(batch, width // patch**2, rows, columns)


def timestep_embedding(t: Tensor, channels: int = 256) -> Tensor:
    """cos, then sin, of 1000 t at ``channels / 2`` frequencies from 1 down to 1e-4 [R].

    t: (B,). Returns float32 (B, channels).
    """
    half = channels // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = 1000.0 * t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class VectorEmbedder(nn.Module):
    """Linear, SiLU, linear: from a vector of some width to the conditioning width D."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.second = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, inputs). Returns (B, D)."""
        return self.second(F.silu(self.first(x)))


@dataclass(frozen=True)
class Prompt:
    """Text features as the transformer takes them. An empty prompt is one with no kept token."""

    tokens: Tensor  # (B, T, text width)
    pooled: Tensor  # (B, pooled width)
    keep: Tensor | None = None  # (B, T) bool, False where a position is padding; None: all are words

    def without(self, drop: Tensor) -> Prompt:
        """Empty where ``drop`` (B,) is True."""
        return replace(self, keep=self.kept() & ~drop[:, None])

    def kept(self) -> Tensor:
        """(B, T) bool: which positions hold words."""
        if self.keep is not None:
            return self.keep
        return torch.ones(self.tokens.shape[:2], dtype=torch.bool, device=self.tokens.device)

    def empty(self) -> Prompt:
        """The empty prompt of the same shape."""
        return self.without(torch.ones(self.tokens.shape[0], dtype=torch.bool, device=self.tokens.device))

    def to(self, device: torch.device) -> Prompt:
        """The same on another device."""
        return Prompt(self.tokens.to(device), self.pooled.to(device), self.kept().to(device))

    def repeat(self, count: int) -> Prompt:
        """Each prompt ``count`` times in a row."""
        tokens, pooled, keep = (x.repeat_interleave(count, 0) for x in (self.tokens, self.pooled, self.kept()))
        return Prompt(tokens, pooled, keep)

    @staticmethod
    def join(prompts: list[Prompt]) -> Prompt:
        """One batch of several; they have the same number of tokens."""
        return Prompt(
            torch.cat([prompt.tokens for prompt in prompts]),
            torch.cat([prompt.pooled for prompt in prompts]),
            torch.cat([prompt.kept() for prompt in prompts]),
        )


class TextEmbedding(nn.Module):
    """Text tokens to width D, pooled text to the conditioning; learned vectors where there is no text.

    Our choice: padding becomes a learned vector per position instead of being hidden from attention, so the empty
    prompt is a learned token set, every batch has one shape and no attention mask is needed.
    """

    def __init__(self, config: MDiTConfig) -> None:
        super().__init__()
        self.norm = config.text_norm
        self.tokens = nn.Linear(config.text_width, config.width)
        self.pooled = VectorEmbedder(config.text_pooled, config.width)
        learned = config.null_conditions
        self.padding = nn.Parameter(torch.empty(config.text_length, config.width)) if learned else None
        self.no_text = nn.Parameter(torch.empty(config.width)) if learned else None

    def forward(self, prompt: Prompt, lora: StreamAdapter | None = None) -> tuple[Tensor, Tensor]:
        """Returns tokens (B, T, D) and the pooled text's share of the conditioning (B, D).

        lora: may correct the tokens' projection.
        """
        tokens, pooled = prompt.tokens, prompt.pooled
        if self.norm:
            tokens, pooled = (F.layer_norm(x.float(), x.shape[-1:]) for x in (tokens, pooled))
        dtype = self.tokens.weight.dtype
        tokens = tokens.to(dtype)
        out, share = self.tokens(tokens), self.pooled(pooled.to(dtype))
        out = out if lora is None else lora.apply_to("text_in.tokens", tokens, out)
        if self.padding is None or self.no_text is None or prompt.keep is None:
            return out, share
        padding = self.padding[: out.shape[1]].to(out.dtype)
        out = torch.where(prompt.keep[:, :, None], out, padding)
        return out, torch.where(prompt.keep.any(1)[:, None], share, self.no_text.to(share.dtype))


def class_shares(regions: Tensor, config: MDiTConfig) -> Tensor:
    """Area of each class in each cell of each token, counted on every second pixel.

    regions: uint8 (B, H, W) at the picture's size. Returns float32 (B, M, cells * K) in [0, 1]. ``ValueError`` if a
    label is not a class, or a side is no multiple of a token's.
    """
    token, cell, classes = config.token_pixels, config.mask_cell, config.mask_classes
    batch, height, width = regions.shape
    if height % token or width % token:
        raise ValueError(f"a region map is {height} x {width}: both sides must be multiples of {token}")
    if int(regions.max()) >= classes:
        raise ValueError(f"a region map holds label {int(regions.max())}: labels are 0 to {classes - 1}")
    side, half = token // cell, cell // 2
    labels = regions[:, 1::2, 1::2].long()
    grid = labels.view(batch, height // token, side, half, width // token, side, half)
    grid = grid.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, -1, side * side, half * half)  # (B, M, cells, samples)
    shares = torch.zeros(*grid.shape[:3], classes, device=regions.device)
    ones = torch.full((), 1.0 / grid.shape[3], device=regions.device).expand(grid.shape)
    return shares.scatter_add_(3, grid, ones).flatten(2)


class LabelEmbedding(nn.Module):
    """Region map to mask tokens by a learned embedding of class shares: exact labels, no codec pass [O].

    A token stands for 32 x 32 pixels at nano; cells of 4 pixels keep brows, lips and ear rings, which are 5 to 10
    pixels thick.
    """

    def __init__(self, config: MDiTConfig) -> None:
        super().__init__()
        self.config = config
        cells = (config.token_pixels // config.mask_cell) ** 2
        self.first = nn.Linear(cells * config.mask_classes, config.width)
        self.second = nn.Linear(config.width, config.width)

    def forward(self, regions: Tensor) -> Tensor:
        """regions: uint8 (B, H, W). Returns (B, M, D)."""
        shares = class_shares(regions, self.config).to(self.first.weight.dtype)
        return self.second(F.gelu(self.first(shares)))
