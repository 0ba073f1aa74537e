"""Where a verb's results go: a file that exists is never replaced unless ``--overwrite`` says so."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Annotated

import typer

from limner.errors import InputError

Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace files that exist. Without it results in a folder get new numbers."),
]


def refuse_existing(file: Path, overwrite: bool) -> None:
    """Raise InputError for a file named by the user that exists, unless it may be replaced."""
    if not overwrite and file.exists():
        raise InputError(f"{file} exists: give another name, or add --overwrite to replace it")


def unused_name(file: Path, overwrite: bool) -> Path:
    """The file's own name, or the first of NAME-2, NAME-3 … that no file has."""
    if overwrite or not file.exists():
        return file
    tries = (file.with_name(f"{file.stem}-{number}{file.suffix}") for number in count(2))
    return next(name for name in tries if not name.exists())


def numbered_names(folder: Path, numbers: Sequence[int], suffix: str, overwrite: bool) -> list[Path]:
    """FOLDER/NUMBER.png for each number; where one of those exists, as many numbers after the folder's highest."""
    wanted = [folder / f"{number}{suffix}" for number in numbers]
    if overwrite or not any(file.exists() for file in wanted):
        return wanted
    used = (int(file.stem) for file in folder.iterdir() if file.suffix == suffix and file.stem.isdecimal())
    first = max(chain(used, numbers)) + 1
    return [folder / f"{first + place}{suffix}" for place in range(len(numbers))]
