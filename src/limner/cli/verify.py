"""Verb `verify`: did Limner make this picture or video, and what do its marks prove?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from limner.errors import InputError

HEADLINES = {
    "made": "made by Limner, its marks say",
    "claimed": "a recipe of Limner alone, which anyone can write: nothing shows that Limner made it",
    "damaged": "damaged recipe: who made it cannot be said",
    "none": "no mark of Limner",
}
STATUS = {"made": 0, "none": 1, "damaged": 2, "unreadable": 2, "claimed": 3}


def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pictures and videos to check.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check pictures and videos for Limner's recipe, watermark and manifest.

    Exit code 0: every file has the watermark or a valid manifest of Limner. 3: a file has only a recipe, which anyone
    can write. 1: a file has no mark, which proves nothing. 2: a file cannot be read, or its recipe is damaged. With
    several files, 2 takes precedence over 1, and 1 over 3.
    """
    from limner.provenance.verify import verify as look

    listed: list[dict[str, Any]] = []
    for file in files:
        try:
            report = look(file)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            listed.append({"file": str(file), "limner": None, "verdict": "unreadable", "error": str(error)})
            continue
        listed.append({"file": str(file), **report.as_dict()})
        if not as_json:
            print(f"{file}: {HEADLINES[report.verdict]}")
            for mark, sentence in report.sentences().items():
                print(f"  {mark + ':':<10} {sentence}")
    if as_json:
        print(json.dumps(listed, indent=2))
    found = {STATUS[one["verdict"]] for one in listed}
    raise typer.Exit(next((status for status in (2, 1, 3) if status in found), 0))
