"""A real `limner serve` in a process of its own on loopback, for the drills."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A running server: its address, process id, and the file its log goes to."""

    url: str
    pid: int
    log: Path

    def memory(self, field: str = "VmRSS") -> float:
        """Megabytes of the process now, or at its peak (`VmHWM`)."""
        found = re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) / 1000 if found else 0.0


@contextmanager
def serving(folder: Path, log: Path, *options: str) -> Iterator[Process]:
    """A server for the block. It must end by itself, with status 0, when it is asked to."""
    command = [sys.executable, "-m", "limner", "serve", "--port", "0", "--folder", str(folder), *options]
    with open(log, "ab") as lines:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=lines, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://[\d.:]+", process.stdout.readline())
        if found is None:
            raise SystemExit(f"the server did not start: {log.read_text()}")
        yield Process(found[0], process.pid, log)
        assert process.poll() is None, f"the server died: see {log}"
    finally:
        process.terminate()
        process.wait(60)
    assert process.returncode in (0, -15), f"the server left with {process.returncode}"
