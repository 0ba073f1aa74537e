"""Text on its way: written by a thread, read piece by piece, and stopped at the next token when nobody reads on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

Tell = Callable[[str], None]
"""Takes what a text grew by; "" only asks whether anybody still reads. Raises through the writer when nobody does."""


class _Stop(BaseException):
    """Nobody reads on. Raised through the engine, so no handler of errors may catch it."""


async def told(write: Callable[[Tell], object], ended: Callable[[], None] = lambda: None) -> AsyncGenerator[str, None]:
    """What ``write`` tells, as it comes; what it raises is raised here.

    Closing the iterator, or cancelling whoever waits for it, stops the writing when it next tells anything. ``ended``
    is called in this loop when the thread has ended, whether all was read or not.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    stopped = threading.Event()

    def tell(piece: str) -> None:
        if stopped.is_set():
            raise _Stop
        if piece:
            loop.call_soon_threadsafe(queue.put_nowait, piece)

    def run() -> None:
        try:
            write(tell)
        except _Stop:
            return
        finally:
            with suppress(RuntimeError):  # the loop is closed: the server ended first, and nobody waits
                loop.call_soon_threadsafe(queue.put_nowait, None)

    def over(work: asyncio.Future[None]) -> None:
        ended()
        if not work.cancelled():
            work.exception()  # seen, even if nobody reads on

    thread = ThreadPoolExecutor(1, "limner telling")
    work = loop.run_in_executor(thread, run)
    work.add_done_callback(over)
    thread.shutdown(wait=False)
    try:
        while (piece := await queue.get()) is not None:
            yield piece
        await work
    finally:
        stopped.set()


class Trimmed:
    """Passes pieces on without the spaces at both ends of the whole; a space waits for what comes after it."""

    def __init__(self, tell: Tell) -> None:
        self._tell, self._spaces = tell, ""
        self.text = ""

    def __call__(self, piece: str) -> None:
        """The next piece."""
        piece = self._spaces + piece if self.text else piece.lstrip()
        kept = piece.rstrip()
        self._spaces = piece[len(kept) :]
        self.text += kept
        self._tell(kept)
