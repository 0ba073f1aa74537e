"""Coefficients of a 3D face model, read from a picture by a regressor of D3DFR's kind (Deng et al., arXiv 1903.08527).

Such a regressor gives 257 numbers a face: identity 80, expression 64, texture 80, angles 3, light 27, translation 3.
Its weights are the user's: Limner ships none, and never needs the face model itself, which has a licence of its own.

B faces.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.errors import InputError
from limner.weights.store import locate
from limner.weights.tensors import check_keys, load_tensors

SIZES = {"identity": 80, "expression": 64, "texture": 80, "angles": 3, "light": 27, "translation": 3}
TOTAL = sum(SIZES.values())  # 257
EXPRESSION = SIZES["expression"]
SIDE = 224
FRAME = (0.055, 0.09, 0.89)
"""The square of an FFHQ-aligned picture that D3DFR's own alignment covers on average: left, top, side, in shares (our
choice: from the distance of the eyes in both, so that no second warp is needed)."""
HEADS = (80, 64, 80, 3, 27, 2, 1)  # of the published network: translation is two heads
LAYERS = (3, 4, 6, 3)  # of a ResNet-50


class Coefficients(NamedTuple):
    """What is used of them. expression: (B, 64). angles: (B, 3) yaw, pitch, roll in degrees, with the signs of
    `limner.faces.motion`. translation: (B, 3), the face model's units."""

    expression: Tensor
    angles: Tensor
    translation: Tensor


class FaceReconstruction:
    """A regressor of 3D face coefficients. Make one with ``FaceReconstruction.load``."""

    def __init__(self, network: Any) -> None:
        self.network = network

    @classmethod
    def load(cls, source: str | os.PathLike[str], device: torch.device | str = "cpu") -> FaceReconstruction:
        """From a file: ``.safetensors`` of D3DFR's published network (its `net_recon`), or ``.onnx`` of any regressor
        that takes (B, 3, 224, 224) RGB in [0, 1] and gives the 257 numbers, in one output or in their groups.

        Raises InputError for other networks.
        """
        file = Path(locate(source))
        network = OnnxRegressor(file) if file.suffix == ".onnx" else ResNetRegressor.load(file).to(device)
        return cls(network)

    @torch.no_grad()
    def coefficients(self, pictures: Tensor) -> Coefficients:
        """pictures: (B, 3, H, W) in [-1, 1], aligned as `geometry.align_ffhq` does. float32, on the CPU."""
        side = pictures.shape[-1]
        left, top, width = (round(share * side) for share in FRAME)
        x = (pictures[..., top : top + width, left : left + width].float() + 1) / 2
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True).clamp(0, 1)
        parts = dict(zip(SIZES, self.network(x).float().cpu().split(list(SIZES.values()), dim=1)))
        pitch, yaw, roll = torch.rad2deg(parts["angles"]).unbind(1)
        # its axes are x right, y up, z to the camera: looking down and leaning anticlockwise are positive there
        return Coefficients(parts["expression"], torch.stack([yaw, -pitch, -roll], 1), parts["translation"])


class OnnxRegressor:
    """A regressor in ONNX format."""

    def __init__(self, file: Path) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as faults  # pyright: ignore[reportAttributeAccessIssue]

        try:
            self.session = onnxruntime.InferenceSession(os.fspath(file), providers=["CPUExecutionProvider"])
        except (faults.Fail, faults.InvalidProtobuf, faults.InvalidGraph, faults.NotImplemented) as error:
            raise InputError(f"{file} is no ONNX network that can be run: {str(error).splitlines()[0]}") from error
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        widths = [output.shape[-1] for output in outputs]
        if len(inputs) != 1 or list(inputs[0].shape[1:]) != [3, SIDE, SIDE]:
            raise InputError(f"{file} takes {[list(i.shape) for i in inputs]}; a face regressor takes (B, 3, 224, 224)")
        if widths not in ([TOTAL], list(SIZES.values())):
            raise InputError(
                f"{file} gives {widths} numbers; a face regressor gives {TOTAL}, or {list(SIZES.values())}"
            )
        self.name, self.one_by_one = inputs[0].name, inputs[0].shape[0] == 1

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 3, 224, 224) in [0, 1] to (B, 257)."""
        rows = []
        for part in x.cpu().split(1 if self.one_by_one else len(x)):
            found = self.session.run(None, {self.name: part.numpy()})
            rows.append(torch.cat([torch.from_numpy(each).flatten(1) for each in found], 1))
        return torch.cat(rows)


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3 with the stride, 1 × 1 to four times the width; and the shortcut. Names are torchvision's."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride != 1 or channels != 4 * width:
            shortcut = nn.Conv2d(channels, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, 4 W, h / stride, w / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Backbone(nn.Module):
    """A ResNet of bottlenecks up to its pooled features."""

    def __init__(self, width: int, layers: Sequence[int]) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        channels = width
        for number, repeats in enumerate(layers):
            inner = width * 2**number
            blocks = [
                Bottleneck(channels if k == 0 else 4 * inner, inner, 2 if k == 0 and number else 1)
                for k in range(repeats)
            ]
            setattr(self, f"layer{number + 1}", nn.Sequential(*blocks))
            channels = 4 * inner
        self.channels, self.depth = channels, len(layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, C, 1, 1)."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for number in range(self.depth):
            x = getattr(self, f"layer{number + 1}")(x)
        return x.mean((2, 3), keepdim=True)


class ResNetRegressor(nn.Module):
    """D3DFR's published network: a ResNet-50 and one 1 × 1 convolution for each group of coefficients."""

    def __init__(self, width: int = 64, layers: Sequence[int] = LAYERS) -> None:
        super().__init__()
        self.backbone = Backbone(width, layers)
        self.final_layers = nn.ModuleList(nn.Conv2d(self.backbone.channels, size, 1) for size in HEADS)

    @classmethod
    def load(cls, file: Path) -> ResNetRegressor:
        """Strictly; sizes are read from the tensors. InputError for the weights of another network."""
        tensors = {name.removeprefix("net_recon."): value for name, value in load_tensors(file)[0].items()}
        layers = []
        for number in range(1, 5):
            blocks = {name.split(".")[2] for name in tensors if name.startswith(f"backbone.layer{number}.")}
            layers.append(len(blocks))
        if "backbone.conv1.weight" not in tensors or 0 in layers:
            raise InputError(f"{file} holds no face regressor of D3DFR's kind (net_recon with a ResNet backbone)")
        network = cls(tensors["backbone.conv1.weight"].shape[0], layers)
        wanted = network.state_dict()
        tensors = {name: value for name, value in tensors.items() if not name.startswith("backbone.fc.")}
        counters = {name: value for name, value in wanted.items() if name.endswith("num_batches_tracked")}
        check_keys(counters | tensors, wanted, where=str(file))
        network.load_state_dict(counters | tensors)
        return network.float().eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 224, 224) in [0, 1] to (B, 257)."""
        features = self.backbone(x)
        return torch.cat([head(features) for head in self.final_layers], 1).flatten(1)
