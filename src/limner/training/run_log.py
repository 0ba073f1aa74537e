"""The log of a run: JSON lines for programs, TensorBoard events for eyes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from limner.files import write_bytes_atomic, writing


class RunLog:
    """Appends log lines; after a resume, lines beyond the checkpoint are dropped, so that no step stands twice."""

    def __init__(self, run: Path, step: int, report: Callable[[dict[str, Any]], None]) -> None:
        self.path = run / "log.jsonl"
        self.report = report
        with writing(run / "tensorboard"):
            self.board = _board(run / "tensorboard", step)
        if self.path.exists():
            lines = [line for line in self.path.read_text().splitlines() if _step_of(line) <= step]
            write_bytes_atomic(self.path, "".join(line + "\n" for line in lines).encode())

    def __enter__(self) -> RunLog:
        with writing(self.path):
            self.file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *reason: object) -> None:
        with writing(self.path):
            self.file.close()
        if self.board is not None:
            self.board.close()

    def write(self, step: int, kind: str, figures: dict[str, float]) -> None:
        """One line: `{"step", "kind", "time", …figures}`."""
        line = {"step": step, "kind": kind, "time": round(time.time(), 1)}
        line |= {key: float(f"{value:.6g}") for key, value in figures.items()}
        with writing(self.path):
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
        if self.board is not None:
            for key, value in figures.items():
                self.board.add_scalar(f"{kind}/{key}", value, step)
        self.report(line)


class NullLog:
    """The journal of processes that keep none."""

    def __enter__(self) -> NullLog:
        return self

    def __exit__(self, *reason: object) -> None:
        pass

    def write(self, step: int, kind: str, figures: dict[str, float]) -> None:
        """Nothing: the first process writes."""


def read_run_log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log, in order; a line that a crash cut off is passed over."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if _step_of(line) < float("inf")]


def _board(folder: Path, step: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # the extra `train` is not installed: the JSON lines hold the same figures
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return float("inf")  # a line cut off by a crash
