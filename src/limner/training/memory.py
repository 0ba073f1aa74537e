"""Memory that was freed stays with the process, so that the next step need not ask the system for it again."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's mallopt
GROW_BY = 256 << 20


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep what is freed, and to grow in steps of 256 MB; False where there is no glibc.

    Our choice: because a training step on a CPU frees and asks for the same hundreds of megabytes every time, and by
    default each of them is mapped, filled with zeros page by page, and given back (benchmarks/freed_memory.py). Only
    blocks made after the call are kept.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return all([mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, -1), mallopt(M_TOP_PAD, GROW_BY)])
