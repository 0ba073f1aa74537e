"""Training the nano codec of codes: through thirteen signs a place, and still crisp."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from limner.codecs.continuous import KLCodec
from limner.codecs.discrete import LFQCodec
from limner.codecs.nano_lfq import NanoLFQConfig, NanoLFQDecoder, NanoLFQEncoder
from limner.codecs.quantizer import codebook_use
from limner.codecs.task import PictureCodecTask, PictureSettings, Reconstruction, codec_of, draw_corner, window_of
from limner.faces.data_folders import data_root

REMEMBERED = 32_768  # pictures whose latents are kept: half a gigabyte


class LFQSettings(PictureSettings):
    """The `[task]` table of a discrete codec training config."""

    kind: str = "lfq"
    architecture: dict[str, Any] = Field(default={}, description="Fields of NanoLFQConfig that differ from nano's.")
    entropy_weight: float = Field(default=0.5, ge=0, description="Weight of E[H(code)] − H(E[code]), in nats a bit.")
    commitment_weight: float = Field(default=0.25, ge=0, description="Weight of (z − sign z)².")


class LFQTask(PictureCodecTask[LFQSettings]):
    """Its own terms are the quantiser's: entropy and commitment.

    The encoder reads whole pictures; `window` of a picture is drawn again and compared (our choice: because a code
    stands for a place in a whole face, and drawing takes most of the time).
    """

    def __init__(self, settings: dict[str, Any], batch_size: int, seed: int) -> None:
        s = LFQSettings.model_validate(settings)
        self.config = NanoLFQConfig(**s.architecture)
        super().__init__(s, batch_size, seed, window=256)
        self._known: dict[bytes, Tensor] = {}

    def make_codec(self) -> nn.Module:
        start = self.settings.init_from
        codec = LFQCodec(self.config) if start is None else LFQCodec.load(data_root() / start)
        codec.requires_grad_(True)
        codec.encoder.base.requires_grad_(False)  # type: ignore[union-attr]
        if self.settings.decoder_only:
            codec.encoder.requires_grad_(False)
        return codec

    def remake(self, codec: Any, pictures: Tensor, generator: torch.Generator) -> Reconstruction:
        s, encoder, decoder = self.settings, codec.encoder, codec.decoder
        assert isinstance(encoder, NanoLFQEncoder) and isinstance(decoder, NanoLFQDecoder)
        found = codec.quantize(encoder.squeeze(self.latents(encoder.base, pictures)))
        latents = decoder.expand(found.z)  # (B, L, h, w)
        side = s.window // codec.factor
        corner = draw_corner(latents.shape[2], side, generator)
        target = window_of(pictures, (corner[0] * codec.factor, corner[1] * codec.factor), s.window)
        made = decoder.paint(window_of(latents, corner, side))
        own = {"entropy": (s.entropy_weight, found.entropy), "commitment": (s.commitment_weight, found.commitment)}
        return Reconstruction(target, made, own)

    @torch.no_grad()
    def latents(self, base: KLCodec, pictures: Tensor) -> Tensor:
        """What the frozen base makes of pictures (B, 3, H, W), remembered on a CPU.

        An aligned face and its mirror image come back in every epoch, and encoding is a third of a step. One by one, so
        that no picture's latents depend on its batch, and a resumed run sees the same.
        """
        if pictures.device.type != "cpu":
            return base.encode(pictures)
        found = []
        for picture in pictures:
            key = hashlib.blake2b(picture.contiguous().numpy().data, digest_size=16).digest()
            latents = self._known.get(key)
            if latents is None:
                latents = base.encode(picture[None])[0].half()
                if len(self._known) < REMEMBERED:
                    self._known[key] = latents
            found.append(latents.float())  # autocast on a CPU cannot stack halves
        return torch.stack(found)

    def code(self, codec: Any, pictures: Tensor) -> tuple[Tensor, Tensor]:
        codes = codec.encode(pictures)
        return codes, codec.decode(codes)

    def coded(self, codes: list[Tensor]) -> dict[str, float]:
        """Share of the codebook in use; the set should have several times as many places as there are codes."""
        return {"codebook_use": codebook_use(torch.cat(codes), self.config.codebook)}

    def export(self, model: nn.Module, path: Path, facts: dict[str, str]) -> None:
        """A folder beside `path` that `LFQCodec.load` reads."""
        codec_of(model).save(path.with_suffix(""), facts)
