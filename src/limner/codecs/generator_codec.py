"""Pictures ↔ latents of a pretrained face generator: its coarse features and its style are the latents.

The generator is cut after ``cut`` blocks. The lower half gives features F = f(w) of S × S places; they are projected on
their principal components and whitened. The style w, which the upper half needs too, becomes one vector token. The
upper half is the decoder. A decoder that knows only faces forgives what a small model gets slightly wrong
(representation autoencoders, arXiv 2510.11690, use the same idea with an encoder in the generator's place).

Legend: B pictures, D = 512 style channels, C components a place, S side of the grid, p patch, N = (S/p)² grid tokens,
P = C·p² numbers a token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.codecs.generator import Generator, GeneratorConfig, SeparableConvolution, ToPicture
from limner.errors import InputError
from limner.weights.configs import from_header, to_header
from limner.weights.store import locate
from limner.weights.tensors import load_into, load_tensors, save_tensors

if TYPE_CHECKING:
    from limner.codecs.photo_encoder import PhotoEncoder

GENERATOR_FILE = "generator.safetensors"
CODEC_FILE = "codec.safetensors"


@dataclass(frozen=True, kw_only=True)
class GeneratorCodecConfig:
    """How latents are cut out of a generator."""

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    """The shape of the generator."""
    cut: int = 1
    """Blocks in the lower half; the grid has 4 · 2^cut places along a side."""
    channels: int = 128
    """C: principal components kept at each place."""
    patch: int = 1
    """p: places along one side of a token."""
    head: tuple[int, int, int] = (5, 128, 64)
    """Blocks that run before the light head, and its two widths. The head's picture has the side that the generator's
    own picture would have after that many blocks and two doublings."""

    def __post_init__(self) -> None:
        if not 0 < self.cut < self.head[0] <= self.generator.blocks:
            raise ValueError(f"cut={self.cut}, head={self.head}: 0 < cut < head[0] ≤ {self.generator.blocks}")
        if not 0 < self.channels <= self.generator.widths[self.cut]:
            raise ValueError(f"channels={self.channels}: 1 to {self.generator.widths[self.cut]}")
        if self.side % self.patch:
            raise ValueError(f"patch={self.patch}: a divisor of the {self.side} places along a side")
        if self.token_width > self.generator.style:
            raise ValueError(f"channels · patch² = {self.token_width}: at most {self.generator.style}, a style's width")

    @property
    def side(self) -> int:
        """S: places of the feature grid along one side."""
        return self.generator.start * 2**self.cut

    @property
    def grid(self) -> int:
        """Tokens along one side: S / p."""
        return self.side // self.patch

    @property
    def token_width(self) -> int:
        """P: numbers in a token, the style token's included."""
        return self.channels * self.patch**2

    @property
    def size(self) -> int:
        """Side of the head's picture in pixels."""
        return self.generator.start * 2 ** (self.head[0] + 1)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides of pictures that ``decode`` makes: the head's, and those between it and the generator's own."""
        found, side = [self.size], self.size * 2
        while side <= self.generator.size:
            found.append(side)
            side *= 2
        return tuple(found)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GeneratorCodecConfig:
        """From JSON; an unknown field raises ``ValueError``."""
        generator = from_header(GeneratorConfig, values.get("generator", {}))
        return from_header(cls, {**values, "generator": generator})

    def to_dict(self) -> dict[str, Any]:
        """Inverse of ``from_dict``."""
        return {**to_header(self), "generator": to_header(self.generator)}


class PictureHead(nn.Module):
    """Features (B, C, S, S) of a middle block → picture (B, 3, 2S, 2S): distilled from the generator's own picture.

    Our choice: two modulated separable convolutions at the features' own side, then wavelet coefficients of the
    picture, because the generator's last layers take nine tenths of its time.
    """

    def __init__(self, channels: int, widths: tuple[int, int], side: int, style: int) -> None:
        super().__init__()
        self.convolution_1 = SeparableConvolution(channels, widths[0], side, style)
        self.convolution_2 = SeparableConvolution(widths[0], widths[1], side, style)
        self.to_picture = ToPicture(widths[1], style)

    def forward(self, features: Tensor, w: Tensor) -> Tensor:
        return self.to_picture(self.convolution_2(self.convolution_1(features, w), w), w)


class GeneratorCodec(nn.Module):
    """Latents (B, 1 + N, P): one style token, then N grid tokens row by row; each number has unit variance.

    The variances are those of the generator's own faces (``fit``). ``encode_style`` gives the latents of a style;
    ``decode`` gives pictures of any latents, also of a grid with a foreign style.
    """

    def __init__(self, config: GeneratorCodecConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GeneratorCodecConfig()
        self.folder: Path | None = None  # where it was loaded from
        style, width, count = config.generator.style, config.token_width, config.generator.widths[config.cut]
        self.generator = Generator(config.generator)
        blocks, *widths = config.head
        side = config.generator.start * 2**blocks
        self.head = PictureHead(config.generator.widths[blocks], (widths[0], widths[1]), side, style)
        self.register_buffer("mean", torch.zeros(config.side, config.side, count))  # of features, per place
        self.register_buffer("basis", torch.eye(count, config.channels))  # principal components, columns
        self.register_buffer("deviation", torch.ones(config.channels))  # of each component around the place's mean
        self.register_buffer("style_basis", torch.eye(style, width))
        self.register_buffer("style_deviation", torch.ones(width))

    def latent_shape(self, size: int | None = None) -> tuple[int, int]:
        """(1 + N, P): the shape of one picture's latents, the same for every size of the picture."""
        return 1 + self.config.grid**2, self.config.token_width

    @classmethod
    def load(cls, source: str | Path = "generator-codec") -> GeneratorCodec:
        """A registry name, or a folder with ``generator.safetensors`` and ``codec.safetensors``. Strict."""
        folder = locate(source)
        tensors, header = load_tensors(folder / CODEC_FILE)
        if "generator_codec" not in header:
            raise InputError(f"{folder / CODEC_FILE} is not a generator codec: its header has no 'generator_codec'")
        codec = cls(GeneratorCodecConfig.from_dict(header["generator_codec"]))
        load_into(codec.generator, folder / GENERATOR_FILE)
        own = {name: value for name, value in codec.state_dict().items() if not name.startswith("generator.")}
        missing = sorted(own.keys() ^ tensors.keys())
        if missing or any(own[name].shape != tensors[name].shape for name in own):
            raise InputError(f"{folder / CODEC_FILE} does not fit its own header; first difference: {missing[:1]}")
        codec.load_state_dict({name: value.float() for name, value in tensors.items()}, strict=False)
        codec.folder = folder
        return codec.eval().requires_grad_(False)

    def save(self, folder: Path, facts: dict[str, Any], dtype: torch.dtype = torch.float16) -> None:
        """Write the folder that ``load`` reads; ``facts`` stand in the codec's header."""
        save_tensors(folder / GENERATOR_FILE, dict(self.generator.state_dict()), {}, dtype=dtype)
        own = {name: value for name, value in self.state_dict().items() if not name.startswith("generator.")}
        header = {"generator_codec": self.config.to_dict(), **facts}
        save_tensors(folder / CODEC_FILE, own, header, dtype=dtype)

    @torch.no_grad()
    def fit(self, styles: Tensor, batch: int = 50) -> dict[str, float]:
        """Principal components and deviations from styles (M, D). Returns the shares of variance that are kept."""
        config = self.config
        chunks = styles.split(batch)
        mean = torch.zeros_like(self.get_buffer("mean"), dtype=torch.float64)
        for w in chunks:
            mean += self.generator.features(w, config.cut).permute(0, 2, 3, 1).double().sum(0)
        mean /= len(styles)
        covariance = torch.zeros(mean.shape[2], mean.shape[2], dtype=torch.float64)
        for w in chunks:
            features = self.generator.features(w, config.cut).permute(0, 2, 3, 1).double() - mean
            flat = features.flatten(0, 2)
            covariance += flat.T @ flat
        covariance /= len(styles) * config.side**2
        values, vectors = (x.flip(-1) for x in torch.linalg.eigh(covariance))
        kept = config.channels
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("basis").copy_(vectors[:, :kept])
        self.get_buffer("deviation").copy_(values[:kept].clamp(min=0).sqrt())
        around = (styles - self.generator.get_buffer("mean_style")).double()
        style_values, style_vectors = (x.flip(-1) for x in torch.linalg.eigh(around.T @ around / len(styles)))
        width = config.token_width
        self.get_buffer("style_basis").copy_(style_vectors[:, :width])
        self.get_buffer("style_deviation").copy_(style_values[:width].clamp(min=0).sqrt())
        return {
            "features": float(values[:kept].sum() / values.sum()),
            "style": float(style_values[:width].sum() / style_values.sum()),
        }

    def encode_style(self, w: Tensor) -> Tensor:
        """Latents (B, 1 + N, P) of styles (B, D)."""
        features = self.generator.features(w, self.config.cut)
        return torch.cat((self._style_token(w), self._tokens(features)), 1)

    def _tokens(self, features: Tensor) -> Tensor:
        """Grid tokens (B, N, P) of features (B, 512, S, S)."""
        around = features.permute(0, 2, 3, 1) - self.get_buffer("mean")
        places = around @ self.get_buffer("basis") / self.get_buffer("deviation")  # (B, S, S, C)
        p = self.config.patch
        tokens = places.unflatten(1, (-1, p)).unflatten(3, (-1, p)).transpose(2, 3)  # (B, S/p, S/p, p, p, C)
        return tokens.flatten(3).flatten(1, 2)

    def _style_token(self, w: Tensor) -> Tensor:
        """The style token (B, 1, P) of styles (B, D)."""
        around = w - self.generator.get_buffer("mean_style")
        return (around @ self.get_buffer("style_basis") / self.get_buffer("style_deviation"))[:, None]

    @cached_property
    def photo_encoder(self) -> PhotoEncoder:
        """The encoder of photographs in the codec's folder. InputError where there is none."""
        from limner.codecs.photo_encoder import FILE, PhotoEncoder

        if self.folder is None or not (self.folder / FILE).is_file():
            raise InputError("this generator codec has no encoder of photographs, so it cannot encode pictures")
        return PhotoEncoder.load(self.folder)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Latents (B, 1 + N, P) of the faces nearest to aligned photographs (B, 3, size, size) in [-1, 1]."""
        return self.photo_encoder(pictures)

    def split(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, 512, S, S) and style w (B, D) of latents (B, 1 + N, P)."""
        if latents.shape[1:] != self.latent_shape():
            tokens, width = self.latent_shape()
            raise ValueError(f"latents are {tuple(latents.shape)}: expected (B, {tokens}, {width})")
        n, p = self.config.grid, self.config.patch
        tokens = latents[:, 1:].unflatten(1, (n, n)).unflatten(3, (p, p, -1))  # (B, S/p, S/p, p, p, C)
        places = tokens.transpose(2, 3).flatten(3, 4).flatten(1, 2)  # (B, S, S, C)
        features = places * self.get_buffer("deviation") @ self.get_buffer("basis").T + self.get_buffer("mean")
        w = latents[:, 0] * self.get_buffer("style_deviation") @ self.get_buffer("style_basis").T
        return features.permute(0, 3, 1, 2), w + self.generator.get_buffer("mean_style")

    def decode(self, latents: Tensor, size: int | None = None) -> Tensor:
        """Pictures (B, 3, size, size) in [-1, 1]. size: one of ``config.sizes``; default: the head's, the fastest.

        Picture by picture, so that a picture does not depend on its batch; on a processor this is also twice as fast,
        since the middle blocks' features of several pictures do not fit its cache. ``ValueError`` for another size.
        """
        config = self.config
        size = size or config.size
        if size not in config.sizes:
            raise ValueError(f"size={size}: choose one of {', '.join(map(str, config.sizes))}")
        pictures = []
        for one in latents.split(1):
            features, w = self.split(one)
            middle = self.generator.run(features, w, config.cut, config.head[0])
            if size == config.size:
                pictures.append(self.head(middle, w))
                continue
            last = config.generator.blocks
            picture = self.generator.to_picture(self.generator.run(middle, w, config.head[0], last), w)
            if size < config.generator.size:
                picture = F.interpolate(picture, size=size, mode="bicubic", antialias=True)
            pictures.append(picture)
        return torch.cat(pictures).clamp(-1, 1)
