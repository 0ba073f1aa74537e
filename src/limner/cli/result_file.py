"""What measuring commands leave behind: a stored result with its command line, its figures printed, a sheet."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def store(
    path: Path, figures: dict[str, Any], seed: int | None, settings: dict[str, Any], remarks: Iterable[str] = ()
) -> dict[str, Any]:
    """Store a result with the command line that made it, print its figures and the remarks, and return it."""
    result = keep(path, figures, seed, settings)
    print(json.dumps(result["figures"], indent=2))
    for remark in remarks:
        print(remark)
    print(f"stored in {path}")
    return result


def keep(path: Path, figures: dict[str, Any], seed: int | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Store a result with the command line that made it, and return it."""
    from limner.evaluation.results import store_result

    return store_result(path, shlex.join(["limner", *_without_sheet(sys.argv[1:])]), figures, seed, settings)


def _without_sheet(words: list[str]) -> list[str]:
    """A command line without `--sheet FILE`: where a picture went makes no difference to the figures."""
    kept = [word for word in words if not word.startswith("--sheet=")]
    return [w for k, w in enumerate(kept) if w != "--sheet" and (k == 0 or kept[k - 1] != "--sheet")]


def picture(path: Path, sheet: np.ndarray) -> None:
    """Write a sheet."""
    from limner.faces.picture import save_picture

    save_picture(path, sheet)
    print(f"sheet in {path}")
