"""Batches made in order, in this process or on several, each computing with one thread."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from limner.data.blocks import Result
from limner.errors import InputError

Run = Callable[[Iterable[list[Any]], Any], Iterator[Result]]


@contextmanager
def on_workers(count: int, load: Callable[[], Any], make: Callable[..., Result]) -> Iterator[Run]:
    """A function that makes the records of batches, in order, here or on `count` processes. load, make: as a recipe has
    them (build.py)."""
    if count == 1:
        yield lambda batches, settings: _run_here(batches, settings, load, make)
        return
    import multiprocessing

    # Not fork: torch and the interpreters of the networks hold threads and locks.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, _start_worker, (load, os.getpid()))
    try:
        yield lambda batches, settings: _run_on(pool, make, batches, settings, ahead=2 * count)
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process died (out of memory?): run it again with fewer --workers; finished blocks are kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run_here(
    batches: Iterable[list[Any]], settings: Any, load: Callable[[], Any], make: Callable[..., Result]
) -> Iterator[Result]:
    tools: Any = None
    with one_thread():
        for batch in batches:
            tools = load() if tools is None else tools
            yield make(batch, tools, settings)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch, if a reader brought it, compute with one thread: sums in the same order give the same last bits."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _run_on(
    pool: ProcessPoolExecutor, make: Callable[..., Result], batches: Iterable[list[Any]], settings: Any, ahead: int
) -> Iterator[Result]:
    """Results in the order of the batches, with a few batches ahead so that no worker waits and memory stays small."""
    waiting: deque[Future[Result]] = deque()
    for batch in batches:
        waiting.append(pool.submit(_make, make, batch, settings))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


_tools: Any = None  # of a worker process


def _start_worker(load: Callable[[], Any], parent: int) -> None:
    """One thread of computing a worker, and no worker outlives a parent that was killed."""
    global _tools
    import signal
    import threading
    import time

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=watch, daemon=True).start()
    _tools = load()


def _make(make: Callable[..., Result], batch: list[Any], settings: Any) -> Result:
    assert _tools is not None  # the initialiser ran
    with one_thread():
        return make(batch, _tools, settings)
