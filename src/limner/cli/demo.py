"""`limner demo`: the main job on bundled photographs, in one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for sheet.png and index.html.")] = Path("demo"),
    steps: Annotated[int, typer.Option(help="Sampling steps a portrait; 8 for a quick look.")] = 28,
) -> None:
    """Read the bundled photographs, draw their regions, and paint new portraits from regions and words."""
    import limner
    from limner.demo.show import run

    sheet, page = run(out, limner.load("nano"), steps, typer.echo)
    typer.echo(f"\nlook at {sheet}\n     or {page}")
