"""How large a UniF²ace is and which experts it has. Nano, Show-o and UniF²ace are one code path."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from limner.weights.configs import from_header, to_header

Group = Literal["understand", "paint"]
"""The two tasks, each with routers and experts of its own ("grouped" [P])."""

GROUPS: tuple[Group, Group] = ("understand", "paint")

SPECIAL = ("pad", "soi", "eoi", "sov", "eov", "t2i", "mmu", "t2v", "v2v", "lvg")
"""Special tokens in the order of their ids [S]."""


@dataclass(frozen=True, kw_only=True)
class UniF2aceConfig:
    """The shape of one UniF²ace. The defaults are the nano sizes, but for ``learned_positions``.

    [P] stated by the paper (arXiv 2503.08120), [S] true of Show-o, its base (arXiv 2408.12528), [O] our choice.
    """

    text_vocabulary: int = 1584
    """Text tokens; their ids come first (Phi-1.5's tokenizer: 50,295; the shipped nano one: 1,584)."""
    codebook: int = 8192
    """Image codes, a power of two (8,192 in MAGVIT-v2 and in the nano codec)."""
    image_tokens: int = 256
    """Image tokens in a sequence, the square of a grid's side (256 px: 16 x 16)."""
    text_length: int = 128
    """Text tokens, start and end included, a prompt is padded or cut to in painting (nano's captions have up to 125
    [O]; captions average 120 words' tokens of Phi [P], so UniF²ace has 256)."""
    sot: int = 0
    """Id of start-of-text, the tokenizer's beginning-of-sequence token."""
    eot: int = 1
    """Id of end-of-text, the tokenizer's end-of-sequence token (in Phi's tokenizer the same as ``sot``)."""
    width: int = 256
    """Model width D."""
    layers: int = 8
    """Transformer blocks."""
    heads: int = 4
    """Attention heads; ``width`` must be a multiple of it."""
    mlp_width: int = 768
    """Hidden units of the feed-forward network, which is the shared expert."""
    partial_rotary_factor: float = 0.5
    """Share of a head that rotary positions turn [S]."""
    rope_theta: float = 10_000.0
    """Base of the rotary frequencies [S]."""
    qk_norm: bool = True
    """LayerNorm on queries and keys, per head [S]."""
    gelu: str = "none"
    """``tanh``: GELU's approximation, Phi's [S]. ``none``: the exact one (our choice at nano: because it is four times
    as fast in bfloat16 on a CPU)."""
    learned_positions: bool = False
    """Whether every image token has a learned vector of its place (nano [O]: because faces come aligned, so an eye is
    always near the same place, and rows and columns are slow to learn from positions in one line)."""
    norm_eps: float = 1e-5
    """Epsilon of every LayerNorm [S]."""
    token_experts: int = 8
    """Routed experts per layer and group, token level [P]; 0: a dense network, no token level."""
    token_top_k: int = 4
    """Routed experts a token goes to [P]."""
    expert_width: int = 64
    """Hidden units of a routed expert."""
    shared_experts: int = 1
    """1: both groups share one shared expert (our choice: because two make 2.6 B parameters, not the paper's 1.8 B);
    2: each group has its own, which start equal."""
    sequence_experts: bool = True
    """Whether layers have the sequence level [P]."""
    sequence_top_k: int = 2
    """Experts an image sequence goes to [P], of four."""
    clip_width: int = 320
    """Width of a semantic feature token (EfficientNet-lite0's last map 320; CLIP ViT-L/14 1,024)."""
    face_width: int = 128
    """Width of an identity feature token (the shipped network 128; AntelopeV2 512)."""
    resampler_width: int = 128
    """Width inside the resamplers [O]."""
    resampler_layers: int = 1
    """Cross-attention layers of a resampler [O]."""
    resampler_heads: int = 4
    """Heads of a resampler; ``resampler_width`` must be a multiple of it [O]."""

    def __post_init__(self) -> None:
        for name in ("text_vocabulary", "image_tokens", "width", "layers", "heads", "mlp_width", "clip_width",
                     "face_width", "expert_width",
                     "resampler_width", "resampler_layers", "resampler_heads"):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.codebook < 2 or self.codebook & (self.codebook - 1):
            raise ValueError(f"codebook={self.codebook}: a power of two, for it is made of bits")
        if self.text_length < 3:
            raise ValueError(f"text_length={self.text_length}: at least 3, start, one word and end")
        for name in ("sot", "eot"):
            if not 0 <= getattr(self, name) < self.text_vocabulary:
                raise ValueError(f"{name}={getattr(self, name)}: an id below text_vocabulary={self.text_vocabulary}")
        if self.width % self.heads:
            raise ValueError(f"width={self.width}: must be a multiple of heads={self.heads}")
        if self.resampler_width % self.resampler_heads:
            raise ValueError(f"resampler_width={self.resampler_width}: must be a multiple of {self.resampler_heads}")
        if not 0 < self.partial_rotary_factor <= 1 or self.rotary_size % 2:
            raise ValueError(
                f"partial_rotary_factor={self.partial_rotary_factor}: choose a share above 0 that rotates an even "
                f"number of the {self.head_size} dimensions of a head"
            )
        if self.gelu not in ("none", "tanh"):
            raise ValueError(f"gelu={self.gelu!r}: choose 'none' or 'tanh'")
        if self.token_experts < 0:
            raise ValueError(f"token_experts={self.token_experts}: 0 for a dense network, or more")
        if self.token_experts and not 1 <= self.token_top_k <= self.token_experts:
            raise ValueError(f"token_top_k={self.token_top_k}: between 1 and token_experts={self.token_experts}")
        if self.shared_experts not in (1, 2):
            raise ValueError(f"shared_experts={self.shared_experts}: 1 for both groups, or 2, one each")
        if not 2 <= self.sequence_top_k <= 4:
            raise ValueError(
                f"sequence_top_k={self.sequence_top_k}: 2 to 4; chosen gates sum to 1, so a router of 1 never learns"
            )

    @property
    def head_size(self) -> int:
        """Width of one attention head, E."""
        return self.width // self.heads

    @property
    def rotary_size(self) -> int:
        """Dimensions of a head that rotary positions turn."""
        return int(self.head_size * self.partial_rotary_factor)

    @property
    def bits(self) -> int:
        """Bits of an image code."""
        return self.codebook.bit_length() - 1

    @property
    def first_code(self) -> int:
        """Token id of image code 0."""
        return self.text_vocabulary + len(SPECIAL)

    @property
    def mask_id(self) -> int:
        """Token id of a masked image token, the last of all."""
        return self.first_code + self.codebook

    @property
    def vocabulary(self) -> int:
        """All token ids: text, special, image codes, mask."""
        return self.mask_id + 1

    def special(self, name: str) -> int:
        """Token id of one of ``SPECIAL``."""
        return self.text_vocabulary + SPECIAL.index(name)

    def dense(self) -> UniF2aceConfig:
        """The same without experts: Show-o."""
        return replace(self, token_experts=0, sequence_experts=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, as it stands in a weight file's header."""
        return to_header(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> UniF2aceConfig:
        """Inverse of ``to_dict``; an unknown field raises ``ValueError``."""
        return from_header(cls, values)


NANO = UniF2aceConfig(learned_positions=True)

UNIF2ACE = UniF2aceConfig(
    text_vocabulary=50_295, codebook=8192, text_length=256, sot=50_256, eot=50_256, width=2048, layers=24, heads=32,
    mlp_width=8192,
    gelu="tanh", expert_width=192, clip_width=1024, face_width=512, resampler_width=1024, resampler_layers=2,
    resampler_heads=16,
)  # fmt: skip

SHOWO = replace(UNIF2ACE.dense(), text_length=128)

# The 512 px checkpoints: 32 x 32 image tokens, everything else the same [S].
UNIF2ACE_512, SHOWO_512 = replace(UNIF2ACE, image_tokens=1024), replace(SHOWO, image_tokens=1024)

PRESETS: dict[str, UniF2aceConfig] = {
    "nano": NANO,
    "showo-1.3b": SHOWO,
    "showo-1.3b-512": SHOWO_512,
    "unif2ace-1.8b": UNIF2ACE,
    "unif2ace-1.8b-512": UNIF2ACE_512,
}
CHECKPOINTS = {256: "show-o", 1024: "show-o-512"}
"""Registry names of the published Show-o checkpoints by their number of image tokens."""


def preset(name: str) -> UniF2aceConfig:
    """The configuration of that name, of ``PRESETS``."""
    if name not in PRESETS:
        raise ValueError(f"preset {name!r} does not exist; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
