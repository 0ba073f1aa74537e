"""Settings of a request held to their limits, each refused in one sentence that says the way out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from limner.errors import InputError

BATCH = 8
"""Pictures, or faces spoken about, that an engine computes at once."""

Whole = Mapping[str, tuple[int, int]]
"""Names of whole numbers, and the least and most each may be."""
Scales = Mapping[str, tuple[float, float]]
"""The same of numbers."""


def check_numbers(settings: Mapping[str, Any], whole: Whole, scales: Scales) -> None:
    """``InputError`` naming the first setting that is no such number, or out of its limits. Yes and no are no numbers
    to count with."""
    for name, (low, high) in whole.items():
        value = settings[name]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InputError(f"{name}={value}: choose a whole number from {low} to {high}")
    for name, (low, high) in scales.items():
        value = settings[name]
        if not isinstance(value, int | float) or not low <= value <= high:  # nan is not, either
            raise InputError(f"{name}={value}: choose a number from {low} to {high}")


def check_sampler(sampler: Any, samplers: Iterable[str]) -> None:
    """``InputError`` for a sampler that is none of these."""
    if sampler not in samplers:
        raise InputError(f"sampler {sampler!r} does not exist: choose {' or '.join(samplers)}")
