"""The splits that data sets are published with, by the name of a picture, from the lists that come with them.

train=FILE, validation=FILE, test=FILE   a list: one name a line, with or without its suffix
celeba=FOLDER   CelebA-HQ by CelebA's own partition (CelebAMask-HQ, MM-CelebA-HQ): CelebA-HQ-to-CelebA-mapping.txt and
                list_eval_partition.txt in it
ffhq=FILE       ffhq-dataset-v2.json: its category "training" or "validation" (MM-FFHQ, FFHQ-Text)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from limner.data.shards import SPLITS
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.data.sources import Item

MAPPING, PARTITION = "CelebA-HQ-to-CelebA-mapping.txt", "list_eval_partition.txt"
FORMS = (*SPLITS, "celeba", "ffhq")


def read_splits(given: Sequence[str]) -> dict[str, str]:
    """Name of a picture without its suffix → split, from entries like those above. Raises InputError."""
    found: dict[str, str] = {}
    for entry in given:
        form, equals, place = entry.partition("=")
        if form not in FORMS or not equals or not place:
            raise InputError(f"--split-list {entry}: write it as FORM=PLACE, a form being one of {', '.join(FORMS)}")
        read = {"celeba": _celeba, "ffhq": _ffhq}.get(form)
        found |= read(Path(place)) if read else dict.fromkeys(_names(Path(place)), form)
    return found


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no list that can be read") from error


def _names(file: Path) -> list[str]:
    return [_stem(line) for line in _lines(file)]


def _stem(name: str) -> str:
    return Path(name.replace("\\", "/")).with_suffix("").name


def _celeba(folder: Path) -> dict[str, str]:
    partition = dict(line.split()[:2] for line in _lines(folder / PARTITION) if len(line.split()) >= 2)
    found: dict[str, str] = {}
    for line in _lines(folder / MAPPING):
        words = line.split()  # idx orig_idx orig_file
        if len(words) == 3 and words[0].isdigit():
            number = partition.get(words[2])
            if number not in ("0", "1", "2"):
                raise InputError(f"{folder / PARTITION} says nothing of {words[2]}, which {MAPPING} names")
            found[words[0]] = SPLITS[int(number)]
    if not found:
        raise InputError(f"{folder / MAPPING} names no pictures: it has lines of index, original index and file")
    return found


def _ffhq(file: Path) -> dict[str, str]:
    try:
        entries = json.loads(file.read_text("utf-8"))
        kinds = {"training": "train", "validation": "test"}  # FFHQ's held-out faces are what papers test on
        return {f"{int(number):05d}": kinds[entry["category"]] for number, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is not ffhq-dataset-v2.json: it has a category for every number") from error


def with_splits(items: Sequence[Item], splits: dict[str, str]) -> list[Item]:
    """The items with their published splits. Raises InputError where the lists name none of them; the others are split
    by person, as always."""
    found = [replace(item, split=split_of(item.id, splits)) for item in items]
    if not any(item.split for item in found):
        raise InputError(f"the lists of --split-list name none of these pictures; the first is {items[0].id}")
    return found


def split_of(id: str, splits: dict[str, str]) -> str | None:
    """The split of an item by the last part of its id; None where the lists do not name it. FFHQ's five digits may lack
    their zeros."""
    name = _stem(id)
    return splits.get(name) or (splits.get(f"{int(name):05d}") if name.isdigit() else None)
