"""InceptionV3 features for FID and KID, as the published figures take them.

The network is the TensorFlow Inception of 2015-12-05 in the parameter names of its conversion to PyTorch (pytorch-fid,
torch-fidelity), with its own pooling: averages leave the padding out, and the last block takes a maximum. Pictures are
resized as clean-fid does: each channel in float32 with Pillow's bicubic filter, which smooths before it shrinks, and
without rounding afterwards (Parmar et al. 2022). Weights come from the user: a safetensors file that
`tools/convert/inception.py` makes of `weights-inception-2015-12-05-6726825d.pth`.

Legend: N pictures, B batch, D features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from limner.data.groups import groups
from limner.weights.tensors import load_into

PROTOCOL = "InceptionV3 2015-12-05, clean-fid resizing"
SIDE, WIDTH, CLASSES = 299, 2048, 1008

Convolution = tuple[str, int, int | tuple[int, int], int]
"""Name, channels, kernel, stride. Stride 1 keeps the size, stride 2 pads nothing."""
Branch = Sequence[Any]
"""Convolutions one after the other; a pair of them that read the same and are joined; or a pooling, by its name."""


def _seven(name: str, width: int, first: tuple[int, int]) -> list[Convolution]:
    """A 7 × 7 convolution in one or two pairs of 1 × 7 and 7 × 1."""
    kernels = [first, first[::-1]] * (1 if name == "7x7" else 2)
    widths = [width] * (len(kernels) - 1) + [192]
    steps = [(f"{name}_{k + 2}", widths[k], kernels[k], 1) for k in range(len(kernels))]
    return [(f"{name}_1", width, 1, 1), *steps]


def _fork(name: str, width: int) -> tuple[Convolution, Convolution]:
    return (f"{name}a", width, (1, 3), 1), (f"{name}b", width, (3, 1), 1)


def _a(pooled: int) -> list[Branch]:
    return [
        [("1x1", 64, 1, 1)],
        [("5x5_1", 48, 1, 1), ("5x5_2", 64, 5, 1)],
        [("3x3dbl_1", 64, 1, 1), ("3x3dbl_2", 96, 3, 1), ("3x3dbl_3", 96, 3, 1)],
        ["average", ("_pool", pooled, 1, 1)],
    ]


def _c(width: int) -> list[Branch]:
    return [
        [("1x1", 192, 1, 1)],
        _seven("7x7", width, (1, 7)),
        _seven("7x7dbl", width, (7, 1)),
        ["average", ("_pool", 192, 1, 1)],
    ]


def _e(pooling: str) -> list[Branch]:
    return [
        [("1x1", 320, 1, 1)],
        [("3x3_1", 384, 1, 1), _fork("3x3_2", 384)],
        [("3x3dbl_1", 448, 1, 1), ("3x3dbl_2", 384, 3, 1), _fork("3x3dbl_3", 384)],
        [pooling, ("_pool", 192, 1, 1)],
    ]


BLOCKS: dict[str, list[Branch]] = {
    "Mixed_5b": _a(32),
    "Mixed_5c": _a(64),
    "Mixed_5d": _a(64),
    "Mixed_6a": [
        [("3x3", 384, 3, 2)],
        [("3x3dbl_1", 64, 1, 1), ("3x3dbl_2", 96, 3, 1), ("3x3dbl_3", 96, 3, 2)],
        ["shrink"],
    ],
    "Mixed_6b": _c(128),
    "Mixed_6c": _c(160),
    "Mixed_6d": _c(160),
    "Mixed_6e": _c(192),
    "Mixed_7a": [
        [("3x3_1", 192, 1, 1), ("3x3_2", 320, 3, 2)],
        [("7x7x3_1", 192, 1, 1), ("7x7x3_2", 192, (1, 7), 1), ("7x7x3_3", 192, (7, 1), 1), ("7x7x3_4", 192, 3, 2)],
        ["shrink"],
    ],
    "Mixed_7b": _e("average"),
    "Mixed_7c": _e("maximum"),
}


class NormedConvolution(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int, pad: bool) -> None:
        super().__init__()
        sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        padding = (sides[0] // 2, sides[1] // 2) if pad else 0
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        return F.relu(self.bn(self.conv(x)))


def _pool(x: Tensor, kind: str) -> Tensor:
    if kind == "average":
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    return F.max_pool2d(x, 3, stride=1, padding=1) if kind == "maximum" else F.max_pool2d(x, 3, stride=2)


class Mixed(nn.Module):
    """Branches that read the same map and are joined along the channels."""

    def __init__(self, inputs: int, branches: Sequence[Branch]) -> None:
        super().__init__()
        self.branches, self.outputs = branches, 0
        for branch in branches:
            width = inputs
            for step in branch:
                if isinstance(step, str):
                    continue
                alike = step if isinstance(step[0], tuple) else (step,)
                for name, channels, kernel, stride in alike:
                    convolution = NormedConvolution(width, channels, kernel, stride, stride == 1)
                    self.add_module(f"branch{name}", convolution)
                width = sum(each[1] for each in alike)
            self.outputs += width

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, H', W')."""
        found = []
        for branch in self.branches:
            y = x
            for step in branch:
                if isinstance(step, str):
                    y = _pool(y, step)
                elif isinstance(step[0], tuple):
                    y = torch.cat([self.get_submodule(f"branch{each[0]}")(y) for each in step], 1)
                else:
                    y = self.get_submodule(f"branch{step[0]}")(y)
            found.append(y)
        return torch.cat(found, 1)


class Inception(nn.Module):
    """Pictures at 299 px to their 2,048 pooled features."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = NormedConvolution(3, 32, 3, 2, False)
        self.Conv2d_2a_3x3 = NormedConvolution(32, 32, 3, 1, False)
        self.Conv2d_2b_3x3 = NormedConvolution(32, 64, 3, 1, True)
        self.Conv2d_3b_1x1 = NormedConvolution(64, 80, 1, 1, False)
        self.Conv2d_4a_3x3 = NormedConvolution(80, 192, 3, 1, False)
        width = 192
        for name, branches in BLOCKS.items():
            block = Mixed(width, branches)
            self.add_module(name, block)
            width = block.outputs
        self.fc = nn.Linear(WIDTH, CLASSES)  # in the file; not used for features

    @classmethod
    def load(cls, file: str | Path, device: torch.device | str = "cpu") -> Inception:
        """From a safetensors file. Raises InputError for one of another network."""
        with torch.device("meta"):
            network = cls()
        load_into(network, file)
        return network.eval().requires_grad_(False).to(device)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 299, 299) in 0..255 to (B, 2048)."""
        x = (x - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(_pool(x, "shrink")))
        x = _pool(x, "shrink")
        for name in BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))


def clean_resize(picture: np.ndarray, side: int = SIDE) -> np.ndarray:
    """clean-fid's resizing: (H, W, 3) uint8 to (side, side, 3) float32 in 0..255, channel by channel, not rounded."""
    channels = [
        np.asarray(Image.fromarray(picture[..., k].astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC))
        for k in range(3)
    ]
    return np.stack(channels, -1).clip(0, 255)


@torch.inference_mode()
def inception_features(pictures: Iterable[np.ndarray], network: Inception, batch: int = 32) -> np.ndarray:
    """Features (N, 2048) float64 of pictures (H, W, 3) uint8 of any size, read one by one."""
    device = network.fc.weight.device
    parts = []
    for group in groups(pictures, batch):
        x = torch.from_numpy(np.stack([clean_resize(picture) for picture in group])).permute(0, 3, 1, 2)
        parts.append(network(x.float().to(device)).cpu().numpy())
    return np.concatenate(parts).astype(np.float64) if parts else np.empty((0, WIDTH))
