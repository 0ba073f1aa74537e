"""The thread that removes what is old: in short changes, so that nobody waits long for the table."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time

from limner.serving.database import StoreFull
from limner.serving.job_store import JobStore
from limner.serving.limits import Limits

log = logging.getLogger("limner.serving")
EVERY = 60.0  # seconds between two cleanings
SLICE_SECONDS = 0.02  # that a change should take; the next one is made smaller or larger accordingly
ROUND = 0.8  # seconds of work, after which others have the disk for as long
MOST = 64  # jobs and uploads removed in one change, for their age
FEW = 8  # the same, for their size: no more should go than must
PAUSE = 0.001  # seconds for others between two changes


def clean(table: JobStore, before: float, most_bytes: int, stopping: threading.Event | None = None) -> tuple[int, bool]:
    """Remove what ended, or was uploaded and not used, before a time; then the oldest while the store is too large;
    then give free pages back to the disk. Slice by slice, for ``ROUND`` seconds at most.

    Returns how many jobs and uploads went, and whether there is more to do.
    """
    stopping = stopping or threading.Event()
    removed, most, until = 0, 8, time.monotonic() + ROUND
    for old in (before, None):
        while time.monotonic() < until and not stopping.is_set():
            if old is None and table.database.size() <= most_bytes:
                break
            began = time.perf_counter()
            gone = table.remove_oldest(old, most)
            if not gone:
                break
            removed += gone
            quick = SLICE_SECONDS / max(time.perf_counter() - began, 1e-6)
            most = max(1, min(MOST if old is not None else FEW, int(most * min(2.0, quick))))
            time.sleep(PAUSE)
    while time.monotonic() < until and not stopping.is_set() and table.database.give_back():
        time.sleep(PAUSE)
    return removed, time.monotonic() >= until


class Cleaner:
    """Cleans now and then until it is stopped."""

    def __init__(self, table: JobStore, limits: Limits) -> None:
        self._table, self._limits = table, limits
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="limner cleaner", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the change that is under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            more = False
            try:
                before = time.time() - self._limits.keep_hours * 3600
                _, more = clean(self._table, before, self._limits.store_bytes, self._stopping)
            except StoreFull:
                log.warning("the disk is full: nothing could be cleaned")
            except sqlite3.Error:  # the file is damaged, or its disk: the worker says so, too
                log.exception("cleaning failed")
            self._stopping.wait(ROUND if more else EVERY)
