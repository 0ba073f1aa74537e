"""What the latents of a generator codec keep of a face, how much noise they forgive, and how fast they are decoded."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.codecs.generator_codec import GeneratorCodec
from limner.codecs.perceptual import LPIPS
from limner.data.synthetic import FaceGenerator
from limner.evaluation.frechet import features, frechet_distance
from limner.evaluation.precision_recall import reduced
from limner.faces.efficientnet import EfficientNetLite0
from limner.faces.identity import IdentityEncoder
from limner.faces.image_tensors import to_model, to_pictures
from limner.faces.reader import FaceReader
from limner.progress import ProgressCallback

FIRST = 9_000_000
"""Index of the first face that is measured on; no training set reaches it."""
NOISE = (0.25, 0.5)
"""Standard deviations of noise added to every number of the latents."""


@torch.inference_mode()
def evaluate_latents(
    codec: GeneratorCodec, count: int, lpips: LPIPS, seed: int, progress: ProgressCallback
) -> tuple[dict[str, Any], np.ndarray]:
    """Figures on `count` unseen synthetic faces, and a sheet of the first six: unprojected, projected, with noise.

    ``lpips``, ``identity_median``: projected latents against the generator's features, decoded by the same head.
    ``noise_…``: share of faces that the mesh network finds, and Fréchet distance at 64 px to the undisturbed pictures,
    beside the distance between the halves of these.
    """
    generator, identity = FaceGenerator(codec), IdentityEncoder.load()
    noise = torch.Generator().manual_seed(seed)
    plain: list[np.ndarray] = []
    projected: list[np.ndarray] = []
    disturbed: dict[float, list[np.ndarray]] = {scale: [] for scale in NOISE}
    distance, vectors = [], []
    blocks = codec.config.head[0]
    for index in range(count):
        w = torch.from_numpy(generator.w_of(FIRST + index))[None]
        target = codec.head(codec.generator.features(w, blocks), w).clamp(-1, 1)
        latents = codec.encode_style(w)
        made = codec.decode(latents)
        distance.append(float(lpips(made, target)))
        vectors.append(float((identity(made) - identity(target)).norm()))
        plain.append(to_pictures(target)[0])
        projected.append(to_pictures(made)[0])
        for scale in NOISE:
            added = scale * torch.randn(latents.shape, generator=noise)
            disturbed[scale].append(to_pictures(codec.decode(latents + added))[0])
        progress(index + 1, count)
    reader, network = FaceReader.load(), EfficientNetLite0.load()
    undisturbed = features(reduced(np.stack(projected)), network)
    half = count // 2
    figures: dict[str, Any] = {
        "faces": count,
        "lpips": float(np.mean(distance)),
        "identity_median": float(np.median(vectors)),
        "frechet_between_halves": frechet_distance(undisturbed[:half], undisturbed[half:]),
    }
    for scale in NOISE:
        pictures = np.stack(disturbed[scale])
        figures[f"noise_{scale}"] = {
            "faces_found": float(np.mean([face is not None for face in reader.read_crops(pictures, recognise=False)])),
            "frechet": frechet_distance(features(reduced(pictures), network), undisturbed),
        }
    sheet = [plain, projected, *disturbed.values()]
    return figures, np.concatenate([np.concatenate(row[:6], 1) for row in sheet], 0)


@torch.inference_mode()
def decode_seconds(codec: GeneratorCodec, rounds: int = 12) -> dict[str, float]:
    """Median seconds of decoding one picture of each size, warm, with this process's threads."""
    latents = torch.randn(1, *codec.latent_shape(), generator=torch.Generator().manual_seed(0))
    return {str(size): _median_seconds(codec, latents, size, rounds) for size in codec.config.sizes}


def _median_seconds(codec: GeneratorCodec, latents: Tensor, size: int, rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        codec.decode(latents, size)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken[2:]))


@torch.inference_mode()
def evaluate_photo_encoder(
    codec: GeneratorCodec, pictures: np.ndarray, lpips: LPIPS, progress: ProgressCallback
) -> tuple[dict[str, Any], np.ndarray]:
    """LPIPS and identity distance between aligned photographs (N, 256, 256, 3) uint8 and what the codec makes of them.

    Also returned: a sheet of the first eight, photographs above.
    """
    identity = IdentityEncoder.load()
    found, made = [], []
    for index, picture in enumerate(pictures):
        photograph = to_model(picture[None])
        again = codec.decode(codec.encode(photograph))
        found.append((float(lpips(again, photograph)), float((identity(again) - identity(photograph)).norm())))
        made.append(to_pictures(again)[0])
        progress(index + 1, len(pictures))
    values = np.array(found)
    figures = {
        "photographs": len(pictures),
        "lpips": float(values[:, 0].mean()),
        "identity_median": float(np.median(values[:, 1])),
    }
    return figures, np.concatenate([np.concatenate(list(pictures[:8]), 1), np.concatenate(made[:8], 1)], 0)
