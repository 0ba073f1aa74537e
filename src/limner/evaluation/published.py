"""Published figures of UniF²ace and of face editors, and the models they are compared with, to stand beside ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("published.json")


def published() -> dict[str, Any]:
    """The stored tables: `source`, `note`, `metrics` (what is better), `models` and `ablations`."""
    return json.loads(FILE.read_text("utf-8"))


def reference(*metrics: str) -> dict[str, dict[str, float]]:
    """Metric → model → published figure, for models that have one. Raises ValueError for an unknown metric."""
    table = published()
    for metric in metrics:
        if metric not in table["metrics"]:
            raise ValueError(f"no published metric {metric!r}: there are {', '.join(table['metrics'])}")
    return {metric: {name: row[metric] for name, row in table["models"].items() if metric in row} for metric in metrics}


def published_edits(suite: str) -> dict[str, Any]:
    """`source`, `note`, `set`, `metrics`, `models` and `beside` (a figure of ours → the metric it stands beside) for a
    suite of edits; empty for one that nobody published."""
    stored = json.loads(FILE.with_name("published_edits.json").read_text("utf-8"))
    found = stored["suites"].get(suite)
    return {"source": stored["source"], "note": stored["note"], **found} if found else {}


def edits_table(figures: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """Figures of a suite as Markdown, with what others published beside each, as ``published_edits`` gives it.

    The column is empty where nobody published anything; figures within figures are left out.
    """
    lines = [f"| | measured | published ({reference['set']}, other judges) |", "|---|---|---|"]
    for name, value in figures.items():
        if isinstance(value, dict):
            continue
        metric = reference["beside"].get(name)
        told = [f"{model} {row[metric]:g}" for model, row in reference["models"].items() if metric in row]
        unit = f"{metric} ({reference['metrics'][metric]}): {', '.join(told)}" if told else ""
        lines.append(f"| {name} | {value if isinstance(value, str) else f'{value:.5g}'} | {unit} |")
    return "\n".join(lines)
