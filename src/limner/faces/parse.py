"""Which of the 19 regions every pixel of an aligned face belongs to. Trained here; see docs/models/face-parser.md.

B batch; crops are 256×256.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.errors import InputError
from limner.faces.efficientnet import EfficientNetLite0
from limner.faces.image_tensors import to_model
from limner.faces.regions import Region, flip

SIZE = 256
ENCODER_BLOCKS = 14  # through the second block of stride 32: the rest of lite0 is heavy and adds no resolution
SKIPS = (0, 2, 4, 10)  # encoder blocks whose output the decoder takes up again, at strides 2, 4, 8, 16
SKIP_WIDTHS = (16, 24, 40, 112)
WIDTHS = (32, 64, 80, 96, 128)  # decoder widths at strides 2, 4, 8, 16, 32


@dataclass(frozen=True, kw_only=True)
class RegionMaps:
    """ids (B, 256, 256) uint8 in `Region`'s order; confidence (B, 256, 256) float32 in [0, 1]: the winner's share."""

    ids: np.ndarray
    confidence: np.ndarray


class ParserNet(nn.Module):
    """EfficientNet-lite0 encoder, U-Net decoder (arXiv 1505.04597).

    Pictures (B, 3, 256, 256) in [-1, 1] → logits (B, 19, 256, 256).

    The context vector (a global mean, added at the coarsest level) tells the decoder what kind of picture it is in.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = EfficientNetLite0(ENCODER_BLOCKS)
        self.bottom = _convolution(192, WIDTHS[4], 1)
        self.context = nn.Linear(192, WIDTHS[4])
        self.merges = nn.ModuleList(
            nn.Sequential(
                _convolution(WIDTHS[level + 1] + SKIP_WIDTHS[level], WIDTHS[level], 3),
                _convolution(WIDTHS[level], WIDTHS[level], 3),
            )
            for level in range(4)
        )
        self.head = nn.Conv2d(WIDTHS[0], len(Region), 1)

    def forward(self, pictures: Tensor) -> Tensor:
        maps = self.encoder.maps(pictures)
        x = self.bottom(maps[-1]) + self.context(maps[-1].mean((2, 3)))[:, :, None, None]
        for level in (3, 2, 1, 0):
            skip = maps[SKIPS[level]]
            x = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = self.merges[level](torch.cat([x, skip], 1))
        return F.interpolate(self.head(x), scale_factor=2, mode="bilinear", align_corners=False)


class RegionParser:
    """The trained parser, ready to use."""

    def __init__(self, net: ParserNet) -> None:
        self.net = net.eval().requires_grad_(False)
        self.net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    @classmethod
    def load(cls, source: str = "face-parser") -> RegionParser:
        """Weights from the registry or a file. Raises InputError when they do not fit."""
        from limner.weights.store import locate
        from limner.weights.tensors import load_into

        net = ParserNet()
        load_into(net, locate(source))
        return cls(net)

    @torch.inference_mode()
    def parse(self, crops: np.ndarray) -> RegionMaps:
        """Regions of aligned crops, uint8 (B, 256, 256, 3) RGB."""
        if crops.ndim != 4 or crops.shape[1:] != (SIZE, SIZE, 3) or crops.dtype != np.uint8:
            raise InputError(f"the parser takes uint8 crops of shape (B, 256, 256, 3), not {crops.dtype} {crops.shape}")
        confidence, ids = mirrored_shares(self.net, crops).max(1)
        return RegionMaps(ids=ids.to(torch.uint8).numpy(), confidence=confidence.numpy())


def mirrored_shares(net: nn.Module, pictures: np.ndarray) -> Tensor:
    """The mean of the net's answers to pictures and to their mirror images, sides swapped back: (B, 19, H, W).

    pictures: uint8 (B, H, W, 3). Our choice: because it is right on a quarter of a percent more pixels than one answer,
    and treats both sides of a face alike.
    """
    both = np.concatenate([pictures, pictures[:, :, ::-1]])
    shares, mirrored = net(to_model(both).contiguous(memory_format=torch.channels_last)).softmax(1).chunk(2)
    swap = torch.from_numpy(flip(np.arange(len(Region))[:, None])[:, 0])
    return 0.5 * (shares + mirrored.flip(3)[:, swap])


def _convolution(channels: int, out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )
