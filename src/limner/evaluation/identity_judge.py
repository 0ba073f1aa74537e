"""A second opinion on who it is: an ArcFace-style network from a file, which neither trained nor steered the editor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from limner.errors import InputError
from limner.faces.geometry import warp
from limner.faces.image_tensors import to_model
from limner.faces.iresnet import IResNet
from limner.faces.record import Face

SIDE = 256
"""Side of the aligned picture that the network cuts its own crop out of."""


class IdentityJudge:
    """Faces of photos to vectors of length 1, so that distances and cosines order them alike."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    @classmethod
    def load(cls, file: Path) -> IdentityJudge:
        """From a `.onnx` of 112 px (insightface's), or a `.safetensors` of an iresnet. ``InputError`` for others."""
        if not file.is_file():
            raise InputError(f"--judge {file}: there is no such file; give an ArcFace-style .onnx or .safetensors")
        if file.suffix == ".onnx":
            from limner.models.unif2ace.encoders import ArcFace

            return cls(ArcFace(file))
        return cls(IResNet.load(file))

    def vector(self, photo: np.ndarray, face: Face) -> np.ndarray:
        """(C,) float, of length 1, of a face in a photo (H, W, 3) uint8."""
        with torch.inference_mode():
            found = self.network(to_model(warp(photo, face.crop, SIDE)[None]))[0].double().numpy()
        return found / max(float(np.linalg.norm(found)), 1e-9)
