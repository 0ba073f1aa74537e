"""Which of seven basic emotions a face shows: the expression network of face-api (MIT; Vladimir Mandic, Vincent
Mühler).

B batch.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.faces.faceapi import CHANNEL_MEANS, load_affine

EMOTIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
SIZE = 112
FRAME = (0.2, 0.2, 0.6)  # left, top, side of the square of an aligned picture it looks at, in shares of the side


class SeparableConv(nn.Module):
    """Depthwise 3x3, then pointwise, padded as TensorFlow pads: at stride 2 the odd pixel at the bottom and right."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, out, 1)
        self.padding = (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(F.pad(x, self.padding)))


class DenseBlock(nn.Module):
    """Four convolutions, each reading the sum of what came before; the first halves the picture."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        first = channels == 3  # the stem is an ordinary convolution
        self.conv0 = nn.Conv2d(3, out, 3, 2) if first else SeparableConv(channels, out, 2)
        self.padding = (0, 1, 0, 1) if first else (0, 0, 0, 0)
        self.conv1, self.conv2, self.conv3 = (SeparableConv(out, out) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        total = F.relu(self.conv0(F.pad(x, self.padding)))
        total = total + self.conv1(total)
        total = total + self.conv2(F.relu(total))
        return F.relu(total + self.conv3(F.relu(total)))


class EmotionNet(nn.Module):
    """Aligned faces to probabilities of EMOTIONS."""

    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(DenseBlock(*pair) for pair in pairwise((3, 32, 64, 128, 256)))
        self.fc = nn.Linear(256, len(EMOTIONS))
        self.register_buffer("means", torch.tensor(CHANNEL_MEANS).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def load(cls, source: str = "face-expression") -> EmotionNet:
        """Ready for use and frozen. Raises InputError when the weights are not these."""
        state = {}
        for key, value in load_affine(source).items():
            if key.startswith("fc."):
                state[key.replace("weights", "weight")] = value.T.contiguous() if value.ndim == 2 else value
                continue
            block, conv, part = key.split(".")
            stem = f"blocks.{block.removeprefix('dense')}.{conv}"
            names = {
                "filters": "weight",
                "depthwise_filter": "depthwise.weight",
                "pointwise_filter": "pointwise.weight",
            }
            bias = "bias" if stem == "blocks.0.conv0" else "pointwise.bias"
            state[f"{stem}.{names.get(part, bias)}"] = value
        net = cls()
        net.load_state_dict(state)
        return net.eval().requires_grad_(False)

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures: (B, 3, H, W) float in [-1, 1], aligned as `align_ffhq` does. Returns (B, 7) probabilities."""
        side = pictures.shape[-1]
        left, top, width = (round(share * side) for share in FRAME)
        x = pictures[..., top : top + width, left : left + width]
        return self.classify(F.interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=True))

    def classify(self, chips: Tensor) -> Tensor:
        """chips: (B, 3, 112, 112) float in [-1, 1], a face each. Returns (B, 7)."""
        x = ((chips + 1) * 127.5 - self.means) / 255
        for block in self.blocks:
            x = block(x)
        return self.fc(F.avg_pool2d(x, 7, 2).flatten(1)).softmax(-1)
