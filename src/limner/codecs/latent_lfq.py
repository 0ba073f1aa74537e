"""Latents of a generator codec ↔ discrete codes: a lookup-free quantiser between two small transformers.

A grid token becomes q × q codes of C bits, so that 8 × 8 tokens make a 16 × 16 grid of codes, row by row. The style
token has no code of its own: the encoder reads it, and the decoder predicts it from all codes (our choice: because a
model that paints codes then has one kind of token).

Legend: B pictures, N = n × n grid tokens, P numbers a token, q codes along a token's side, C bits, K = 2^C codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limner.codecs.generator_codec import CODEC_FILE, GeneratorCodec
from limner.codecs.quantizer import Quantised, Quantizer
from limner.codecs.token_transformer import TokenTransformer
from limner.errors import InputError
from limner.files import write_json_atomic
from limner.weights.configs import from_header, to_header
from limner.weights.registry import hash_file
from limner.weights.store import locate
from limner.weights.tensors import load_into, save_tensors

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True, kw_only=True)
class LatentLFQConfig:
    """The sizes of the two transformers and of the codes."""

    base: str = "generator-codec"
    """Registry name or folder of the codec whose latents are coded."""
    bits: int = 13
    """C; the codebook has 2^C codes."""
    codes: int = 2
    """q: codes along one side of a grid token."""
    width: int = 256
    """Width of both transformers."""
    heads: int = 4
    """Attention heads of both."""
    encoder_layers: int = 4
    """Layers from latents to codes."""
    decoder_layers: int = 8
    """Layers from codes to latents."""

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 24:
            raise ValueError(f"bits={self.bits}: between 1 and 24")
        if self.width % self.heads:
            raise ValueError(f"width={self.width}: must be a multiple of heads={self.heads}")

    @property
    def codebook(self) -> int:
        """K."""
        return 1 << self.bits


class LatentLFQCodec(nn.Module):
    """Pictures or latents ↔ codes (B, (q·n)²) below 2^bits, row by row."""

    def __init__(self, config: LatentLFQConfig | None = None, base: GeneratorCodec | None = None) -> None:
        """base: the codec that the config names, if it is loaded already; it is not changed."""
        super().__init__()
        self.config = config = config or LatentLFQConfig()
        self.base = (base or GeneratorCodec.load(config.base)).eval().requires_grad_(False)
        tokens, width = self.base.latent_shape()
        sizes = (tokens, config.width, config.heads)
        self.encoder = TokenTransformer(width, config.codes**2 * config.bits, *sizes, config.encoder_layers)
        self.decoder = TokenTransformer(config.codes**2 * config.bits, width, *sizes, config.decoder_layers)
        self.style_query = nn.Parameter(torch.zeros(config.codes**2 * config.bits))
        self.quantize = Quantizer(config.bits)

    @property
    def factor(self) -> int:
        """Pixels per code along one side."""
        return self.base.config.size // (self.base.config.grid * self.config.codes)

    @classmethod
    def load(cls, source: str | Path) -> LatentLFQCodec:
        """A registry name or folder. Strict; a base other than the one it was trained with is an ``InputError``."""
        import json

        folder = locate(source)
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if "latent_lfq" not in values:
            raise InputError(f"{folder / CONFIG} does not describe a codec of latents")
        config = from_header(LatentLFQConfig, values["latent_lfq"])
        if values.get("base_sha256") != hash_file(locate(config.base) / CODEC_FILE):
            raise InputError(f"{folder} was trained with another '{config.base}' than is here: install its version")
        codec = cls(config)
        load_into(_Own(codec), folder / WEIGHTS)
        return codec.eval().requires_grad_(False)

    def save(self, folder: Path, facts: dict[str, Any], dtype: torch.dtype = torch.float16) -> None:
        """Write a folder that ``load`` reads; ``facts`` stand in the header of its weights."""
        save_tensors(folder / WEIGHTS, _Own(self).state_dict(), facts, dtype=dtype)
        base = hash_file(locate(self.config.base) / CODEC_FILE)
        write_json_atomic(folder / CONFIG, {"latent_lfq": to_header(self.config), "base_sha256": base})

    def quantise(self, latents: Tensor) -> Quantised:
        """Bits and codes of latents (B, 1 + N, P), with a gradient; ``z`` is (B, C, q·n, q·n)."""
        q, n = self.config.codes, self.base.config.grid
        bits = self.encoder(latents)[:, 1:]  # (B, N, q q C)
        grid = bits.unflatten(1, (n, n)).unflatten(3, (q, q, self.config.bits))  # (B, n, n, q, q, C)
        return self.quantize(grid.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3))

    def restore(self, z: Tensor) -> Tensor:
        """Latents (B, 1 + N, P) of bits (B, C, q·n, q·n) of ±1."""
        q, n = self.config.codes, self.base.config.grid
        grid = z.unflatten(3, (n, q)).unflatten(2, (n, q)).permute(0, 2, 4, 3, 5, 1)  # (B, n, n, q, q, C)
        tokens = grid.flatten(3).flatten(1, 2)  # (B, N, q q C)
        query = self.style_query.to(tokens.dtype).expand(len(tokens), 1, -1)
        return self.decoder(torch.cat([query, tokens], 1))

    def encode_latents(self, latents: Tensor) -> Tensor:
        """Codes (B, (q·n)²) of latents (B, 1 + N, P)."""
        return self.quantise(latents).codes

    def decode_latents(self, codes: Tensor) -> Tensor:
        """Latents (B, 1 + N, P) of codes (B, (q·n)²)."""
        if not 0 <= int(codes.min()) <= int(codes.max()) < self.config.codebook:
            raise ValueError(f"codes go from 0 to {self.config.codebook - 1}: paint until none is masked")
        return self.restore(self.quantize.signs(codes, self.base.config.grid * self.config.codes))

    def decode(self, codes: Tensor, rows: int | None = None, size: int | None = None) -> Tensor:
        """Pictures (B, 3, size, size) of codes, in [-1, 1]. rows: how many rows of codes; only the whole grid's."""
        side = self.base.config.grid * self.config.codes
        if rows not in (None, side) or codes.shape[1] != side**2:
            raise ValueError(f"{codes.shape[1]} codes in {rows} rows: this codec has {side} × {side}")
        return self.base.decode(self.decode_latents(codes), size)


class _Own(nn.Module):
    """What of a codec its own file holds: everything but the base."""

    def __init__(self, codec: LatentLFQCodec) -> None:
        super().__init__()
        self.encoder, self.decoder, self.quantize = codec.encoder, codec.decoder, codec.quantize
        self.style_query = codec.style_query
