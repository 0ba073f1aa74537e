"""How faithfully a codec gives a picture back."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import numpy as np
import torch

from limner.codecs.continuous import KLCodec
from limner.codecs.discrete import LFQCodec
from limner.codecs.perceptual import LPIPS
from limner.codecs.quantizer import codebook_perplexity, codebook_use
from limner.evaluation.prompt_alignment import judged
from limner.faces.image_tensors import to_model, to_pictures
from limner.faces.reader import FaceReader
from limner.progress import ProgressCallback

BATCH = 8


def evaluate_codec(pictures: np.ndarray, codec: KLCodec | LFQCodec, lpips: LPIPS) -> dict[str, Any]:
    """PSNR (dB, peak 255, mean over pictures), LPIPS(alex) and sharpness kept, on pictures (N, 256, 256, 3) uint8.

    `sharpness_kept` is the ratio of mean gradient energies, reconstruction to original: below 1 is blur. `decode`
    is the median time in seconds of decoding one picture. Of a discrete codec also the share of its codes that occur at
    all and the perplexity of how often each does.
    """
    psnr, distance, energy, codes = [], [], [], []
    with torch.inference_mode():
        for start in range(0, len(pictures), BATCH):
            x = to_model(pictures[start : start + BATCH])
            z = codec.encode(x)
            codes.append(z)
            y = to_model(to_pictures(codec.decode(z)))  # through 8 bits, as a user sees it
            psnr += (10 * torch.log10(255**2 / (x - y).mul(127.5).square().mean((1, 2, 3)).clamp_min(1e-9))).tolist()
            distance += lpips(x, y).tolist()
            energy += (_gradient_energy(y) / _gradient_energy(x).clamp_min(1e-9)).tolist()
        latents = codec.encode(to_model(pictures[:1]))
        seconds = []
        for _ in range(6):
            began = time.perf_counter()
            codec.decode(latents)
            seconds.append(time.perf_counter() - began)
    figures = {
        "pictures": len(pictures),
        "psnr": float(np.mean(psnr)),
        "lpips": float(np.mean(distance)),
        "sharpness_kept": float(np.mean(energy)),
        "decode_seconds": float(np.median(seconds[1:])),
    }
    if isinstance(codec, LFQCodec):
        figures["codebook_use"] = codebook_use(torch.cat(codes), codec.config.codebook)
        figures["codebook_perplexity"] = codebook_perplexity(torch.cat(codes), codec.config.codebook)
    return figures


def attributes_kept(
    pictures: np.ndarray, codec: KLCodec | LFQCodec, reader: FaceReader, progress: ProgressCallback
) -> dict[str, Any]:
    """What of the attributes that wishes are about is still read after encoding and decoding, on aligned faces
    (N, 256, 256, 3) uint8: the share of each class's faces that stay in it, and the mean over classes.

    What a painter learns from words about pictures, it can be granted no more often than that; see ``unif2ace.shown``.
    """
    kept: dict[str, list[bool]] = defaultdict(list)
    for start in range(0, len(pictures), BATCH):
        before = pictures[start : start + BATCH]
        for one, other in zip(reader.read_crops(before), reader.read_crops(remade(before, codec)), strict=True):
            still = judged(other)
            for name, value in judged(one).items():
                kept[f"{name}: {value}"].append(still.get(name) == value)
        progress(min(start + BATCH, len(pictures)), len(pictures))
    shares = {name: float(np.mean(found)) for name, found in sorted(kept.items())}
    return {
        "all": float(np.mean(list(shares.values()))),
        **shares,
        "faces": {k: len(v) for k, v in sorted(kept.items())},
    }


def codec_sheet(pictures: np.ndarray, codec: KLCodec | LFQCodec) -> np.ndarray:
    """Originals above, reconstructions below: uint8 RGB."""
    made = remade(pictures, codec)
    return np.concatenate([np.concatenate(list(pictures), 1), np.concatenate(list(made), 1)], 0)


def remade(pictures: np.ndarray, codec: KLCodec | LFQCodec) -> np.ndarray:
    """Pictures (B, S, S, 3) uint8, encoded and decoded."""
    with torch.inference_mode():
        return to_pictures(codec.decode(codec.encode(to_model(pictures))))


def _gradient_energy(x: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of neighbouring pixels (B,)."""
    across = (x[..., 1:] - x[..., :-1]).square().mean((1, 2, 3))
    down = (x[..., 1:, :] - x[..., :-1, :]).square().mean((1, 2, 3))
    return across + down
