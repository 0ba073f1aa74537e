"""What a painter asks of a codec with continuous latents, whichever it is.

Two shapes of latents occur: a grid (B, C, h, w), of the autoencoders of Stable Diffusion, FLUX and their kind
(`KLCodec`), and tokens (B, V + N, P), V vectors that stand for no place before a grid of N tokens row by row
(`GeneratorCodec`). A flow treats both alike, since it works number by number.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from limner.codecs.continuous import KLCodec
from limner.codecs.generator_codec import CODEC_FILE, GeneratorCodec
from limner.weights.store import locate


def load_latent_codec(source: str | Path) -> KLCodec | GeneratorCodec:
    """A codec with continuous latents, by what its folder holds. Raises ``InputError`` as the two classes do."""
    return GeneratorCodec.load(source) if (locate(source) / CODEC_FILE).is_file() else KLCodec.load(source)


def decode_at(codec: KLCodec | GeneratorCodec, latents: Tensor, size: int) -> Tensor:
    """Pictures of a side. The latents of a KL codec have one size; those of a generator codec any it offers."""
    return codec.decode(latents, size) if isinstance(codec, GeneratorCodec) else codec.decode(latents)
