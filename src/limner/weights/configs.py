"""Configurations as they stand in the headers of weight files: a dataclass to JSON-able values and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from limner.aliases import CONFIG_FIELDS, renamed

Config = TypeVar("Config")


def to_header(config: Any) -> dict[str, Any]:
    """A configuration (a dataclass) as JSON can hold it; tuples become lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}


def from_header(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Inverse of ``to_header``: lists become tuples, old field names new ones.

    Raises ``ValueError`` naming an unknown field.
    """
    values = renamed(values, CONFIG_FIELDS.get(kind.__name__, {}))
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{unknown[0]}: not a field of {kind.__name__}; its fields are {', '.join(known)}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
