"""From published checkpoints to a UniF²ace that answers, paints and can be trained.

    python -m limner.models.unif2ace.convert SHOW-O --codec MAGVIT --tokenizer PHI --clip CLIP --face ONNX --out FOLDER

SHOW-O is the folder of a Show-o, or of a Phi-1.5, which Show-o was trained from [S]: then image tokens start as noise.
FOLDER/model.safetensors is the same function as the Show-o (`add_experts`); its header names the four others as they
were given, which are looked for in FOLDER first. Give the same names to `prepare`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from limner.codecs.discrete import LFQCodec
from limner.errors import InputError
from limner.files import make_folder
from limner.weights.fingerprint import weights_hash
from limner.weights.tensors import save_tensors

from .config import PRESETS, UniF2aceConfig, preset
from .encoders import load_encoder
from .loading import FILE, companion
from .phi import from_phi
from .showo import add_experts, from_showo
from .tokenizer import Tokenizer

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def convert(
    backbone: Path,
    out: Path,
    companions: dict[str, str],
    config: UniF2aceConfig,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> UniF2aceConfig:
    """Write ``out/model.safetensors``, which ``load_components`` reads, and return its configuration.

    companions: ``codec``, ``tokenizer``, ``clip`` and ``face``, each a registry name or a place. config: sizes of the
    model; the widths of features are the encoders'. seed: of what is new. ``InputError`` where parts do not belong
    together.
    """
    make_folder(out)
    found = {name: str(companion(out / FILE, given)) for name, given in companions.items()}
    codec, tokenizer = LFQCodec.load(found["codec"]), Tokenizer.load(found["tokenizer"])
    clip, face = load_encoder(found["clip"], "clip"), load_encoder(found["face"], "face")
    for name, theirs, ours in (
        ("tokenizer", tokenizer.size, config.text_vocabulary),
        ("codec", codec.config.codebook, config.codebook),
    ):
        if theirs != ours:
            raise InputError(f"{companions[name]} has {theirs} ids, the model's {name} {ours}: give Show-o's own")
    config = replace(config, clip_width=clip.width, face_width=face.width)
    dense = _is_phi(backbone)
    model = from_phi(backbone, seed=seed, **_of_phi(config)) if dense else from_showo(backbone, config.dense())
    header = {
        "model": config.to_dict(), **companions,
        "codec_hash": weights_hash(codec.encoder), "tokenizer_hash": tokenizer.hash,
    }  # fmt: skip
    save_tensors(out / FILE, add_experts(model, config, seed).state_dict(), header, dtype=dtype)
    return config


def _is_phi(folder: Path) -> bool:
    file = folder / "config.json"
    return file.is_file() and json.loads(file.read_text(encoding="utf-8")).get("model_type") == "phi"


def _of_phi(config: UniF2aceConfig) -> dict[str, Any]:
    """What a Phi cannot know of the model it becomes; what it can is compared by ``add_experts``."""
    names = ("text_vocabulary", "codebook", "image_tokens", "text_length", "qk_norm", "sot", "eot")
    return {name: getattr(config, name) for name in names}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="python -m limner.models.unif2ace.convert", description=__doc__)
    parser.add_argument("backbone", type=Path, help="folder of a Show-o or a Phi-1.5, as safetensors")
    parser.add_argument("--codec", required=True, help="folder of Show-o's MAGVIT-v2, as safetensors")
    parser.add_argument("--tokenizer", required=True, help="folder with Phi-1.5's tokenizer.json")
    parser.add_argument("--clip", required=True, help="semantic features: a CLIP model's folder, or a registry name")
    parser.add_argument("--face", required=True, help="identity features: an ArcFace .onnx file, or a registry name")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--preset", default="unif2ace-1.8b", choices=list(PRESETS), help="sizes (default: %(default)s)")
    parser.add_argument(
        "--precision", default="fp32", choices=list(PRECISIONS), help="of the file (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is new")
    given = parser.parse_args(arguments)
    companions = {name: getattr(given, name) for name in ("codec", "tokenizer", "clip", "face")}
    convert(given.backbone, given.out, companions, preset(given.preset), PRECISIONS[given.precision], given.seed)
    print(f"{given.out / FILE}: `--engine {given.out}` reads it", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
