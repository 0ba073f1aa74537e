"""EfficientNet-lite0 (arXiv 1905.11946, without squeeze-and-excitation, ReLU6): general picture features.

Batch norms are folded into the convolutions when the weights are loaded (our choice: because they are frozen in every
use Limner has for them, and on a CPU they cost a third of the time).

Serves as the encoder of the region parser, as semantic features, and as the feature space of Fréchet distances.
B batch, H W pixels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

# expansion, kernel, stride, channels out, repeats: Table 1 of the paper, as lite0 scales it
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class SamePadConv(nn.Conv2d):
    """Convolution padded as TensorFlow's SAME: the odd pixel goes to the right and the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        kernel, stride = self.kernel_size[0], self.stride[0]
        down = max((-(-height // stride) - 1) * stride + kernel - height, 0)
        right = max((-(-width // stride) - 1) * stride + kernel - width, 0)
        if down % 2 or right % 2:
            x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
            return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)
        return F.conv2d(x, self.weight, self.bias, self.stride, (down // 2, right // 2), self.dilation, self.groups)


NORM_EPSILON = 1e-3
NORM_OF = {"conv_stem": "bn0", "expand_conv": "bn0", "depthwise_conv": "bn1", "project_conv": "bn2", "conv_head": "bn1"}


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; with a residual where the shape allows."""

    def __init__(self, channels: int, out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.residual = stride == 1 and channels == out
        if expansion != 1:
            self.expand_conv = nn.Conv2d(channels, hidden, 1)
        self.depthwise_conv = SamePadConv(hidden, hidden, kernel, stride, groups=hidden)
        self.project_conv = nn.Conv2d(hidden, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu6(self.expand_conv(x), inplace=True) if hasattr(self, "expand_conv") else x
        h = self.project_conv(F.relu6(self.depthwise_conv(h), inplace=True))
        return x + h if self.residual else h


class EfficientNetLite0(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] → maps or a pooled vector. `blocks` < 16 keeps only the first ones."""

    width = 1280

    def __init__(self, blocks: int = 16) -> None:
        super().__init__()
        self.conv_stem = SamePadConv(3, 32, 3, 2)
        layers: list[nn.Module] = []
        channels = 32
        for expansion, kernel, stride, out, repeats in STAGES:
            for repeat in range(repeats):
                layers.append(InvertedResidual(channels, out, expansion, kernel, stride if repeat == 0 else 1))
                channels = out
        self.blocks = nn.ModuleList(layers[:blocks])
        self.whole = blocks == len(layers)
        if self.whole:
            self.conv_head = nn.Conv2d(channels, self.width, 1)

    @classmethod
    def load(cls, source: str = "efficientnet-lite0", blocks: int = 16) -> EfficientNetLite0:
        """ImageNet weights from the registry, frozen and in eval mode. Raises InputError when they do not fit."""
        from limner.weights.store import locate
        from limner.weights.tensors import check_keys, load_tensors

        model = cls(blocks)
        path = locate(source)
        tensors = fold_norms(load_tensors(path)[0])
        expected = model.state_dict()
        kept = {key: value for key, value in tensors.items() if key in expected}
        check_keys(kept, expected, str(path))
        model.load_state_dict(kept)
        return model.eval().requires_grad_(False)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Output of every block, first to last; strides 2, 4, 8, 16, 32."""
        h = F.relu6(self.conv_stem(x), inplace=True)
        outputs = []
        for block in self.blocks:
            h = block(h)
            outputs.append(h)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        """Features that the ImageNet classifier saw (B, 1280), for the whole network only."""
        assert self.whole, "pooled features need all 16 blocks"
        return F.relu6(self.conv_head(self.maps(x)[-1])).mean((2, 3))


def fold_norms(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights with batch norms → weights of convolutions that do the same: w·γ/√(σ² + ε) and β − μ·γ/√(σ² + ε)."""
    folded = {}
    for key, weight in tensors.items():
        path, _, name = key.removesuffix(".weight").rpartition(".")
        if name not in NORM_OF:
            continue
        prefix = f"{path}." if path else ""
        norm = {
            k: tensors[f"{prefix}{NORM_OF[name]}.{k}"].float()
            for k in ("weight", "bias", "running_mean", "running_var")
        }
        gain = norm["weight"] / (norm["running_var"] + NORM_EPSILON).sqrt()
        folded[f"{prefix}{name}.weight"] = weight.float() * gain.view(-1, 1, 1, 1)
        folded[f"{prefix}{name}.bias"] = norm["bias"] - norm["running_mean"] * gain
    return folded
