"""FORS, the facial omni-representation steering, first half: factors to the tokens that the UNet reads.

Legend: B faces, P photos, N tokens of a face, D control width, G = 12 regions, L levels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.weights.whiten import whiten

from .config import ControlConfig
from .decompose import Factors, pool_regions
from .masks import GROUPS
from .plan import ABSENT, CANVAS, FACTORS, EditPlan

NOWHERE = -1
"""In place of a photo's number: the factor is dropped."""
TEXTURES = tuple(FACTORS.index(name) for name in GROUPS)
"""Numbers of the factors that are region textures: the "attribute tokens" of the condition dropout [A]."""


class Pyramid(nn.Module):
    """The FPN adapter of a vision transformer: three depths of one grid to levels of 4, 2 and 1 times that grid [P].

    Coarse to fine, each level is what is below it enlarged, plus its own depth (our choice of how they are fused).
    """

    def __init__(self, widths: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in widths)
        self.up = nn.ModuleList(nn.ConvTranspose2d(width, width, 2, 2) for _ in range(3))

    def forward(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Shallow, middle and deep maps (B, C, h, w) to maps of 4h, 2h and h."""
        fine, middle, coarse = (lateral(level) for lateral, level in zip(self.lateral, levels))
        once = self.up[0](coarse) + F.interpolate(middle, scale_factor=2.0, mode="bilinear")
        twice = self.up[1](F.gelu(once)) + self.up[2](F.interpolate(fine, scale_factor=2.0, mode="bilinear"))
        return twice, once, coarse


class RepresentationAssembler(nn.Module):
    """Projects factors to tokens, and picks each factor from the photo that the plan names."""

    def __init__(self, config: ControlConfig) -> None:
        super().__init__()
        self.config = config
        width, levels = config.width, config.level_widths
        self.adapter = Pyramid(levels, config.adapter_width) if config.adapter_width else None
        pooled = (config.adapter_width,) * 3 if config.adapter_width else levels
        self.identity = nn.Sequential(nn.Linear(config.identity_width, width), nn.LayerNorm(width))
        self.places = nn.Parameter(torch.randn(config.identity_tokens, width) * 0.02)
        self.textures = nn.ModuleList(nn.Sequential(nn.Linear(c, width), nn.LayerNorm(width)) for c in pooled)
        self.absent = nn.Parameter(torch.randn(len(GROUPS), len(levels), width) * 0.02)
        sizes = (config.expression, 6, 2, 27)
        counts = (*config.motion_tokens, 1)
        self.motion = nn.ModuleList(_network(size, width, count) for size, count in zip(sizes, counts))
        per_factor = [config.identity_tokens, *[len(levels)] * len(GROUPS), *counts]
        numbers = torch.tensor([number for number, count in enumerate(per_factor) for _ in range(count)])
        self.register_buffer("factor_of", numbers, persistent=False)  # (N,)
        self.factors = nn.Parameter(torch.randn(len(FACTORS), width) * 0.02)
        self.dropped = nn.Parameter(torch.randn(len(numbers), width) * 0.02)

    factor_of: Tensor

    @property
    def tokens(self) -> int:
        """N."""
        return len(self.factor_of)

    def encode(self, factors: Factors) -> Tensor:
        """All tokens of faces, each from the face itself: (B, N, D)."""
        identity = self.identity(factors.identity) + self.places  # (B, T, D)
        levels = factors.levels if self.adapter is None else self._adapted(factors)
        if not self.config.representation_assembler:
            levels = tuple(_whole_face(level, factors.present) for level in levels)
        textures = torch.stack([project(level) for project, level in zip(self.textures, levels)], 2)  # (B, G, L, D)
        textures = torch.where(factors.present[:, :, None, None], textures, self.absent.to(textures.dtype)).flatten(
            1, 2
        )
        parts = (factors.expression, factors.pose, factors.gaze, factors.light)
        motion = [network(x).unflatten(1, (-1, self.config.width)) for network, x in zip(self.motion, parts)]
        tokens = torch.cat([identity, textures, *motion], 1)  # (B, N, D)
        return tokens + self.factors[self.factor_of] if self.config.representation_assembler else tokens

    @torch.no_grad()
    def fit(self, factors: Factors) -> None:
        """Start the ways in of identity and textures anew, fitted to some faces (``whiten``); those of textures only
        where levels are pooled as they are, since what a trained adapter makes of them changes."""
        ways = [(self.identity, factors.identity)]
        if self.adapter is None:
            present = factors.present
            ways += [(project, level[present]) for project, level in zip(self.textures, factors.levels, strict=True)]
        for project, features in ways:
            assert isinstance(project, nn.Sequential)
            way_in, norm = project
            assert isinstance(way_in, nn.Linear) and isinstance(norm, nn.LayerNorm)
            whiten(way_in, features.float())
            norm.reset_parameters()

    def pick(self, photos: list[Tensor], choice: Tensor) -> Tensor:
        """Tokens of each factor from the photo chosen for it.

        photos: P of (B, N, D), as ``encode`` gives them. choice: (B, F) numbers of photos, F in the order of FACTORS;
        NOWHERE drops a factor, and a region with it. Returns (B, N, D).
        """
        stack = torch.stack(photos)  # (P, B, N, D)
        chosen = choice.to(stack.device)[:, self.factor_of]  # (B, N)
        index = chosen.clamp_min(0)[None, :, :, None].expand(1, -1, -1, stack.shape[-1])
        picked = stack.gather(0, index)[0]
        return torch.where((chosen == NOWHERE)[:, :, None], self.dropped.to(picked.dtype), picked)

    def forward(self, photos: list[Factors], choice: Tensor) -> Tensor:
        """``encode`` and ``pick`` in one."""
        return self.pick([self.encode(factors) for factors in photos], choice)

    def none(self, rows: int) -> Tensor:
        """Tokens with every factor dropped, (B, N, D): what guidance starts from."""
        return self.dropped.expand(rows, -1, -1)

    def _adapted(self, factors: Factors) -> tuple[Tensor, ...]:
        assert self.adapter is not None
        return tuple(pool_regions(level, factors.groups) for level in self.adapter(factors.levels))


def choice_of(plan: EditPlan, numbers: Mapping[str, int]) -> Tensor:
    """A plan as numbers of photos, (1, F). numbers: name of a photo → its place among those given to ``pick``."""
    places = {**numbers, ABSENT: NOWHERE}
    return torch.tensor([[places[plan.factors.get(factor, CANVAS)] for factor in FACTORS]])


def _network(size: int, width: int, tokens: int) -> nn.Module:
    return nn.Sequential(nn.Linear(size, width), nn.SiLU(), nn.Linear(width, tokens * width))


def _whole_face(level: Tensor, present: Tensor) -> Tensor:
    """The mean texture of all regions but the background, in the place of each: (B, G, C)."""
    weight = present.to(level.dtype)
    weight[:, list(GROUPS).index("background")] = 0
    mean = (level * weight[:, :, None]).sum(1) / weight.sum(1).clamp_min(1)[:, None]
    return mean[:, None].expand_as(level)
