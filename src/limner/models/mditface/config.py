"""How large an MDiT is and how its mask stream is built. Size is configuration; nano and FLUX.1 are one code path."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from limner.weights.configs import from_header, to_header


@dataclass(frozen=True, kw_only=True)
class MDiTConfig:
    """The shape of one multivariate diffusion transformer (MDiT).

    The defaults are the nano sizes. [P] three streams and decoupled attention are the paper's (arXiv 2511.12631);
    [R] block shapes, RoPE and QK-RMSNorm are FLUX.1's; [O] everything about nano is our choice.
    """

    latent_channels: int = 32
    """Channels of the codec's latents."""
    latent_factor: int = 16
    """Pixels of the picture per latent cell, along one side."""
    patch: int = 2
    """Latent cells per token, along one side (FLUX packs 2 x 2)."""
    vector_tokens: int = 0
    """Tokens of the codec that stand for no place in the picture (the style of a generator codec). They come before the
    grid's tokens, are as wide as these, and belong to the image stream. With them ``positions`` gives the grid."""
    width: int = 384
    """Model width D, shared by the three streams."""
    heads: int = 6
    """Attention heads; ``width`` must be a multiple of it."""
    double_blocks: int = 1
    """Blocks in which text, image and mask each have their own projections."""
    single_blocks: int = 7
    """Blocks in which text and image run as one stream; the mask stays apart."""
    mlp_ratio: float = 4.0
    """MLP width over model width, image stream and merged stream."""
    text_mlp_ratio: float = 2.0
    """MLP width over model width of the text stream in double blocks (FLUX: 4; our choice: 2 at nano, MiniLM
    tokens are contextual already)."""
    gelu: str = "none"
    """``none``: the exact GELU (our choice at nano: four times as fast as the other in bfloat16 on a CPU). ``tanh``:
    its approximation, which FLUX was trained with."""
    rope_axes: tuple[int, int, int] = (8, 28, 28)
    """Head dimensions turned by (index, row, column); they sum to the head size (FLUX: 16, 56, 56)."""
    rope_theta: float = 100.0
    """Base of the rotary frequencies (FLUX: 10,000; our choice: 100 at nano, whose positions go to 7)."""
    positions: tuple[int, int] | None = (8, 8)
    """Rows and columns of a learned position added to image and mask tokens; None: rotations alone, as FLUX has it, for
    pictures of any size (our choice at nano: faces are aligned, so a place in the picture means something)."""
    text_width: int = 384
    """Width of a text token (MiniLM 384, T5-XXL 4096)."""
    text_pooled: int = 384
    """Width of the pooled text vector (MiniLM 384, CLIP-L 768)."""
    text_length: int = 32
    """Text tokens a prompt is padded or cut to."""
    text_norm: bool = True
    """Normalise text features to zero mean and unit variance before projecting (our choice: MiniLM's pooled vector
    has entries near 0.05, its tokens near 0.5)."""
    guidance_embed: bool = False
    """Whether guidance is an input of the network (FLUX.1-dev, which is distilled) instead of two evaluations."""
    modulation_rank: int | None = 32
    """None: each block projects the conditioning in full, as FLUX does. A number: one shared projection plus a table
    and a correction of that rank per block (PixArt's adaLN-single; full projections would take 45 % of nano)."""
    mask_weights: str = "lora"
    """``lora``: the mask stream runs on the image weights plus a low-rank correction [R]. ``own``: a third full set."""
    mask_rank: int = 16
    """Rank of the mask stream's low-rank correction; 0: none, the image weights as they are."""
    mask_embedding: str = "labels"
    """``labels``: a learned embedding of one-hot region patches [O]. ``palette``: the map as a coloured picture
    through the image codec and the image patch embedding [R]."""
    mask_classes: int = 19
    """Region classes (CelebAMask-HQ order)."""
    mask_cell: int = 4
    """Side, in pixels, of the cells within a token in which ``labels`` counts class shares; even."""
    null_conditions: bool = True
    """Learned stand-ins for an absent text and an absent mask. Without them an absent mask is no mask tokens at all,
    and an absent text must be given as the features of an empty prompt."""

    def __post_init__(self) -> None:
        for name in (
            "latent_channels",
            "latent_factor",
            "patch",
            "width",
            "heads",
            "text_width",
            "text_pooled",
            "text_length",
            "mask_classes",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        for name in ("double_blocks", "single_blocks", "mask_rank", "vector_tokens"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: must not be negative")
        if self.double_blocks + self.single_blocks < 1:
            raise ValueError("double_blocks=0 and single_blocks=0: at least one block is needed")
        if self.width % self.heads:
            raise ValueError(f"width={self.width}: must be a multiple of heads={self.heads}")
        if sum(self.rope_axes) != self.head_size or any(axis % 2 for axis in self.rope_axes):
            raise ValueError(f"rope_axes={self.rope_axes}: three even numbers that sum to width/heads={self.head_size}")
        if self.modulation_rank is not None and self.modulation_rank < 0:
            raise ValueError(f"modulation_rank={self.modulation_rank}: None for full projections, or 0 and more")
        if self.positions is not None and (len(self.positions) != 2 or min(self.positions) < 1):
            raise ValueError(f"positions={self.positions}: None, or rows and columns of the token grid")
        if self.vector_tokens and self.positions is None:
            raise ValueError(f"vector_tokens={self.vector_tokens}: positions must say how many tokens the grid has")
        if self.gelu not in ("none", "tanh"):
            raise ValueError(f"gelu={self.gelu!r}: choose 'none' or 'tanh'")
        if self.mask_weights not in ("lora", "own"):
            raise ValueError(f"mask_weights={self.mask_weights!r}: choose 'lora' or 'own'")
        if self.mask_embedding not in ("labels", "palette"):
            raise ValueError(f"mask_embedding={self.mask_embedding!r}: choose 'labels' or 'palette'")
        if self.mask_cell % 2 or self.mask_cell < 2 or self.token_pixels % self.mask_cell:
            raise ValueError(
                f"mask_cell={self.mask_cell}: an even divisor of the {self.token_pixels} pixels of a token"
            )

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    @property
    def packed_channels(self) -> int:
        """Numbers in one image token before embedding: channels x patch x patch."""
        return self.latent_channels * self.patch * self.patch

    @property
    def image_tokens(self) -> int:
        """Tokens of the image stream where the grid is fixed: vector tokens and the grid's."""
        if self.positions is None:
            raise ValueError("positions is None: the number of image tokens depends on the picture's size")
        return self.vector_tokens + self.positions[0] * self.positions[1]

    @property
    def token_pixels(self) -> int:
        """Side, in pixels, of the square of the picture that one token stands for."""
        return self.latent_factor * self.patch

    @property
    def blocks(self) -> int:
        """Number of blocks, which is the number of layers in a mask cache."""
        return self.double_blocks + self.single_blocks

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, as it stands in a weight file's header."""
        return to_header(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MDiTConfig:
        """Inverse of ``to_dict``; an unknown field raises ``ValueError``."""
        return from_header(cls, values)


NANO = MDiTConfig()

FLUX_DEV = MDiTConfig(
    latent_channels=16, latent_factor=8, width=3072, heads=24, double_blocks=19, single_blocks=38, text_mlp_ratio=4.0,
    gelu="tanh", rope_axes=(16, 56, 56), rope_theta=10_000.0, positions=None, text_width=4096, text_pooled=768,
    text_length=512, text_norm=False, guidance_embed=True, modulation_rank=None, mask_weights="lora", mask_rank=0,
    mask_embedding="palette", null_conditions=False,
)  # fmt: skip

FLUX_SCHNELL = replace(FLUX_DEV, guidance_embed=False, text_length=256)

PRESETS: dict[str, MDiTConfig] = {"nano": NANO, "flux-dev": FLUX_DEV, "flux-schnell": FLUX_SCHNELL}


def preset(name: str) -> MDiTConfig:
    """The configuration of that name: ``nano``, ``flux-dev`` or ``flux-schnell``."""
    if name not in PRESETS:
        raise ValueError(f"preset {name!r} does not exist; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
