"""How the server listens: uvicorn, with an end to what comes too slowly and to how many connections there are.

uvicorn closes connections that stay idle after an answer. It has no limit for the time until a request's headers are
there, for that in which a client takes its answer, nor for the number of connections; they are added here. Bodies have
theirs in ``gate``.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from limner.serving.limits import Limits

log = logging.getLogger("limner.serving")
HEADER_BYTES = 32 * 1024  # of a request's line and headers together
SLOWEST = 4096  # bytes a second that a client has to take of an answer that waits for it
CLOSING = 5  # seconds for requests to end when the server stops


def configuration(app: FastAPI, limits: Limits) -> uvicorn.Config:
    """For ``uvicorn.Server``."""

    class Patient(_Patient):
        header_seconds, idle_seconds, most = limits.header_seconds, limits.idle_seconds, limits.connections

    return uvicorn.Config(
        app,
        http=Patient,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=max(1, round(limits.idle_seconds)),
        timeout_graceful_shutdown=CLOSING,
        h11_max_incomplete_event_size=HEADER_BYTES,
    )


class _Patient(H11Protocol):
    """HTTP/1.1 whose clients have so long to send a request's headers, have to read on, and are so many at a time."""

    header_seconds: float
    idle_seconds: float
    most: int
    _late: asyncio.TimerHandle | None = None
    _slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, if there are not too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            log.warning("too many connections: one more was closed")
            self._drop()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Bytes: when they complete a request's headers, its time is not counted any more."""
        if self._late is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()  # the first bytes of the next request on this connection
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._stop_waiting()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not take what is sent: look again whether it does."""
        super().pause_writing()
        if self._slow is None:
            self._look(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It took nearly all."""
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None
        super().resume_writing()

    def _look(self, left: int) -> None:
        self._slow = self.loop.call_later(self.idle_seconds, self._still_slow, left)

    def _still_slow(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if before - left < SLOWEST * self.idle_seconds and left:
            self._slow = None
            self._drop()
        else:
            self._look(left)

    def _wait(self) -> None:
        self._late = self.loop.call_later(self.header_seconds, self._too_late)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self._drop()

    def _drop(self) -> None:
        """Close with a reset: otherwise the system keeps what was not taken until the client goes away."""
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
