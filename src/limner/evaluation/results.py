"""Stored results: what was measured, by which command, on which commit and machine."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import limner
from limner.files import write_json_atomic


def store_result(path: Path, command: str, figures: dict[str, Any], seed: int | None, settings: dict[str, Any]) -> dict:
    """Write one result file and return it.

    command: the command line that makes it again. figures: the numbers. settings: sizes, sets and weights they hold
    for. The commit is that of the working tree the code runs from, "-dirty" when files differ; None outside git.
    """
    result = {
        "command": command,
        "figures": _rounded(figures),
        "settings": settings,
        "seed": seed,
        "limner": limner.__version__,
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
    }
    write_json_atomic(path, result)
    return result


def machine() -> dict[str, Any]:
    """Processor, cores, memory and the versions that matter for speed."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        text = cpuinfo.read_text()
        names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
        flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
        matrix = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags]
        return " ".join([names[0] if names else platform.machine(), *matrix])
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    def git(*words: str) -> str:
        root = Path(__file__).parent
        return subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", ":/src")
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
