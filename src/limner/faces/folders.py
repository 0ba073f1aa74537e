"""Where training and measuring find their pictures."""

from __future__ import annotations

import os
from pathlib import Path

from limner.errors import InputError
from limner.faces.picture import is_picture_name


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
