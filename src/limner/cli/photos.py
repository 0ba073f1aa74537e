"""The photographs a verb was given: files and folders, each with the name of what is written about it."""

from __future__ import annotations

from pathlib import Path

from limner.errors import InputError


def named_photos(photos: list[Path]) -> dict[Path, str]:
    """The photos named, and those in folders named, each with the name of what is written about it.

    The name is that of the file without its suffix, behind the folders between it and the folder that was named.
    """
    from limner.faces.picture import SUFFIXES

    names: dict[Path, str] = {}
    for path in photos:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
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
