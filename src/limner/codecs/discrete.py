"""Pictures ↔ discrete codes through a lookup-free quantiser: MAGVIT-v2 at full size, a squeezed KL codec at nano.

Legend: B pictures, N = h·w codes, C bits, K = 2^C codes, f pixels per code along one side.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limner.codecs.continuous import KLCodec
from limner.codecs.magvit2 import MAGVIT2, Decoder, Encoder, LFQConfig
from limner.codecs.nano_lfq import NanoLFQConfig, NanoLFQDecoder, NanoLFQEncoder
from limner.codecs.quantizer import Quantizer
from limner.errors import InputError
from limner.files import write_json_atomic
from limner.weights.registry import hash_file
from limner.weights.store import locate
from limner.weights.tensors import check_keys, load_sharded, save_tensors

WEIGHTS = ("model.safetensors", "pytorch_model.safetensors")
BASE = "encoder.base."  # tensors that the base's own file holds


class LFQCodec(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] ↔ codes (B, N) below 2^bits, sides multiples of ``factor``."""

    def __init__(self, config: LFQConfig | NanoLFQConfig = MAGVIT2, base: KLCodec | None = None) -> None:
        """base: the KL codec of a squeezed one; default: the one its config names, which is not changed."""
        super().__init__()
        self.config = config
        if isinstance(config, NanoLFQConfig):
            base = base or KLCodec.load(config.base)
            self.factor = base.factor
            self.encoder: nn.Module = NanoLFQEncoder(config, base)
            self.decoder: nn.Module = NanoLFQDecoder(config, copy.deepcopy(base)).requires_grad_(True)
        else:
            self.factor = config.factor
            self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quantize = Quantizer(config.bits)

    @classmethod
    def load(cls, source: str | Path, config: LFQConfig | None = None, dtype: torch.dtype = torch.float32) -> LFQCodec:
        """Load a registry name or a folder: safetensors, and ``config.json`` with the sizes (``lfq`` or ``squeezed``).

        A folder without such sizes is taken for Show-o's published MAGVIT-v2, unless ``config`` says otherwise. Strict:
        the first missing, unexpected or mis-shaped tensor is an ``InputError`` that names it; so is a base other than
        the one a squeezed codec was trained with.
        """
        place = locate(source)
        found = [name for name in WEIGHTS if (place / name).is_file() or (place / f"{name}.index.json").is_file()]
        if not found:
            raise InputError(
                f"{place} holds no {WEIGHTS[0]}: save a pickled checkpoint as safetensors first with "
                "tools/convert/showo.py of the source"
            )
        codec = cls(config or _described(place))
        tensors = dict(load_sharded(place, found[0]))
        wanted = {name: tensor for name, tensor in codec.state_dict().items() if not name.startswith(BASE)}
        check_keys(tensors, wanted, where=str(place))
        ready = {name: tensor.to(wanted[name].dtype) for name, tensor in tensors.items()}
        codec.load_state_dict(ready, strict=False)  # checked above: only the base's tensors are not in the file
        return codec.to(dtype).eval().requires_grad_(False)

    def save(self, folder: Path, facts: dict[str, Any], dtype: torch.dtype = torch.float16) -> None:
        """Write a folder that ``load`` reads; ``facts`` stand in the header of its weights."""
        tensors = {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(BASE)}
        save_tensors(folder / WEIGHTS[0], tensors, facts, dtype=dtype)
        if isinstance(self.config, NanoLFQConfig):
            described = {"squeezed": self.config.to_dict(), "base_sha256": _base_hash(self.config.base)}
        else:
            described = {"lfq": self.config.to_dict()}
        write_json_atomic(folder / "config.json", described)

    def encode(self, pictures: Tensor) -> Tensor:
        """Codes (B, N) of pictures, row by row. ``ValueError`` for sides that ``factor`` does not divide."""
        factor, (height, width) = self.factor, pictures.shape[2:]
        if height % factor or width % factor:
            raise ValueError(f"picture of {width} × {height}: sides must be multiples of {factor}")
        return self.quantize.codes(self.encoder(pictures))

    def decode(self, codes: Tensor, rows: int | None = None) -> Tensor:
        """Pictures of codes (B, N) in ``rows`` rows (default: a square), clipped to [-1, 1]."""
        rows = rows or round(codes.shape[1] ** 0.5)
        if codes.shape[1] % rows:
            raise ValueError(f"{codes.shape[1]} codes do not make {rows} equal rows: say how many with rows=")
        if not 0 <= int(codes.min()) <= int(codes.max()) < self.config.codebook:
            raise ValueError(f"codes go from 0 to {self.config.codebook - 1}: paint until none is masked")
        return self.decoder(self.quantize.signs(codes, rows)).clamp(-1, 1)


def _described(place: Path) -> LFQConfig | NanoLFQConfig:
    """The configuration a folder describes; MAGVIT-v2's where it describes none."""
    file = place / "config.json"
    values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if "squeezed" in values:
        config = NanoLFQConfig.from_dict(values["squeezed"])
        if values.get("base_sha256") != _base_hash(config.base):
            raise InputError(f"{place} was trained with another '{config.base}' than is here: install its version")
        return config
    return LFQConfig.from_dict(values["lfq"]) if "lfq" in values else MAGVIT2


def _base_hash(base: str) -> str:
    return hash_file(locate(base) / "diffusion_pytorch_model.safetensors")


def load_codec(source: str | Path) -> KLCodec | LFQCodec:
    """A continuous or a discrete codec, by what its folder holds; see the two classes."""
    place = locate(source)
    return LFQCodec.load(source) if any((place / name).is_file() for name in WEIGHTS) else KLCodec.load(source)
