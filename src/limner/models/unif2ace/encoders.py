"""Feature encoders by name: the shipped nano networks, or CLIP and ArcFace-style networks from local files.

clip: `efficientnet-lite0`, or a folder of a CLIP model in transformers' format (config.json and safetensors)
face: `face-features` (identity, shape and colours: face_features.py), `face-identity` alone, or an ONNX file of an
    ArcFace-style network (glintr100.onnx of AntelopeV2)
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.errors import InputError
from limner.faces.efficientnet import EfficientNetLite0
from limner.faces.identity import IdentityEncoder
from limner.faces.landmarks import MeshNetwork
from limner.faces.shape import ShapeModel
from limner.weights.store import locate

from .face_features import FaceFeatures
from .features import CLIPFeatures, FeatureEncoder, IdentityFeatures, MapFeatures

CLIP, FACE = "efficientnet-lite0", "face-features"
"""What nano uses."""

IDENTITY = "face-identity"

# The square of an FFHQ-aligned picture that ArcFace's own alignment would cut out: left, top, side, in shares of the
# picture's side. Eyes 1/4 of the side apart at 0.47 of the height become 35.2 of 112 pixels apart at 51.6.
ARCFACE_FRAME = (0.102, 0.107, 0.796)
ARCFACE_SIDE = 112


class ArcFace(nn.Module):
    """An ArcFace-style network in ONNX format: aligned RGB faces of 112 px, (x − 127.5) / 127.5, to vectors.

    Our choice: a fixed crop instead of a second alignment, because the pictures are aligned already.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as faults  # pyright: ignore[reportAttributeAccessIssue]

        super().__init__()
        try:
            self.session = onnxruntime.InferenceSession(os.fspath(file), providers=["CPUExecutionProvider"])
        except (faults.Fail, faults.InvalidProtobuf, faults.InvalidGraph, faults.NotImplemented) as error:
            raise InputError(f"{file} is no ONNX network that can be run: {str(error).splitlines()[0]}") from error
        (taken,), (given,) = self.session.get_inputs(), self.session.get_outputs()
        if list(taken.shape[1:]) != [3, ARCFACE_SIDE, ARCFACE_SIDE] or not isinstance(given.shape[-1], int):
            raise InputError(
                f"{file} takes {taken.shape}, an ArcFace-style network (B, 3, 112, 112): give another file"
            )
        self.input, self.width = taken.name, given.shape[-1]
        self.one_by_one = taken.shape[0] == 1

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], aligned as `geometry.align_ffhq` does, to (B, C)."""
        side = pictures.shape[-1]
        left, top, width = (round(share * side) for share in ARCFACE_FRAME)
        x = pictures[..., top : top + width, left : left + width]
        x = F.interpolate(x, (ARCFACE_SIDE, ARCFACE_SIDE), mode="bilinear", antialias=True).cpu()
        parts = x.split(1) if self.one_by_one else [x]
        found = [torch.from_numpy(self.session.run(None, {self.input: part.numpy()})[0]) for part in parts]
        return torch.cat(found).to(pictures)


def load_encoder(source: str, kind: Literal["clip", "face"]) -> FeatureEncoder:
    """The encoder of that name or at that place; see above. ``InputError`` with the way out for anything else."""
    if kind == "clip" and source == CLIP:
        return MapFeatures(EfficientNetLite0.load(), 320)
    if kind == "face" and source in (FACE, IDENTITY):
        identity = IdentityFeatures(IdentityEncoder.load(), 128)
        return identity if source == IDENTITY else FaceFeatures(identity, MeshNetwork.load(), ShapeModel.load())
    place = locate(source)
    if kind == "clip":
        return CLIPFeatures(_clip_tower(place))
    if place.suffix != ".onnx":
        raise InputError(
            f"{place}: identity features come from '{FACE}', '{IDENTITY}' or an .onnx file of an ArcFace-style network"
        )
    network = ArcFace(place)
    return IdentityFeatures(network, network.width)


def move_encoder(encoder: FeatureEncoder, device: torch.device) -> None:
    """Move an encoder's networks to a device; those that run through ONNX or LiteRT stay on the CPU."""
    found = encoder.identity if isinstance(encoder, FaceFeatures) else encoder
    network = getattr(found, "tower", None) or getattr(found, "network", None)
    assert isinstance(network, nn.Module)
    network.to(device)


def _clip_tower(folder: Path) -> nn.Module:
    described = folder / "config.json"
    config: dict[str, Any] = json.loads(described.read_text(encoding="utf-8")) if described.is_file() else {}
    if config.get("model_type") not in ("clip", "clip_vision_model"):
        raise InputError(f"{folder}: semantic features come from '{CLIP}' or a folder of a CLIP model with config.json")
    from transformers import CLIPVisionModel

    try:
        return CLIPVisionModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except OSError as error:
        raise InputError(f"{folder} holds no CLIP weights as safetensors: {str(error).splitlines()[0]}") from error
