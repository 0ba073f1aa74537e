"""Training the nano codec of codes: through thirteen signs a place, and still crisp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from limner.codecs.discrete import LFQCodec
from limner.codecs.quantizer import codebook_use
from limner.codecs.squeezed import ExpandingDecoder, SqueezedConfig
from limner.codecs.task import PictureCodecTask, PictureSettings, Remade, codec_of, draw_corner, window_of
from limner.faces.folders import data_root


class LFQSettings(PictureSettings):
    """The `[task]` table of a discrete codec's recipe."""

    kind: str = "lfq"
    architecture: dict[str, Any] = Field(default={}, description="Fields of SqueezedConfig that differ from nano's.")
    entropy_weight: float = Field(default=0.1, ge=0, description="Weight of E[H(code)] − H(E[code]), in nats a bit.")
    commitment_weight: float = Field(default=0.25, ge=0, description="Weight of (z − sign z)².")


class LFQTask(PictureCodecTask[LFQSettings]):
    """Its own terms are the quantiser's: entropy and commitment.

    The encoder reads whole pictures; `window` of a picture is drawn again and compared (our choice: because a code
    stands for a place in a whole face, and drawing takes most of the time).
    """

    def __init__(self, settings: dict[str, Any], batch_size: int, seed: int) -> None:
        s = LFQSettings.model_validate(settings)
        self.config = SqueezedConfig(**s.architecture)
        super().__init__(s, batch_size, seed, window=256)

    def make_codec(self) -> nn.Module:
        start = self.settings.start
        codec = LFQCodec(self.config) if start is None else LFQCodec.load(data_root() / start)
        codec.requires_grad_(True)
        codec.encoder.base.requires_grad_(False)  # type: ignore[union-attr]
        if self.settings.decoder_only:
            codec.encoder.requires_grad_(False)
        return codec

    def remake(self, codec: Any, pictures: Tensor, generator: torch.Generator) -> Remade:
        s, decoder = self.settings, codec.decoder
        assert isinstance(codec, LFQCodec) and isinstance(decoder, ExpandingDecoder)
        found = codec.quantize(codec.encoder(pictures))
        latents = decoder.expand(found.z)  # (B, L, h, w)
        side = s.window // codec.factor
        corner = draw_corner(latents.shape[2], side, generator)
        target = window_of(pictures, (corner[0] * codec.factor, corner[1] * codec.factor), s.window)
        made = decoder.paint(window_of(latents, corner, side))
        own = {"entropy": (s.entropy_weight, found.entropy), "commitment": (s.commitment_weight, found.commitment)}
        return Remade(target, made, own)

    def code(self, codec: Any, pictures: Tensor) -> tuple[Tensor, Tensor]:
        codes = codec.encode(pictures)
        return codes, codec.decode(codes)

    def coded(self, codes: list[Tensor]) -> dict[str, float]:
        """Share of the codebook in use; the set should have several times as many places as there are codes."""
        return {"codebook_use": codebook_use(torch.cat(codes), self.config.codebook)}

    def export(self, model: nn.Module, path: Path, facts: dict[str, str]) -> None:
        """A folder beside `path` that `LFQCodec.load` reads."""
        codec_of(model).save(path.with_suffix(""), facts)
