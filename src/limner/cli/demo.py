"""`limner demo`: the main functions on bundled photographs, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Output folder for sheet.png and index.html.")] = Path("demo"),
    steps: Annotated[int, typer.Option(help="Sampling steps per portrait; 8 give a quick preview.")] = 28,
) -> None:
    """Read the bundled photographs, draw their regions, and generate portraits from regions and text."""
    import limner
    from limner.demo.show import run

    sheet, page = run(out, limner.load("nano"), steps, typer.echo)
    typer.echo(f"\nlook at {sheet}\n     or {page}")
