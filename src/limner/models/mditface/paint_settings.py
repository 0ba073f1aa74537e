"""What decides a painting: names, types and limits, the same for a request and for a recipe that is read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from limner.errors import InputError
from limner.settings import check_numbers, check_sampler

from .flow import SAMPLERS
from .loading import MDiTFaceComponents

MOST = 1024  # pictures in one request
WHOLE = {"n": (1, MOST), "steps": (1, 1000), "seed": (0, 2**63 - 1 - MOST), "size": (1, 4096)}
SCALES = {"guidance": (0, 100), "mask_guidance": (0, 100)}

NOT_ALWAYS = ("asked", "notes")
"""Fields that say where a prompt came from and decide nothing."""


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """Everything that decides pictures besides the weights and the machine, as ``MDiTFace.paint`` documents it.

    Types and ranges are checked once, here: ``InputError`` names the first value that cannot be.
    """

    text: str
    """Words, may be empty."""
    mask: str | None
    """A packed region map (see ``picture.pack_map``)."""
    n: int
    steps: int
    guidance: float
    mask_guidance: float
    seed: int
    sampler: str
    merge: int | str | None
    size: int
    asked: str | None = None
    """The words as they were given, where other ones are painted (see `limner.words.prompt`)."""
    notes: tuple[str, ...] = ()
    """What of them is painted otherwise, a line each."""

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not (self.mask is None or isinstance(self.mask, str)):
            raise InputError("invalid recipe: text and mask must be strings")
        if not self.text and self.mask is None:
            raise InputError("nothing to generate: give a prompt, a mask, or both")
        check_sampler(self.sampler, SAMPLERS)
        check_numbers(asdict(self), WHOLE, SCALES)
        merge = self.merge
        if merge is not None and self.mask is None:
            raise InputError("merge needs a mask")
        if merge is not None and merge != "regions" and (not isinstance(merge, int) or merge < 1):
            raise InputError(f"merge={merge!r}: give the number of mask tokens to keep, or 'regions'")

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, Any]) -> GenerationConfig:
        """Of a picture's recipe; ``KeyError`` for one that lacks a value."""
        return cls(**{field.name: recipe[field.name] for field in fields(cls) if field.name not in NOT_ALWAYS})

    def to_recipe(self) -> dict[str, Any]:
        """What of it goes into a recipe."""
        return {name: value for name, value in asdict(self).items() if value or name not in NOT_ALWAYS}

    def check_weights(self, components: MDiTFaceComponents) -> None:
        """``InputError`` unless these weights can paint it."""
        token = components.model.config.token_pixels
        if components.fixed and self.size != components.size:
            raise InputError(f"size={self.size}: these weights support only size={components.size}")
        if self.size % token:
            raise InputError(f"size={self.size}: choose a multiple of {token}")
        if not components.guided and self.guidance != 1:
            raise InputError(
                f"guidance={self.guidance}: FLUX.1-schnell is distilled and takes no guidance; leave it out"
            )

    @property
    def has_words(self) -> bool:
        """Whether there are words to follow."""
        return bool(self.text)

    @property
    def has_mask(self) -> bool:
        """Whether there is a region map to follow."""
        return self.mask is not None
