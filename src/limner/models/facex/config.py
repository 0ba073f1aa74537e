"""Sizes of a controller, and which UNets it fits: what stands in the header of its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from limner.weights.configs import from_header, to_header

from .motion import EXPRESSION

REGION_ENCODERS = ("efficientnet", "codec", "clip", "dino", "farl", "mae")
IDENTITY_ENCODERS = ("face-identity", "arcface")
MOTION_ENCODERS = ("mesh", "d3dfr")


@dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """One controller. ``ValueError`` for values that cannot be."""

    width: int = 768
    """Control width: of the face tokens that the UNet's blocks read."""
    attention_widths: tuple[int, ...] = ()
    """Channels of the UNet's cross-attention blocks, in its own order; with the two below, the family it fits."""
    attention_heads: tuple[int, ...] = ()
    """Heads of each."""
    time_width: int = 0
    """Channels of the UNet's time embedding; of the family too, where ``time_factors`` is True."""
    latent_channels: int = 4
    """Channels of the codec's latents."""
    identity_encoder: str = "arcface"
    """Where identity comes from: one of IDENTITY_ENCODERS."""
    identity_width: int = 512
    """Channels of an identity token."""
    identity_tokens: int = 50
    """Cells of the identity network's last map, and one for its vector."""
    region_encoder: str = "clip"
    """Where region textures come from: one of REGION_ENCODERS."""
    level_widths: tuple[int, ...] = (1024, 1024, 1024)
    """Channels of each level of the region encoder."""
    adapter_width: int = 256
    """Width of the trained pyramid between a vision transformer and the pooling; 0: levels are pooled as they are."""
    motion_encoder: str = "mesh"
    """Where expression and pose come from: ``mesh``, Limner's own measures, or ``d3dfr``, a regressor of 3D face
    coefficients whose weights the user has [P: 64 of expression]."""
    expression: int = EXPRESSION
    """Measures of expression: 44 of the mesh, 64 of d3dfr."""
    motion_tokens: tuple[int, int, int] = (4, 1, 1)
    """Tokens for expression, pose and gaze."""
    region_assembler: bool = True
    """Ablation: False leaves out the reference picture and its mask."""
    representation_assembler: bool = True
    """Ablation: False gives one texture for the whole face, instead of one a region, and no factor embedding."""
    time_factors: bool = False
    """Whether what holds for a face as a whole (identity's vector, motion, light) is also added to the time embedding,
    from which every residual block takes its shift. Our choice for small bases, which learn to look at a few tokens
    among many only slowly; the paper's has cross-attention alone."""

    hole_fill: bool = False
    """Fill holes of the reference picture with content (``EditPlan.hole_fill``) instead of grey in every task. Our
    choice for small bases: transforming visible content is easier to learn than generating it from tokens. The paper
    does this only in head swaps."""

    def __post_init__(self) -> None:
        for name in ("width", "latent_channels", "identity_width", "identity_tokens", "expression"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a number from 1")
        for name, known in (
            ("region_encoder", REGION_ENCODERS),
            ("identity_encoder", IDENTITY_ENCODERS),
            ("motion_encoder", MOTION_ENCODERS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: choose one of {', '.join(known)}")
        if len(self.attention_widths) != len(self.attention_heads):
            raise ValueError("attention_widths and attention_heads speak of different numbers of blocks")
        if self.time_factors and self.time_width < 0:
            raise ValueError(f"time_width={self.time_width}: give the channels of the base's time embedding")
        if not self.level_widths:
            raise ValueError("level_widths is empty: a region encoder has at least one level")
        if self.adapter_width and len(self.level_widths) != 3:
            raise ValueError("an adapter needs three levels: of one, two and four times the transformer's grid")

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return to_header(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ControlConfig:
        """Inverse of ``to_dict``; unknown fields raise ``ValueError``."""
        return from_header(cls, values)

    def replaced(self, **changes: Any) -> ControlConfig:
        """The same with some fields changed."""
        return ControlConfig(**{**asdict(self), **changes})


NANO: dict[str, Any] = {
    "width": 256,
    "latent_channels": 32,
    "identity_encoder": "face-identity",
    "identity_width": 256,
    "identity_tokens": 5,
    "region_encoder": "efficientnet",
    "level_widths": (24, 40, 112),
    "adapter_width": 0,
}
FULL: dict[str, Any] = {}
PRESETS = {"nano": NANO, "full": FULL}
