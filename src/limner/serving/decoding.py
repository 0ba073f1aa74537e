"""One budget of pixels for a whole server: however many pictures come at once, few are decoded at the same time."""

from __future__ import annotations

import ctypes
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from limner.serving.job_store import QueueFull

PIXELS = 80_000_000  # being decoded at the same time: two of the largest pictures; each takes about 8 bytes a pixel
PATIENCE = 10.0  # seconds that a picture waits for its share of them
LARGE = 4_000_000  # pixels of a picture whose memory is worth giving back
BETWEEN = 1.0  # seconds between two returns of memory
SMALL_BYTES = 32_000_000  # of small copies kept


class PixelBudget:
    """A claim waits until it fits. Every method may be called from any thread."""

    def __init__(self, pixels: int = PIXELS, patience: float = PATIENCE) -> None:
        self._pixels, self._patience = pixels, patience
        self._free = pixels
        self._changed = threading.Condition()
        self._returned = 0.0

    @contextmanager
    def claim(self, pixels: int) -> Iterator[None]:
        """So many pixels for the block; ``QueueFull`` if others keep them for too long.

        What is larger than the budget waits for all of it. Claims must not nest, or two could wait for each other.
        """
        share = min(pixels, self._pixels)
        with self._changed:
            if not self._changed.wait_for(lambda: self._free >= share, self._patience):
                raise QueueFull("too many large pictures are being decoded: try again in a while")
            self._free -= share
        try:
            yield
        finally:
            with self._changed:
                self._free += share
                self._changed.notify_all()
            if share >= LARGE:
                self._give_back()

    def _give_back(self) -> None:
        """Return what was freed to the system: glibc's allocator would keep it in the thread that freed it."""
        now = time.monotonic()
        with self._changed:
            if now - self._returned < BETWEEN and self._free < self._pixels:
                return
            self._returned = now
        with suppress(OSError, AttributeError):  # another system, another C library
            ctypes.CDLL(None).malloc_trim(0)


class ThumbnailCache:
    """Small copies of pictures by id and side, as encoded files: those used last, up to some bytes."""

    def __init__(self, most_bytes: int = SMALL_BYTES) -> None:
        self._most, self._bytes = most_bytes, 0
        self._files: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, int]) -> bytes | None:
        """The copy, if it was kept."""
        with self._lock:
            if key in self._files:
                self._files.move_to_end(key)
            return self._files.get(key)

    def keep(self, key: tuple[str, int], file: bytes) -> None:
        """Keep a copy; those used longest ago go."""
        with self._lock:
            self._bytes += len(file) - len(self._files.pop(key, b""))
            self._files[key] = file
            while self._bytes > self._most and self._files:
                self._bytes -= len(self._files.popitem(last=False)[1])
