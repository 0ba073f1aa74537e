"""Verb `verify`: is this picture or film Limner's, and what do its marks prove?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from limner.errors import InputError


def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pictures and films to look at.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Look for Limner's marks in pictures and films: recipe, watermark, manifest.

    Status 0: every file has a mark that says Limner made it. 1: a file has none; that proves nothing. 2: a file is
    neither.
    """
    from limner.provenance.verify import verify as look

    listed: list[dict[str, Any]] = []
    for file in files:
        try:
            report = look(file)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            listed.append({"file": str(file), "limner": None, "error": str(error)})
            continue
        listed.append({"file": str(file), **report.as_dict()})
        if not as_json:
            print(f"{file}: {'made by Limner, its marks say' if report.ours else 'no mark of Limner'}")
            for mark, sentence in report.sentences().items():
                print(f"  {mark + ':':<10} {sentence}")
    if as_json:
        print(json.dumps(listed, indent=2))
    status = 2 if any("error" in one for one in listed) else 0 if all(one["limner"] for one in listed) else 1
    raise typer.Exit(status)
