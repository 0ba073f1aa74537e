"""Pictures in folders: those of training and measuring, and those that somebody names to be read."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from limner.errors import InputError
from limner.faces.picture import SUFFIXES, Source, is_picture_name


def data_root() -> Path:
    """Folder that the relative paths of recipes start from: the environment variable LIMNER_DATA, or here."""
    return Path(os.environ.get("LIMNER_DATA", "."))


def picture_files(folders: list[str]) -> list[Path]:
    """All pictures directly in the folders (relative to `data_root`), in name order, folder after folder.

    Raises InputError for a folder that is missing or holds no picture.
    """
    files: list[Path] = []
    for folder in folders:
        path = data_root() / folder
        found = sorted(p for p in path.glob("*") if is_picture_name(p)) if path.is_dir() else []
        if not found:
            raise InputError(f"no pictures in {path}; set LIMNER_DATA to the folder that the recipe's paths start from")
        files += found
    return files


def photos_in(folder: str | os.PathLike[str]) -> list[Path]:
    """All pictures in a folder and those below it, in name order; hidden files and folders are passed over."""
    place = Path(folder)
    return sorted(
        path
        for path in place.rglob("*")
        if is_picture_name(path)
        and not any(part.startswith(".") for part in path.relative_to(place).parts[:-1])
        and path.is_file()
    )


def is_several(photo: object) -> bool:
    """Whether this names any number of photos: a folder, or a pattern with ``*``, ``?`` or ``[…]``.

    A file whose own name holds such signs is that file.
    """
    if not isinstance(photo, str | os.PathLike):
        return False
    path = os.path.expanduser(os.fsdecode(photo))
    return os.path.isdir(path) or (glob.has_magic(path) and not os.path.lexists(path))


def expand_photos(photos: Iterable[Source]) -> list[Source]:
    """Every photo meant: folders and patterns become the files they name, anything else stays as it is.

    In a pattern ``**`` stands for any folders. ``InputError`` for a folder or pattern that names no picture.
    """
    found: list[Source] = []
    for photo in photos:
        if not is_several(photo):
            found.append(photo)
            continue
        path = os.path.expanduser(os.fsdecode(photo))  # type: ignore[arg-type]
        if os.path.isdir(path):
            some, kind = photos_in(path), "folder"
        else:
            names = sorted(glob.glob(path, recursive=True))
            some, kind = [Path(name) for name in names if is_picture_name(Path(name))], "pattern"
        if not some:
            raise InputError(f"the {kind} {path} names no picture: Limner reads {', '.join(SUFFIXES)}")
        found += some
    return found
