"""Fréchet and kernel distances between sets of pictures in EfficientNet-lite0's feature space.

Named protocol "limner-lite0-256": pictures at 256 px, pooled features of the last convolution (1,280 numbers). The
figures compare Limner with Limner; they are not Inception FID.
"""

from __future__ import annotations

import numpy as np
import torch

from limner.errors import InputError
from limner.faces.efficientnet import EfficientNetLite0
from limner.faces.image_tensors import to_model

PROTOCOL = "limner-lite0-256"


def features(pictures: np.ndarray, net: EfficientNetLite0 | None = None, batch: int = 32) -> np.ndarray:
    """Pooled features (N, 1280) float64 of pictures (N, H, W, 3) uint8."""
    net = net or EfficientNetLite0.load()
    with torch.inference_mode():
        parts = [net(to_model(pictures[i : i + batch])).numpy() for i in range(0, len(pictures), batch)]
    return np.concatenate(parts).astype(np.float64)


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½) of features (N, D) and (M, D) (Heusel et al. 2017).

    The trace of the square root is the sum of square roots of eigenvalues of Σ₁^½ Σ₂ Σ₁^½, which is symmetric.
    Raises InputError for fewer than two samples.
    """
    if len(one) < 2 or len(other) < 2:
        raise InputError("a Fréchet distance needs at least two pictures on each side")
    mean_gap = one.mean(0) - other.mean(0)
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    crossed = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(mean_gap @ mean_gap + np.trace(first) + np.trace(second) - 2 * crossed)


def kernel_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Unbiased squared MMD with the kernel (x·y/D + 1)³ of KID (Bińkowski et al. 2018)."""
    n, m, width = len(one), len(other), one.shape[1]

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / width + 1) ** 3

    within_one = kernel(one, one)
    within_other = kernel(other, other)
    first = (within_one.sum() - np.trace(within_one)) / (n * (n - 1))
    second = (within_other.sum() - np.trace(within_other)) / (m * (m - 1))
    return float(first + second - 2 * kernel(one, other).mean())


def kid(one: np.ndarray, other: np.ndarray, subsets: int = 100, size: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Mean and standard deviation of `kernel_distance` over random subsets, as KID is reported.

    one, other: features (N, D) and (M, D). size: pictures a subset, drawn without replacement; as many as the smaller
    side has where that is less (torch-fidelity and torchmetrics refuse; the number then has no scatter of its own).
    Raises InputError for fewer than two samples or no subsets.
    """
    size = min(size, len(one), len(other))
    if size < 2 or subsets < 1:
        raise InputError("a kernel distance needs at least two pictures on each side, and one subset")
    rng = np.random.default_rng(seed)
    found = [
        kernel_distance(one[rng.permutation(len(one))[:size]], other[rng.permutation(len(other))[:size]])
        for _ in range(subsets)
    ]
    return float(np.mean(found)), float(np.std(found))
