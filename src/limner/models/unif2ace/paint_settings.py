"""What can be asked of UniF²ace as a painter: names, types and limits, for a request and for a recipe read back."""

from __future__ import annotations

from typing import Any

from limner.errors import InputError
from limner.settings import check_numbers, check_sampler

from .unmasking import SAMPLERS

SETTINGS = ("text", "n", "steps", "guidance", "seed", "sampler", "temperature")
"""What of a recipe decides the picture, besides weights, machine and the picture's number."""

MOST = 1024  # pictures in one request
WHOLE = {"n": (1, MOST), "steps": (1, 1000), "seed": (0, 2**63 - 1 - MOST)}
SCALES = {"guidance": (0, 100), "temperature": (0, 100)}


def check_request(settings: dict[str, Any]) -> None:
    """``InputError`` naming the first setting that cannot be painted; they are as ``UniF2ace.paint`` documents them."""
    text, sampler = settings["text"], settings["sampler"]
    if not isinstance(text, str) or not text:
        raise InputError("nothing to paint: UniF²ace paints from words, so say what")
    check_sampler(sampler, SAMPLERS)
    check_numbers(settings, WHOLE, SCALES)
    if sampler == "leap" and settings["temperature"] == 0:
        raise InputError("temperature=0: the sampler 'leap' divides by it; choose a number above 0")
