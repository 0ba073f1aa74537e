"""Who it is: 128 numbers that lie close together for pictures of one person (dlib's ResNet v1, King 2017).

The network's layers follow face-api (MIT, Vladimir Mandic and Vincent Mühler). Two vectors of one person are usually
less than 0.6 apart (Euclidean, dlib's threshold). It is differentiable with respect to the picture.
B batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.faces.faceapi import CHANNEL_MEANS, load_affine

SIZE = 150
SAME_PERSON = 0.6
# The square of an aligned picture that dlib's own crop covers on average: left, top, side, in shares of the
# picture's side.
FRAME = (0.15, 0.257, 0.7)


class FoldedConv(nn.Conv2d):
    """Convolution, scale and offset in one; 'same' padding at stride 1, none at stride 2."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, out, kernel, stride, padding=kernel // 2 if stride == 1 else 0)


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, pooled where the block halves the picture; zeros fill up what is smaller."""

    def __init__(self, channels: int, out: int, down: bool) -> None:
        super().__init__()
        self.conv1 = FoldedConv(channels, out, 3, 2 if down else 1)
        self.conv2 = FoldedConv(out, out, 3)
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        if self.down:
            x = F.avg_pool2d(x, 2, 2)  # may be one wider than y, never narrower
            y = F.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return F.relu(x + y)


class IdentityEncoder(nn.Module):
    """Aligned faces to identity vectors."""

    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv32_down = FoldedConv(3, 32, 7, 2)
        width = 32
        self.blocks = nn.ModuleDict()
        for out, repeats in ((32, 3), (64, 4), (128, 3), (256, 3)):
            for index in range(1, repeats + (out == 32)):
                if index == 1 and out != width:
                    self.blocks[f"conv{out}_down"] = ResidualBlock(width, out, True)
                self.blocks[f"conv{out}_{index}"] = ResidualBlock(out, out, False)
            width = out
        self.blocks["conv256_down_out"] = ResidualBlock(256, 256, True)
        self.fc = nn.Linear(256, 128, bias=False)
        self.register_buffer("means", torch.tensor(CHANNEL_MEANS).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def load(cls, source: str = "face-identity") -> IdentityEncoder:
        """Ready for use and frozen. Raises InputError when the weights are not these."""
        found = load_affine(source)
        state = {"fc.weight": found.pop("fc").T.contiguous()}
        for key in [key for key in found if key.endswith("conv.filters")]:
            stem = key.removesuffix(".conv.filters")
            scale, offset = found[f"{stem}.scale.weights"], found[f"{stem}.scale.biases"]
            name = stem if stem == "conv32_down" else f"blocks.{stem}"
            state[f"{name}.weight"] = found[key] * scale[:, None, None, None]
            state[f"{name}.bias"] = found[f"{stem}.conv.bias"] * scale + offset
        encoder = cls()
        encoder.load_state_dict(state)
        for module in encoder.modules():  # our choice: channels last, measured faster by a third on processors
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
        return encoder.eval().requires_grad_(False)

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures: (B, 3, H, W) float in [-1, 1], aligned as `geometry.align_ffhq` does. Returns (B, 128)."""
        return self.embed(self.frame(pictures))

    def map_and_vector(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Its last map (B, 256, 3, 3) and the vector (B, 128) made from it; pictures as in `forward`."""
        last = self.last_map(self.frame(pictures))
        return last, self.fc(last.mean((2, 3)))

    def frame(self, pictures: Tensor) -> Tensor:
        """Aligned pictures as chips (B, 3, 150, 150), framed as dlib frames faces."""
        side = pictures.shape[-1]
        left, top, width = (round(share * side) for share in FRAME)
        x = pictures[..., top : top + width, left : left + width]
        return F.interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=True)

    def embed(self, chips: Tensor) -> Tensor:
        """chips: (B, 3, 150, 150) float in [-1, 1], framed as dlib frames faces. Returns (B, 128)."""
        return self.fc(self.last_map(chips).mean((2, 3)))

    def last_map(self, chips: Tensor) -> Tensor:
        """chips as in `embed`. Returns (B, 256, h, w)."""
        x = ((chips + 1) * 127.5 - self.means) / 255
        x = F.max_pool2d(F.relu(self.conv32_down(x)), 3, 2)
        for block in self.blocks.values():
            x = block(x)
        return x
