"""A generator of the real one's make around a photograph: w turns, brightens and shifts it. For tests of pairs."""

from __future__ import annotations

import numpy as np
import skimage.data
from PIL import Image

from limner.data.directions import Directions
from limner.data.pair_factors import FACTORS
from limner.data.synthetic import LAYERS, FaceGenerator

WIDTH = 512


class PhotoGenerator(FaceGenerator):
    """The astronaut's face; w[0] stretches it (as turning a head does), w[1] lights it from one side."""

    def __init__(self) -> None:
        self.made = 0

    def w_of(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).normal(0, 0.01, WIDTH).astype(np.float32)

    def face_of(self, w: np.ndarray, side: int = 256) -> np.ndarray:
        self.made += 1
        layers = np.broadcast_to(w, (LAYERS, WIDTH))
        photo = Image.fromarray(skimage.data.astronaut()[0:256, 96:352]).resize((512, 512), Image.Resampling.BICUBIC)
        shear = float(layers[:, 0].mean()) * 0.2
        turned = photo.transform((512, 512), Image.Transform.AFFINE, (1, shear, -90 * shear, 0, 1, 0))
        across = np.linspace(-1, 1, 512)[None, :, None] * float(layers[-1, 1]) * 0.5
        made = Image.fromarray(np.clip(np.asarray(turned) * (1 + across), 0, 255).astype(np.uint8))
        return np.asarray(made.resize((side, side), Image.Resampling.LANCZOS))


def plain_directions() -> Directions:
    """One number of w a factor: yaw is w[0], light_x is w[1] of the last layer, the others do nothing seen."""
    count = len(FACTORS)
    order = ["yaw", "light_x", *[name for name in FACTORS if name not in ("yaw", "light_x")]]
    steps = np.zeros((count, WIDTH))
    for k, name in enumerate(FACTORS):
        steps[k, order.index(name)] = 1.0
    layers = tuple((LAYERS - 1, LAYERS) if name == "light_x" else (0, LAYERS) for name in FACTORS)
    return Directions(
        names=FACTORS,
        steps=steps,
        layers=layers,
        weights=steps.copy(),
        intercepts=np.zeros(count),
        spreads=np.ones(count),
        facts={"faces": 0},
    )
