"""Published figures of UniF²ace and the models it is compared with, for a column beside measured ones."""

from __future__ import annotations

import json
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
