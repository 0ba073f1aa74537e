"""The photos that `limner edit --from` takes parts of, as they were named on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from limner.errors import InputError


@dataclass(frozen=True)
class Donor:
    """A photo, the parts taken of it, the face they are taken of (None: the largest), and what the plan calls it."""

    file: Path
    parts: tuple[str, ...]
    face: int | None
    name: str


def named_donors(given: list[str], faces: list[int]) -> list[Donor]:
    """From OTHER:PART,… each, and the faces for as many of them. A plan goes with its picture, so that it calls a photo
    by its file's name, never by where it lies; two faces of one photo have two names.

    Raises InputError for what is written otherwise, files that are not there, and more faces than photos.
    """
    from limner.models.facex.photo_names import free_name

    if len(faces) > len(given):
        raise InputError(f"--from-face is given {len(faces)} times and --from {len(given)}: give it once a photo")
    names: dict[tuple[Path, int | None], str] = {}
    donors = []
    for text, face in zip_longest(given, faces):
        other, colon, parts = text.rpartition(":")
        if not colon or not other or not parts:
            raise InputError(f"--from {text!r}: write it as PHOTO:part,part, for example her.jpg:lips,hair")
        file = Path(other)
        if not file.is_file():
            raise InputError(f"--from {text!r}: no such file: {other}")
        who = file.resolve(), face
        if who not in names:
            names[who] = free_name(file, names.values())
        donors.append(Donor(file, tuple(parts.split(",")), face, names[who]))
    return donors
