"""The photographs a verb was given: files, folders, the names of what is written about them, those refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import typer

from limner.errors import InputError, WeightsError

Result = TypeVar("Result")


def named_photos(photos: list[Path]) -> dict[Path, str]:
    """The photos named, and those in folders named, each with the name of what is written about it.

    The name is that of the file without its suffix, behind the folders between it and the folder that was named. Hidden
    files and folders are passed over, unless they are named.
    """
    from limner.faces.data_folders import photos_in

    names: dict[Path, str] = {}
    for path in photos:
        if path.is_dir():
            found = photos_in(path)
            if not found:
                raise InputError(f"there is no picture in the folder {path}")
            names |= {file: file.relative_to(path).with_suffix("").as_posix() for file in found}
        else:
            names[path] = path.stem
    return names


def refuse_shared_names(names: dict[Path, str]) -> None:
    """Raise InputError for the first two photos of one name: the second would overwrite what the first gave."""
    owners: dict[str, Path] = {}
    for file, name in names.items():
        owner = owners.setdefault(name, file)
        if owner != file:
            raise InputError(f"{owner} and {file} would both be written as '{name}': read them one at a time")


class Refused:
    """The photos that could not be used: the others are done all the same, and these are named at the end."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def unless(self, file: Path, work: Callable[[], Result]) -> Result | None:
        """What comes of work with one photo; None, and a line, for an InputError.

        A WeightsError passes: no other photo would do better.
        """
        try:
            return work()
        except WeightsError:
            raise
        except InputError as error:
            reason = str(error)
            self.lines.append(f"error: {reason if str(file) in reason else f'{file}: {reason}'}")
            return None

    def finish(self) -> None:
        """Name them on standard error; the status is 2 when there are any."""
        for line in self.lines:
            typer.echo(line, err=True)
        if self.lines:
            raise typer.Exit(2)
