"""A finished run in a few lines: what `results/` keeps of it."""

from __future__ import annotations

import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

from limner.files import write_json_atomic
from limner.training.config import read_run_config
from limner.training.run_log import read_run_log

POINTS = 25
HIDDEN = ("kind", "time")
LOGGED = "share."  # figures of every expert in every layer: the log has them


def summarise(run: Path) -> dict[str, Any]:
    """Loss curve (means of about 25 equal stretches), every validation, speed and hours of the run in folder `run`.

    Hours count the time between log lines of one process: pauses between a stop and its resumption are left out.
    """
    lines = read_run_log(run / "log.jsonl")
    train = [line for line in lines if line["kind"] == "train"]
    size = max(1, -(-len(train) // POINTS))
    stretches = [train[start : start + size] for start in range(0, len(train), size)]
    speeds = [line["samples_per_second"] for line in train if "samples_per_second" in line]
    steps_between = statistics.median([b["step"] - a["step"] for a, b in pairwise(train)] or [0])
    gaps = [b["time"] - a["time"] for a, b in pairwise(train) if b["step"] - a["step"] == steps_between]
    usual = statistics.median(gaps) if gaps else 0.0
    return {
        "training_config": read_run_config(run),
        "steps": train[-1]["step"] if train else 0,
        "hours": round(sum(gap for gap in gaps if gap < 20 * usual) / 3600, 2),
        "samples_per_second": round(statistics.median(speeds), 2) if speeds else None,
        "loss": [
            {"step": part[-1]["step"], "loss": round(statistics.fmean(line["loss"] for line in part), 4)}
            for part in stretches
        ],
        "validations": [
            {k: v for k, v in line.items() if k not in HIDDEN and not k.startswith(LOGGED)}
            for line in lines
            if line["kind"] == "validate"
        ],
    }


def write_summary(run: Path) -> Path:
    """Write `summary.json` into the run folder; returns its path."""
    path = run / "summary.json"
    write_json_atomic(path, summarise(run))
    return path
