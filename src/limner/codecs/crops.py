"""Pictures for training codecs: crops of photographs, each a function of the step alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from limner.faces.geometry import warp
from limner.faces.image_tensors import to_model
from limner.faces.picture import read_picture

SIZE = 256


class PictureCrops:
    """Random square crops at 256 px, half of them mirrored; of those, windows of `window` px where that is smaller.

    Aligned faces (already square, 256 px) are only mirrored; of other pictures a square of `least`…1 of the shorter
    side is cut. Every epoch visits every picture once, in an order that depends on the seed and the epoch.
    """

    def __init__(self, files: list[Path], batch_size: int, seed: int, least: float = 0.55, window: int = SIZE) -> None:
        self.files, self.batch_size, self.seed, self.least, self.window = files, batch_size, seed, least, window

    def batch(self, step: int) -> Tensor:
        """Batch of `step`: float32 (B, 3, window, window) in [-1, 1]."""
        crops = []
        for position in range(step * self.batch_size, (step + 1) * self.batch_size):
            epoch, index = divmod(position, len(self.files))
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.files))
            crops.append(self.crop(self.files[order[index]], np.random.default_rng([self.seed, 1, position])))
        return to_model(np.stack(crops))

    def crop(self, file: Path, random: np.random.Generator) -> np.ndarray:
        """One crop (window, window, 3) uint8 of a picture file."""
        picture = read_picture(file)
        height, width = picture.shape[:2]
        if (height, width) != (SIZE, SIZE):
            shorter = min(height, width)
            side = shorter * random.uniform(max(self.least, min(1.0, SIZE / shorter)), 1.0)
            left, top = random.uniform(0, width - side), random.uniform(0, height - side)
            scale = SIZE / side
            picture = warp(picture, np.array([[scale, 0, -left * scale], [0, scale, -top * scale]]), SIZE)
        left, top = random.integers(0, SIZE - self.window + 1, 2)
        picture = picture[top : top + self.window, left : left + self.window]
        return picture[:, ::-1] if random.random() < 0.5 else picture
