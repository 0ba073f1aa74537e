"""How many threads a command computes on: as many as there are free cores when it starts.

Threads that wait for each other in a parallel loop are as slow as the slowest of them. Where other programs keep the
cores busy, fewer threads that sleep while they wait finish sooner than as many as there are cores that spin.
"""

from __future__ import annotations

import os
import time
from collections.abc import MutableMapping
from pathlib import Path

LOADAVG = Path("/proc/loadavg")
SAMPLES, PAUSE = 5, 0.004  # seconds between them


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_cores() -> float:
    """Mean number of other threads on this machine that want to run now; 0 where the system does not tell.

    From the fourth field of Linux's /proc/loadavg, and not the load average, which remembers a minute.
    """
    counts = []
    for _ in range(SAMPLES):
        try:
            running = int(LOADAVG.read_text().split()[3].partition("/")[0])
        except (OSError, ValueError, IndexError):
            return 0.0
        counts.append(running - 1)  # this thread is one of them
        time.sleep(PAUSE)
    return sum(counts) / len(counts)


def choose_threads(environment: MutableMapping[str, str], lasting: bool = False) -> int | None:
    """Set ``OMP_NUM_THREADS`` and ``OMP_WAIT_POLICY`` to what suits this machine now; to be called before torch loads.

    What is set already stays. On an idle machine nothing is set, and every library uses its own default. lasting: for
    commands that run for hours, which only learn to sleep while they wait: the machine will be idle at another time.
    Returns the number of threads, or None where it was left alone.
    """
    if "OMP_NUM_THREADS" in environment:
        return None
    cores, busy = usable_cores(), busy_cores()
    if busy < 0.5:
        return None
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if lasting:
        return None
    free = max(1, min(cores, round((os.cpu_count() or cores) - busy)))
    environment["OMP_NUM_THREADS"] = str(free)
    return free


def pool_size(most: int) -> int:
    """Threads of a library that does not read ``OMP_NUM_THREADS`` itself: as many, or the cores; ``most`` at most."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(most, int(given) if given.isdigit() else usable_cores()))


def waits_asleep() -> bool:
    """Whether threads shall sleep while they wait (``OMP_WAIT_POLICY=PASSIVE``)."""
    return os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE"
