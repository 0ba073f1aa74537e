"""What decides a painting of UniF²ace: names, types and limits, the same for a request and for a recipe read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from limner.errors import InputError
from limner.settings import check_numbers, check_sampler

from .unmasking import SAMPLERS

MOST = 1024  # pictures in one request
WHOLE = {"n": (1, MOST), "steps": (1, 1000), "seed": (0, 2**63 - 1 - MOST)}
SCALES = {"guidance": (0, 100), "temperature": (0, 100)}


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """Everything that decides pictures besides the weights and the machine, as ``UniF2ace.paint`` documents it.

    Types and ranges are checked once, here: ``InputError`` names the first value that cannot be.
    """

    text: str
    n: int
    steps: int
    guidance: float
    seed: int
    sampler: str
    temperature: float

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text:
            raise InputError("nothing to generate: UniF²ace needs a prompt")
        check_sampler(self.sampler, SAMPLERS)
        check_numbers(asdict(self), WHOLE, SCALES)
        if self.sampler == "leap" and self.temperature == 0:
            raise InputError("temperature=0: the sampler 'leap' divides by it; choose a number above 0")

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, Any]) -> GenerationConfig:
        """Of a picture's recipe; ``KeyError`` for one that lacks a value."""
        return cls(**{field.name: recipe[field.name] for field in fields(cls)})
