"""CMMD (Jayasumana et al. 2024): the squared MMD of CLIP ViT-L/14-336 embeddings under a Gaussian kernel, times 1,000.

Legend: N, M pictures, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limner.data.groups import groups
from limner.errors import InputError

BANDWIDTH, SCALE = 10.0, 1000.0  # as published
ROWS = 1024  # of the kernel matrix at a time


def cmmd(one: np.ndarray, other: np.ndarray) -> float:
    """CMMD of unit embeddings (N, D) and (M, D): the biased estimate, diagonal included, as its authors compute it."""
    if not len(one) or not len(other):
        raise InputError("CMMD needs at least one picture on each side")
    return SCALE * (_mean_kernel(one, one) + _mean_kernel(other, other) - 2 * _mean_kernel(one, other))


def _mean_kernel(a: np.ndarray, b: np.ndarray) -> float:
    """Mean of exp(−|x − y|² / 2σ²) over all pairs, a few rows of the matrix at a time."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    squares, total = (b**2).sum(1), 0.0
    for start in range(0, len(a), ROWS):
        part = a[start : start + ROWS]
        distances = (part**2).sum(1)[:, None] + squares[None] - 2 * part @ b.T
        total += float(np.exp(-distances / (2 * BANDWIDTH**2)).sum())
    return total / (len(a) * len(b))


class ClipEmbedder:
    """Image embeddings of a CLIP through transformers, of length 1."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model.eval(), processor

    @classmethod
    def load(cls, folder: str | Path) -> ClipEmbedder:
        """From a folder in transformers' format (published: openai/clip-vit-large-patch14-336). Raises InputError."""
        from limner.evaluation.vqascore import check_folder

        if check_folder(folder).model_type != "clip":
            raise InputError(f"no CLIP model in {folder}")
        from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

        model = CLIPVisionModelWithProjection.from_pretrained(folder, use_safetensors=True)
        return cls(model, CLIPImageProcessor.from_pretrained(folder))

    @torch.inference_mode()
    def embed(self, pictures: Iterable[np.ndarray], batch: int = 32) -> np.ndarray:
        """Pictures (H, W, 3) uint8, read one by one, to (N, D) float32."""
        parts = []
        for group in groups(pictures, batch):
            given = self.processor(images=group, return_tensors="pt")
            found = self.model(pixel_values=given["pixel_values"]).image_embeds
            parts.append(torch.nn.functional.normalize(found, dim=-1).numpy())
        return np.concatenate(parts) if parts else np.empty((0, 1), np.float32)
