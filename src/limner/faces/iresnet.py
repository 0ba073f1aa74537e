"""ArcFace's network (Deng et al., arXiv 1801.07698): the improved residual network of insightface's arcface_torch.

Names of layers are those of its checkpoints (`iresnet50`, `iresnet100`), so that weights converted to safetensors load
as they are. B batch.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from limner.errors import InputError
from limner.weights.store import locate
from limner.weights.tensors import load_into, load_tensors

DEPTHS = {"iresnet18": (2, 2, 2, 2), "iresnet50": (3, 4, 14, 3), "iresnet100": (3, 13, 30, 3)}
SIDE = 112
# The square of an FFHQ-aligned picture that ArcFace's own crop covers on average: left, top, side, in shares (our
# choice: from the eyes and mouth corners of both alignments, so that no second warp is needed).
FRAME = (0.21, 0.27, 0.58)
EPSILON = 1e-5


class Block(nn.Module):
    """Norm, convolution, norm, PReLU, convolution with the stride, norm; and the shortcut."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels, eps=EPSILON)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out, eps=EPSILON)
        self.prelu = nn.PReLU(out)
        self.conv2 = nn.Conv2d(out, out, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out, eps=EPSILON)
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out, eps=EPSILON)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return y + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """Aligned faces to 512 numbers, and to the last map (B, 512, 7, 7) that they are made from."""

    width = 512

    def __init__(self, depth: str = "iresnet100") -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise InputError(f"there is no {depth}: choose one of {', '.join(DEPTHS)}")
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64, eps=EPSILON)
        self.prelu = nn.PReLU(64)
        channels = 64
        for number, (out, repeats) in enumerate(zip((64, 128, 256, 512), DEPTHS[depth]), 1):
            blocks = [Block(channels if i == 0 else out, out, 2 if i == 0 else 1) for i in range(repeats)]
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            channels = out
        self.bn2 = nn.BatchNorm2d(512, eps=EPSILON)
        self.fc = nn.Linear(512 * 7 * 7, 512)
        self.features = nn.BatchNorm1d(512, eps=EPSILON)

    @classmethod
    def load(cls, source: str | os.PathLike[str], depth: str | None = None) -> IResNet:
        """From a registry name or a safetensors file; frozen. depth: None finds it in the file.

        Raises InputError for weights of another network.
        """
        file = Path(locate(source))
        network = cls(depth or depth_of(file))
        load_into(network, file)
        return network.eval().requires_grad_(False)

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures: (B, 3, H, W) in [-1, 1], aligned as `geometry.align_ffhq` does. Returns (B, 512)."""
        return self.map_and_vector(pictures)[1]

    def map_and_vector(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The last map (B, 512, 7, 7) and the vector (B, 512)."""
        side = pictures.shape[-1]
        left, top, width = (round(share * side) for share in FRAME)
        x = pictures[..., top : top + width, left : left + width]
        return self.from_crop(F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True))

    def from_crop(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same of faces that are cut as ArcFace cuts them: (B, 3, 112, 112) in [-1, 1]."""
        x = self.prelu(self.bn1(self.conv1(x)))
        for number in (1, 2, 3, 4):
            x = getattr(self, f"layer{number}")(x)
        last = self.bn2(x)
        return last, self.features(self.fc(last.flatten(1)))


def depth_of(file: Path) -> str:
    """Which iresnet a file holds, by how many blocks its layers have. ``InputError`` if it holds none."""
    blocks = {match.groups() for key in load_tensors(file)[0] if (match := re.match(r"layer([1-4])\.(\d+)\.", key))}
    found = tuple(sum(layer == str(number) for layer, _ in blocks) for number in (1, 2, 3, 4))
    for name, repeats in DEPTHS.items():
        if repeats == found:
            return name
    raise InputError(
        f"{file} holds none of {', '.join(DEPTHS)}: give ArcFace weights, converted with tools/convert/insightface.py"
    )
