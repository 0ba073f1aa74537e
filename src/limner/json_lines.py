"""JSON objects that people wrote: each read with a sentence for what is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limner.errors import InputError
from limner.parsing import TextError, parse_json


def parse_object(text: str, name: str) -> dict[str, Any]:
    """A JSON object; ``InputError`` beginning with ``name`` if the text is none."""
    try:
        found = parse_json(text)
    except TextError as error:
        raise InputError(f"{name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{name} is not a JSON object")
    return found


def read_objects(place: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a .jsonl file, each with its line's number from 1; empty lines are left out."""
    with open(place, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, parse_object(line, f"{place}, line {number}")
