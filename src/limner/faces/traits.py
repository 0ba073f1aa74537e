"""Traits that pixels and points do not spell out (beard, glasses, hat), judged by small heads on general picture
features.

EfficientNet-lite0 looks at the aligned picture, up to stride 16; a linear head a trait reads the mean and the
maximum of its features in one zone of the face. The heads were trained on a few hundred hand-labelled faces: see
`tools/convert/faces_traits.py`. B batch.
"""

from __future__ import annotations

import os

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.faces.efficientnet import EfficientNetLite0
from limner.weights.store import locate
from limner.weights.tensors import load_tensors

BLOCKS = 11  # of the backbone: to the end of stride 16
SIDE = 192  # pixels the aligned picture is shrunk to; 12 x 12 features
# Zones of the 12 x 12 features: rows, then columns.
ZONES: dict[str, tuple[slice, slice]] = {
    "top": (slice(0, 4), slice(0, 12)),
    "eyes": (slice(4, 8), slice(2, 10)),
    "mouth": (slice(7, 12), slice(3, 9)),
}


class TraitHeads(nn.Module):
    """Aligned faces to probabilities of traits."""

    def __init__(
        self, backbone: EfficientNetLite0, heads: dict[str, tuple[str, tuple[str, ...], Tensor, Tensor]]
    ) -> None:
        """heads: trait to its zone, its values, weights (values, 224) and biases (values,)."""
        super().__init__()
        self.backbone = backbone
        self.heads = heads

    @classmethod
    def load(cls, source: str = "face-traits", backbone: str = "efficientnet-lite0") -> TraitHeads:
        """Ready for use and frozen, from registry entries or files."""
        path = locate(source)
        tensors, config = load_tensors(path if path.is_file() else os.path.join(path, "heads.safetensors"))
        heads = {
            name: (
                head["zone"],
                tuple(head["values"]),
                tensors[f"{name}.weight"].float(),
                tensors[f"{name}.bias"].float(),
            )
            for name, head in config["heads"].items()
        }
        return cls(EfficientNetLite0.load(backbone, BLOCKS), heads).eval().requires_grad_(False)

    @torch.inference_mode()
    def features(self, pictures: Tensor) -> Tensor:
        """pictures: (B, 3, H, W) float in [-1, 1], aligned. Returns (B, 112, 12, 12)."""
        small = F.interpolate(pictures, (SIDE, SIDE), mode="bilinear", antialias=True)
        return self.backbone.maps(small)[-1]

    @torch.inference_mode()
    def forward(self, pictures: Tensor) -> list[dict[str, dict[str, float]]]:
        """For each picture: trait to value to probability."""
        features = self.features(pictures)
        results: list[dict[str, dict[str, float]]] = [{} for _ in range(len(pictures))]
        for name, (zone, values, weight, bias) in self.heads.items():
            shares = F.linear(pooled(features, zone), weight, bias).softmax(-1)
            for result, row in zip(results, shares.tolist()):
                result[name] = dict(zip(values, row))
        return results


def pooled(features: Tensor, zone: str) -> Tensor:
    """Mean and maximum (B, 224) of features (B, 112, 12, 12) in a zone."""
    rows, columns = ZONES[zone]
    part = features[:, :, rows, columns]
    return torch.cat([part.mean((2, 3)), part.amax((2, 3))], 1)
