"""How fast requests may leave: so many a minute, so many tokens a minute, and none while the other side says wait."""

from __future__ import annotations

import threading
import time


class Stopped(Exception):
    """The run is being ended: whoever waits for a turn gives up."""


class Pace:
    """A queue of departure times, shared by all threads that ask one endpoint.

    requests, tokens: the most a minute; None for no limit. A request leaves at the next free time and moves that
    time on by its share of a minute, so bursts are spread evenly (our choice: endpoints count over windows that
    nobody knows).
    """

    def __init__(self, requests: float | None = None, tokens: float | None = None) -> None:
        self._requests, self._tokens = requests, tokens
        self._free = 0.0  # on the monotonic clock
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def wait(self, tokens: int) -> None:
        """Sleep until a request of so many tokens may leave. Raises Stopped when the run ends meanwhile."""
        share = max(60 / self._requests if self._requests else 0.0, 60 * tokens / self._tokens if self._tokens else 0.0)
        with self._lock:
            leaves = max(time.monotonic(), self._free)
            self._free = leaves + share
        self.sleep(leaves - time.monotonic())

    def hold(self, seconds: float) -> None:
        """Let nobody leave for so long: the endpoint asked for it."""
        with self._lock:
            self._free = max(self._free, time.monotonic() + seconds)

    def sleep(self, seconds: float) -> None:
        """Sleep, unless the run ends. Raises Stopped then."""
        if self._stop.wait(max(0.0, seconds)):
            raise Stopped

    def stop(self) -> None:
        """End every wait, now and later."""
        self._stop.set()
