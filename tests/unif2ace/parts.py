"""A UniF²ace small enough for tests, in the files a real one has; its encoders are nano's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from limner.codecs.discrete import LFQCodec
from limner.codecs.magvit2 import LFQConfig
from limner.demo import show
from limner.faces.picture import read_picture, save_png
from limner.models.unif2ace.tokenizer import Tokenizer, learn
from limner.weights.fingerprint import weights_hash
from limner.weights.tensors import save_tensors
from unif2ace.tiny import TINY, random_model

CODEC = LFQConfig(
    bits=4, width=4, encoder_widths=(1,) * 5, encoder_blocks=(1,) * 5, decoder_widths=(1,) * 5, decoder_blocks=(1,) * 5,
    groups=2,
)  # fmt: skip
WORDS = ["A smiling woman with grey hair.", "Is she smiling?", "Yes, she is.", "USER: \n ASSISTANT:", "Über naïve Ζωή"]


def write_codec(folder: Path, seed: int = 0) -> LFQCodec:
    """A random codec of factor 16 and 16 codes."""
    torch.manual_seed(seed)
    codec = LFQCodec(CODEC)
    for parameter in codec.parameters():
        parameter.data.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.2)
    codec.save(folder, {})
    return LFQCodec.load(folder)


def write_tiny(folder: Path, seed: int = 0) -> Path:
    """A folder with a tiny random model for 256 px faces, its codec and its tokenizer."""
    codec = write_codec(folder / "codec")
    learn(WORDS * 3, 340, folder / "words")
    tokenizer = Tokenizer.load(folder / "words")
    config = replace(
        TINY, text_vocabulary=tokenizer.size, image_tokens=256, text_length=24, clip_width=320, face_width=128
    )
    header = {
        "model": config.to_dict(), "guidance": 2.0, "temperature": 3.0,
        "codec": "codec", "codec_hash": weights_hash(codec.encoder),
        "tokenizer": "words", "tokenizer_hash": tokenizer.hash, "clip": "efficientnet-lite0", "face": "face-identity",
    }  # fmt: skip
    model = random_model(config, seed)
    broken = [k for k in range(tokenizer.size) if "\ufffd" in tokenizer.decode([k])]
    model.head.bias[[config.sot, config.eot, *broken]] -= 50  # it says something, and what it says can be shown
    save_tensors(folder / "model.safetensors", model.state_dict(), header, dtype=torch.float16)
    return folder


def portraits() -> list[np.ndarray]:
    """The demo's photographs of one face each."""
    found = [read_picture(Path(show.__file__).parent / "photographs" / each.name) for each in show.PHOTOGRAPHS]
    return [p for p in found if p.shape[0] == p.shape[1] == 640]


def save(path: Path, picture: np.ndarray) -> Path:
    """Write a picture and say where it is."""
    save_png(path, picture)
    return path
