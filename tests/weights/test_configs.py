"""Configurations survive the way into a header and back."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from limner.weights.configs import from_header, to_header


@dataclass(frozen=True, kw_only=True)
class Sizes:
    width: int = 4
    axes: tuple[int, ...] = (1, 2)
    rank: int | None = None


def test_there_and_back_through_json() -> None:
    sizes = Sizes(width=8, axes=(3, 4, 5))
    assert from_header(Sizes, json.loads(json.dumps(to_header(sizes)))) == sizes


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(ValueError, match="widht: not a field of Sizes; its fields are width, axes, rank"):
        from_header(Sizes, {"widht": 3})
