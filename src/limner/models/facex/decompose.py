"""FORD, the facial omni-representation decomposing: photographs to factors.

Each encoder is a small class with one method. Networks are frozen and run once a photo; what is trained (the adapter
of a vision transformer, the projections) belongs to the controller (`assemble`).

Legend: B faces, T identity tokens, W their width, G = 12 region groups, C channels of a level, h w its grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.codecs.continuous import KLCodec
from limner.faces.efficientnet import EfficientNetLite0
from limner.faces.identity import IdentityEncoder
from limner.faces.image_tensors import to_model
from limner.faces.reconstruction import FaceReconstruction

from .masks import GROUPS, groups_of
from .motion import ANGLE_SPREAD
from .portrait import Portrait

GROUP_SIDE = 64
"""Side of the group maps that textures are pooled over."""
FEWEST = 4
"""Pixels of such a map from which a region is there."""
NANO_LEVELS = (2, 4, 10)
"""EfficientNet-lite0's blocks at strides 4, 8 and 16: 24, 40 and 112 channels."""


@dataclass(frozen=True, eq=False)
class Factors:
    """Faces taken apart, one row a face.

    identity: (B, T, W). levels: one tensor a level, pooled (B, G, C) or a map (B, C, h, w) that is pooled after the
    adapter. groups: (B, 64, 64) uint8, `masks.GROUPS`. expression (B, 44), pose (B, 6), gaze (B, 2): as
    `Motion.normalised`; for controllers trained so expression (B, 64) and pose of `CoefficientMotion`. light: (B, 27).
    """

    identity: Tensor
    levels: tuple[Tensor, ...]
    groups: Tensor
    expression: Tensor
    pose: Tensor
    gaze: Tensor
    light: Tensor

    @property
    def rows(self) -> int:
        """B."""
        return len(self.identity)

    @property
    def present(self) -> Tensor:
        """Which regions each face shows, (B, G) bool."""
        return F.one_hot(self.groups.long(), len(GROUPS)).sum((1, 2)) >= FEWEST

    def map(self, change) -> Factors:
        """The same with ``change`` applied to every tensor: ``.to(device)``, a choice of rows."""
        single = {f.name: change(getattr(self, f.name)) for f in fields(self) if f.name != "levels"}
        return Factors(levels=tuple(change(level) for level in self.levels), **single)

    def with_motion(self, expression: np.ndarray, pose: np.ndarray, gaze: np.ndarray) -> Factors:
        """The same faces in another motion; one row each, normalised."""
        rows = [
            torch.from_numpy(np.asarray(x, np.float32))[None].to(self.pose.device) for x in (expression, pose, gaze)
        ]
        return replace(self, expression=rows[0], pose=rows[1], gaze=rows[2])


class IdentityTokens(Protocol):
    """φ_id: who it is, as tokens."""

    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], aligned, to (B, T, W)."""
        ...


class RegionLevels(Protocol):
    """φ_region: maps of texture, coarse and fine."""

    def encode(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) in [-1, 1], aligned, to maps (B, C, h, w), one a level."""
        ...


class MotionFactors(Protocol):
    """φ_motion: expression and pose."""

    def encode(self, portraits: Sequence[Portrait], pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Portraits and their pictures (B, 3, H, W) in [-1, 1] to expression (B, E) and pose (B, 6), near unit size."""
        ...


class MeshMotion:
    """Limner's own measures: 44 of expression, and where the mesh's head is turned and stands."""

    def encode(self, portraits: Sequence[Portrait], pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Expression (B, 44) and pose (B, 6)."""
        found = [portrait.motion.normalised()[:2] for portrait in portraits]
        expression, pose = (torch.from_numpy(np.stack(part)) for part in zip(*found))
        return expression, pose


class CoefficientMotion:
    """Coefficients of a 3D face model: 64 of expression, three angles and a translation [P: D3DFR]."""

    def __init__(self, network: FaceReconstruction) -> None:
        self.network = network

    def encode(self, portraits: Sequence[Portrait], pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Expression (B, 64) as it comes, of about unit spread; pose (B, 6): angles as the mesh's, translation."""
        found = self.network.coefficients(pictures)
        return found.expression, torch.cat([found.angles / torch.tensor(ANGLE_SPREAD), found.translation], 1)


class NanoIdentity:
    """The shipped identity network: the 4 cells of its last map and its vector, padded to the map's width."""

    def __init__(self, network: IdentityEncoder) -> None:
        self.network = network

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 5, 256), entries near 1."""
        return join_map_and_vector(*self.network.map_and_vector(pictures))


def join_map_and_vector(last: Tensor, vector: Tensor) -> Tensor:
    """A last map (B, W, h, w) and a vector (B, V), V <= W, as tokens (B, h·w + 1, W), each of unit variance."""
    width = last.shape[1]
    cells = F.normalize(last.flatten(2).transpose(1, 2), dim=-1) * width**0.5
    whole = F.normalize(vector, dim=-1) * vector.shape[1] ** 0.5
    return torch.cat([cells, F.pad(whole, (0, width - vector.shape[1]))[:, None]], 1)


class EfficientNetLevels:
    """EfficientNet-lite0 at strides 4, 8 and 16 (nano)."""

    def __init__(self, network: EfficientNetLite0, blocks: Sequence[int] = NANO_LEVELS) -> None:
        self.network, self.blocks = network, tuple(blocks)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to maps of 24, 40 and 112 channels."""
        maps = self.network.maps(pictures)
        return tuple(maps[block] for block in self.blocks)


class CodecLevels:
    """The KL codec's latents as one level: what the painter itself sees in a picture."""

    def __init__(self, codec: KLCodec) -> None:
        self.codec = codec

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to one map (B, C, H / f, W / f)."""
        return (self.codec.encode(pictures),)


def pool_regions(level: Tensor, groups: Tensor) -> Tensor:
    """Mean of a map (B, C, h, w) over each region of group maps (B, s, s): (B, G, C); zero where there is none.

    The masks are brought to the map's grid by averaging, so a region thinner than a cell still counts by its share.
    """
    masks = F.one_hot(groups.long(), len(GROUPS)).permute(0, 3, 1, 2).to(level.dtype)  # (B, G, s, s)
    masks = F.adaptive_avg_pool2d(masks, (level.shape[2], level.shape[3]))  # (B, G, h, w)
    sums = torch.einsum("bchw,bghw->bgc", level, masks)
    return sums / masks.sum((2, 3)).clamp_min(1e-6)[:, :, None]


class Decomposer:
    """Portraits to factors. pooled: whether levels are pooled here; False leaves that to a trained adapter."""

    def __init__(
        self,
        identity: IdentityTokens,
        regions: RegionLevels,
        pooled: bool,
        device: torch.device | str = "cpu",
        motion: MotionFactors | None = None,
    ) -> None:
        self.identity, self.regions, self.pooled, self.device = identity, regions, pooled, device
        self.motion: MotionFactors = motion or MeshMotion()

    def decompose(self, portraits: Sequence[Portrait]) -> Factors:
        """Factors of portraits, one row each, float32 on the CPU."""
        pictures = to_model(np.stack([portrait.picture for portrait in portraits]))
        maps = np.stack([groups_of(portrait.regions) for portrait in portraits])
        groups = shrink_groups(torch.from_numpy(maps))
        levels = tuple(level.float().cpu() for level in self.regions.encode(pictures.to(self.device)))
        if self.pooled:
            levels = tuple(pool_regions(level, groups) for level in levels)
        expression, pose = self.motion.encode(portraits, pictures.to(self.device))
        gaze = torch.from_numpy(np.stack([portrait.motion.normalised()[2] for portrait in portraits]))
        light = torch.from_numpy(np.stack([portrait.light for portrait in portraits]).astype(np.float32))
        identity = self.identity.encode(pictures.to(self.device)).float().cpu()
        return Factors(identity, levels, groups, expression, pose, gaze, light)


def shrink_groups(groups: Tensor) -> Tensor:
    """Group maps (B, H, W) uint8 at 64 x 64, labels unmixed."""
    places = ((torch.arange(GROUP_SIDE) + 0.5) * groups.shape[1] / GROUP_SIDE).long()
    return groups[:, places][:, :, places].contiguous()


def frozen(network: nn.Module) -> nn.Module:
    """A network that is only used."""
    return network.eval().requires_grad_(False)
