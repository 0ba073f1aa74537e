"""What commands of ablations share: every cell of every seed, one line a log line, and stopping at will."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from limner.evaluation.ablation_runner import Report, Variant


def run_cells(
    chosen: Sequence[Variant], seeds: int, runs: Path, run: Callable[[Variant, int, Report], Mapping[str, float | None]]
) -> dict[str, list[Mapping[str, float | None]]]:
    """Variant → the figures that ``run`` gives for it and each of ``seeds``, from 0. Ctrl-C leaves with 130."""
    from limner.training.loop import Interrupted

    results: dict[str, list[Mapping[str, float | None]]] = {}
    try:
        for seed in range(seeds):
            for variant in chosen:
                results.setdefault(variant.name, []).append(run(variant, seed, _report_line))
    except Interrupted as stopped:
        typer.echo(f"{runs}: {stopped}; run the same command to go on", err=True)
        raise typer.Exit(130) from None
    return results


def _report_line(name: str, line: dict[str, Any]) -> None:
    typer.echo(f"{name}: {json.dumps(line)}", err=True)
