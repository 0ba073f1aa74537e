"""LPIPS: perceptual distance in AlexNet features (Zhang et al., arXiv 1801.03924, version 0.1).

Used for training codecs and for measuring; its weights are not embedded. B batch, C channels.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.errors import InputError
from limner.weights.tensors import load_tensors

STRIDES, PADDINGS = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1)
POOL_BEFORE = (1, 2)  # 3×3 max-pool, stride 2, before these convolutions


class LPIPS(nn.Module):
    """Distance d(x, y) ≥ 0 per picture; 0 for equal pictures. Frozen, differentiable in both arguments."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        for index in range(5):
            weight = tensors[f"features.{index}.weight"]
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], STRIDES[index], PADDINGS[index])
            conv.load_state_dict({"weight": weight, "bias": tensors[f"features.{index}.bias"]})
            self.convolutions.append(conv)
            self.register_buffer(f"head{index}", tensors[f"heads.{index}.weight"].clone())
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False)

    @classmethod
    def load(cls, source: Path | str | None = None) -> LPIPS:
        """Load from a safetensors file; by default the one named by the environment variable LIMNER_LPIPS."""
        source = source or os.environ.get("LIMNER_LPIPS")
        if not source:
            raise InputError(
                "LPIPS needs its AlexNet weights: make them once with tools/convert/lpips_alex.py from the package "
                "`lpips`, then set LIMNER_LPIPS=FILE"
            )
        return cls(load_tensors(Path(source))[0])

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Five maps of unit-length channel vectors for pictures (B, 3, H, W) in [-1, 1]."""
        x = (pictures - self.get_buffer("shift")) / self.get_buffer("scale")
        maps = []
        for index, convolution in enumerate(self.convolutions):
            if index in POOL_BEFORE:
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(convolution(x))
            norm = (x.square().sum(1, keepdim=True) + 1e-20).sqrt()  # where all is 0, √ alone has no gradient
            maps.append(x / (norm + 1e-10))
        return maps

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distances (B,) between pictures (B, 3, H, W) in [-1, 1]."""
        total = torch.zeros(x.shape[0], device=x.device)
        for index, (a, b) in enumerate(zip(self.features(x), self.features(y), strict=True)):
            head = self.get_buffer(f"head{index}")
            total = total + F.conv2d((a - b).square(), head).mean((1, 2, 3)).float()
        return total
