"""MDiT, the multivariate diffusion transformer of MDiTFace (arXiv 2511.12631) on FLUX.1's blocks.

The mask's stream is a *static path*: its modulation knows no time and its queries see no other stream, so, layer by
layer, its keys and values are the same at every step, for every prompt and every seed. ``static_path`` computes them,
``forward`` reads them. There is no other way to give the model a mask.

Legend: B batch, C latent channels, h x w latent grid, N image tokens, T text tokens, M mask tokens, D width, H heads,
E head size.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import DoubleBlock, MaskKV, SingleBlock
from .config import MDiTConfig
from .embedding import LabelEmbedding, Prompt, TextEmbedding, VectorEmbedder, pack, timestep_embedding, unpack
from .lora import StreamAdapter
from .modulation import Conditioning, SharedModulation, modulate
from .rope import grid_rotations, with_text

if TYPE_CHECKING:
    from .mask_cache import MaskCache


class MaskFeatures(NamedTuple):
    """What the dynamic streams read of a mask: per layer, normed and turned keys, and values."""

    keys: tuple[Tensor, ...]  # each (B, H, M, E)
    values: tuple[Tensor, ...]  # each (B, H, M, E)
    counts: Tensor | None = None  # (L, B, M), log of how many tokens a merged one stands for


class MDiT(nn.Module):
    """Velocity of a rectified flow over codec latents, given words and a region map."""

    def __init__(self, config: MDiTConfig) -> None:
        super().__init__()
        self.config = config
        self.adapter: StreamAdapter | None = None  # corrections of the layers around the blocks
        width = config.width
        self.image_in = nn.Linear(config.packed_channels, width)
        self.time_in = VectorEmbedder(256, width)
        self.guidance_in = VectorEmbedder(256, width) if config.guidance_embed else None
        self.text_in = TextEmbedding(config)
        self.mask_in = LabelEmbedding(config) if config.mask_embedding == "labels" else None
        self.no_mask = nn.Parameter(torch.empty(width)) if config.null_conditions else None
        grid = config.positions
        self.position = None if grid is None else nn.Parameter(torch.empty(grid[0] * grid[1], width))
        self.modulation = SharedModulation(config)
        last = config.blocks - 1
        doubles = config.double_blocks
        self.double_blocks = nn.ModuleList(DoubleBlock(config, last=i == last) for i in range(doubles))
        self.single_blocks = nn.ModuleList(SingleBlock(config, last=i == last) for i in range(doubles, config.blocks))
        self.head_modulation = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, config.packed_channels)

    def initialise(self, generator: torch.Generator) -> MDiT:
        """Fresh weights from a CPU generator: Glorot for projections, zero for modulations and head (adaLN-zero, DiT).

        A fresh model therefore answers zero and every block starts as the identity.
        """
        zero = (".modulation.", "head", "modulation.project", "table", ".adapter.", "bias")
        for name, parameter in self.named_parameters():
            if name.endswith("gain"):
                nn.init.ones_(parameter)
            elif name.endswith(("layers.qkv.down.weight", "layers.out.down.weight", "layers.up.down.weight",
                                "layers.down.down.weight", "modulation.down.weight")):  # fmt: skip
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5, generator=generator)
            elif any(part in name for part in zero):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2 and not name.endswith(("padding", "position")):
                nn.init.xavier_uniform_(parameter, generator=generator)
            else:  # learned stand-ins
                nn.init.normal_(parameter, std=0.02, generator=generator)
        return self

    def embed_mask(self, mask: Tensor | None, keep: Tensor | None = None, grid: tuple[int, int] = (8, 8)) -> Tensor:
        """Mask tokens (B, M, D).

        mask: uint8 region ids (B, H, W), or, with ``mask_embedding="palette"``, the codec's latents of the coloured map
        (B, C, h, w); None: the null mask alone, of ``grid`` rows and columns. keep: (B,) bool, False puts the null mask
        in a row's place. ``ValueError`` for a null mask in a model that learned none.
        """
        return self._placed(self._embed_mask(mask, keep, grid))

    def _embed_mask(self, mask: Tensor | None, keep: Tensor | None, grid: tuple[int, int]) -> Tensor:
        if (mask is None or keep is not None) and self.no_mask is None:
            raise ValueError("this model has learned no null mask: leave the mask away instead")
        if mask is None:
            assert self.no_mask is not None
            return self.no_mask.expand(1, grid[0] * grid[1], -1)
        if self.mask_in is not None:
            tokens = self.mask_in(mask)
        else:
            tokens = self.image_in(pack(mask.to(self.image_in.weight.dtype), self.config.patch))
        if keep is not None and self.no_mask is not None:
            tokens = torch.where(keep[:, None, None], tokens, self.no_mask.to(tokens.dtype))
        return tokens

    def static_path(self, tokens: Tensor, grid: tuple[int, int]) -> MaskFeatures:
        """Keys and values of all layers from mask tokens (B, M, D) of ``grid`` rows and columns (M of them).

        c_M knows no time, no prompt and no guidance [P for the time; O for the others], so one cache serves every
        step, prompt and guidance branch. Once per picture.
        """
        conditioning = self.mask_conditioning(tokens.device, tokens.dtype)
        freqs = self.rotary_frequencies(grid, 0, tokens.device)
        keys, values = [], []
        for block in [*self.double_blocks, *self.single_blocks]:
            tokens, k, v = block.static(tokens, conditioning, freqs)  # type: ignore[operator]
            keys.append(k)
            values.append(v)
        return MaskFeatures(tuple(keys), tuple(values))

    def forward(
        self,
        latents: Tensor,
        t: Tensor,
        prompt: Prompt,
        mask: MaskFeatures | MaskCache | None = None,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """Velocity v = noise - data at x_t, time t: 0 data, 1 noise.

        latents: (B, C, h, w); t: (B,) in [0, 1]; guidance: (B,), for models with ``guidance_embed`` only. Returns the
        latents' shape. Raises ``InputError`` for a cache made by another model and ``ValueError`` for guidance that
        the model does not take, or lacks.
        """
        features = mask if mask is None or isinstance(mask, MaskFeatures) else mask.features_for(self)
        patch = self.config.patch
        rows, columns = latents.shape[2:]
        text, conditioning = self.condition(t, prompt, guidance)
        x = self.embed_image(latents)  # (B, N, D)
        freqs = self.rotary_frequencies((rows // patch, columns // patch), text.shape[1], x.device)
        layers = _by_layer(features, freqs.shape[0])
        for block in self.double_blocks:
            text, x = block.dynamic(text, x, conditioning, freqs, next(layers))  # type: ignore[operator]
        tx = torch.cat([text, x], dim=1)  # (B, T + N, D)
        for block in self.single_blocks:
            tx = block.dynamic(tx, conditioning, freqs, next(layers))  # type: ignore[operator]
        return self.read_out(tx[:, text.shape[1] :], conditioning, rows, columns)

    def embed_image(self, latents: Tensor) -> Tensor:
        """(B, C, h, w) to image tokens (B, N, D)."""
        packed = pack(latents.to(self.image_in.weight.dtype), self.config.patch)
        return self._placed(self._stem("image_in", packed, self.image_in(packed)))

    def _stem(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        return y if self.adapter is None else self.adapter.apply_to(name, x, y)

    def _placed(self, tokens: Tensor) -> Tensor:
        if self.position is None:
            return tokens
        if tokens.shape[1] != len(self.position):
            raise ValueError(f"{tokens.shape[1]} tokens: this model was built for a grid of {self.config.positions}")
        return tokens + self.position.to(tokens.dtype)

    def condition(self, t: Tensor, prompt: Prompt, guidance: Tensor | None) -> tuple[Tensor, Conditioning]:
        """Text tokens (B, T, D), and c_T = c_X = MLP(t) + MLP(guidance) + MLP(pooled text)."""
        if (guidance is None) != (self.guidance_in is None):
            raise ValueError("guidance: an input of models with guidance_embed=True, and of no others")
        dtype = self.time_in.first.weight.dtype
        text, pooled = self.text_in(prompt, self.adapter)
        c = self.time_in(timestep_embedding(t).to(dtype))  # (B, D)
        if guidance is not None and self.guidance_in is not None:
            c = c + self.guidance_in(timestep_embedding(guidance).to(dtype))
        return text, self.modulation(c + pooled)

    def mask_conditioning(self, device: torch.device, dtype: torch.dtype) -> Conditioning:
        """c_M = MLP(t = 0), one row; where guidance is an input, plus MLP(guidance = 1)."""
        c_m = self.time_in(timestep_embedding(torch.zeros(1, device=device)).to(dtype))  # (1, D)
        if self.guidance_in is not None:
            c_m = c_m + self.guidance_in(timestep_embedding(torch.ones(1, device=device)).to(dtype))
        return self.modulation(c_m)

    def read_out(self, x: Tensor, conditioning: Conditioning, rows: int, columns: int) -> Tensor:
        """Image tokens (B, N, D) to latents (B, C, h, w); text and mask tokens are not read."""
        modulation = self._stem("head_modulation", conditioning.active, self.head_modulation(conditioning.active))
        scale, shift = modulation[:, None].chunk(2, dim=2)
        h = modulate(x, shift, scale)
        return unpack(self._stem("head", h, self.head(h)), self.config.patch, rows, columns)

    def rotary_frequencies(self, grid: tuple[int, int], text: int, device: torch.device) -> Tensor:
        """Rotations of ``text`` text tokens and a grid of image tokens: (T + N, E / 2)."""
        return with_text(grid_rotations(*grid, self.config.rope_axes, self.config.rope_theta, device), text)


def _by_layer(features: MaskFeatures | None, dynamic: int) -> Iterator[MaskKV | None]:
    """What each block reads of the mask, in order. dynamic: T + N, whose keys get nothing on top of their logits."""
    if features is None:
        yield from repeat(None)
        return
    counts = features.counts
    bias = repeat(None) if counts is None else F.pad(counts, (dynamic, 0))[:, :, None, None].unbind()
    yield from zip(features.keys, features.values, bias)
