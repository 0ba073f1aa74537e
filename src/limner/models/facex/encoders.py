"""The encoders of full size, behind the same two interfaces as the small ones; and which settings name which.

Legend: B faces, C channels, h w grid of patches.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.codecs.continuous import KLCodec
from limner.errors import InputError
from limner.faces.efficientnet import EfficientNetLite0
from limner.faces.identity import IdentityEncoder
from limner.faces.iresnet import IResNet
from limner.faces.reconstruction import FaceReconstruction
from limner.weights.store import locate

from .config import ControlConfig
from .decompose import (
    CodecLevels,
    CoefficientMotion,
    Decomposer,
    EfficientNetLevels,
    IdentityTokens,
    MeshMotion,
    MotionFactors,
    NanoIdentity,
    RegionLevels,
    frozen,
    join_map_and_vector,
)

Norm = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation of each colour."""
CLIP_NORM: Norm = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET_NORM: Norm = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# setting → transformers' class and the normalisation it was trained with. FaRL is a CLIP ViT-B/16 trained on faces.
TOWERS = {
    "clip": ("CLIPVisionModel", CLIP_NORM),
    "farl": ("CLIPVisionModel", CLIP_NORM),
    "dino": ("Dinov2Model", IMAGENET_NORM),
    "mae": ("ViTMAEModel", IMAGENET_NORM),
}


class ArcFaceTokens:
    """ArcFace's last map, flattened to 49 tokens, and its vector: (B, 50, 512) [A]."""

    def __init__(self, network: IResNet) -> None:
        self.network = network

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], aligned, to (B, 50, 512)."""
        return join_map_and_vector(*self.network.map_and_vector(pictures))


class TransformerLevels:
    """Patch tokens of a vision transformer at a third, two thirds and all of its depth, as maps of one grid.

    tower: transformers' CLIPVisionModel, Dinov2Model or ViTMAEModel. trained: let gradients through (the paper's
    fine-tuned encoders); pictures are resized to the tower's own side.
    """

    def __init__(self, tower: nn.Module, norm: Norm, trained: bool = False) -> None:
        self.tower = tower if trained else frozen(tower)
        self.norm, self.trained = norm, trained
        config = tower.config
        self.side, self.patch = int(config.image_size), int(config.patch_size)  # type: ignore[union-attr, arg-type]
        layers = int(config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
        self.depths = tuple(max(round(layers * share), 1) for share in (1 / 3, 2 / 3, 1))
        self.width = int(config.hidden_size)  # type: ignore[union-attr, arg-type]

    def encode(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) in [-1, 1] to three maps (B, C, h, w), shallow first."""
        with torch.set_grad_enabled(self.trained):
            x = F.interpolate(pictures, size=(self.side, self.side), mode="bicubic", antialias=True)
            mean, deviation = (torch.tensor(v, device=x.device)[:, None, None] for v in self.norm)
            states = self.tower(((x.clamp(-1, 1) + 1) / 2 - mean) / deviation, output_hidden_states=True).hidden_states
            grid = self.side // self.patch
            maps = [states[depth][:, -grid * grid :].transpose(1, 2) for depth in self.depths]
            return tuple(tokens.unflatten(2, (grid, grid)) for tokens in maps)


def load_tower(kind: str, folder: str | os.PathLike[str], trained: bool = False) -> TransformerLevels:
    """A vision transformer from a folder in transformers' format. ``InputError`` for what is none."""
    import transformers

    place = Path(locate(folder))
    if not (place / "config.json").is_file():
        raise InputError(
            f"{place} holds no config.json: give the folder of a {kind} vision model, transformers' format"
        )
    name, norm = TOWERS[kind]
    options = {"mask_ratio": 0.0} if kind == "mae" else {}  # MAE hides three quarters of the patches otherwise
    tower = getattr(transformers, name).from_pretrained(place, local_files_only=True, use_safetensors=True, **options)
    return TransformerLevels(tower, norm, trained)


def load_decomposer(
    config: ControlConfig,
    codec: KLCodec,
    identity: str | None = None,
    regions: str | None = None,
    device: torch.device | str = "cpu",
    motion: str | None = None,
) -> Decomposer:
    """The encoders that a controller was trained with, on a device (where the codec has to be too).

    identity, regions, motion: weights of ArcFace, folder of the vision transformer, and weights of a D3DFR-style
    regressor, for those. ``InputError`` with what is missing.
    """
    made_identity: IdentityTokens
    if config.identity_encoder == "face-identity":
        made_identity = NanoIdentity(IdentityEncoder.load().to(device))
    else:
        if identity is None:
            raise InputError(
                "this controller needs ArcFace's weights (iresnet100 as safetensors): give --identity FILE"
            )
        made_identity = ArcFaceTokens(IResNet.load(identity).to(device))
    made_regions: RegionLevels
    if config.region_encoder == "efficientnet":
        made_regions = EfficientNetLevels(EfficientNetLite0.load(blocks=11).to(device))
    elif config.region_encoder == "codec":
        made_regions = CodecLevels(codec)
    else:
        if regions is None:
            raise InputError(
                f"this controller needs a {config.region_encoder} vision model: give its folder with --tower FOLDER"
            )
        made_regions = load_tower(config.region_encoder, regions)
        made_regions.tower.to(device)
    made_motion: MotionFactors = MeshMotion()
    if config.motion_encoder == "d3dfr":
        if motion is None:
            raise InputError(
                "this controller reads expression and pose from a D3DFR-style regressor: give its weights "
                "(.safetensors or .onnx) with --motion FILE"
            )
        made_motion = CoefficientMotion(FaceReconstruction.load(motion, device))
    return Decomposer(made_identity, made_regions, config.adapter_width == 0, device, made_motion)
