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

NOT_ALWAYS = ("asked", "notes")
"""Fields that say where a prompt came from and decide nothing."""


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
    asked: str | None = None
    """The words as they were given, where other ones are painted (see `limner.words.prompt`)."""
    notes: tuple[str, ...] = ()
    """What of them is painted otherwise, a line each."""

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
        return cls(**{field.name: recipe[field.name] for field in fields(cls) if field.name not in NOT_ALWAYS})

    def to_recipe(self) -> dict[str, Any]:
        """What of it goes into a recipe."""
        return {name: value for name, value in asdict(self).items() if value or name not in NOT_ALWAYS}
