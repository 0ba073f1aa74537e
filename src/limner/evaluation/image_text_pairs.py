"""What judges look at: pictures with their words, and texts with their references, from files or built sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.shards import is_built, iterate
from limner.errors import InputError
from limner.faces.picture import read_picture
from limner.json_lines import read_objects


@dataclass(frozen=True)
class Pair:
    """A picture, as bytes or a file, and the words that it should show."""

    id: str
    text: str
    source: bytes | Path

    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8. Raises InputError."""
        return read_picture(self.source, self.id)


def read_pairs(place: Path, split: str | None = None, column: str = "prompts", limit: int | None = None) -> list[Pair]:
    """Pictures and words of a JSONL file ({"id", "image": path from the file, "text"}) or of a built set.

    split, column (prompts or captions): of a built set, whose face k gives its text k modulo their number. Raises
    InputError for anything else, and for nothing.
    """
    if column not in ("prompts", "captions"):
        raise InputError(f"column {column!r}: choose prompts or captions")
    pairs: list[Pair] = []
    if place.is_dir() and is_built(place):
        for k, row in enumerate(iterate(place, split, ["id", "image", column])):
            if limit is not None and len(pairs) >= limit:
                break
            if row[column]:
                pairs.append(Pair(row["id"], row[column][k % len(row[column])], row["image"]["bytes"]))
    else:
        records = read_records(place, ("image", "text"))
        pairs = [Pair(str(r["id"]), r["text"], place.parent / r["image"]) for r in records[:limit]]
    if not pairs:
        raise InputError(f"{place} has no pictures with texts")
    return pairs


def read_records(place: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Lines of a JSONL file, each an object with these columns as text (`id`: the line's number where it has none)."""
    if not place.is_file():
        raise InputError(f"{place} is no file: give a .jsonl with {', '.join(columns)} on each line")
    records = list(read_objects(place))
    for number, record in records:
        missing = [name for name in columns if not isinstance(record.get(name), str)]
        if missing:
            raise InputError(f"{place}, line {number}: no text '{missing[0]}'; it has {', '.join(record) or 'nothing'}")
        record.setdefault("id", str(number))
    if not records:
        raise InputError(f"{place} is empty")
    return [record for _, record in records]
