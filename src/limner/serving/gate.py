"""What every request passes first: an id, who asks, how much is sent and how slowly; and what is noted when it is
answered."""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limner.serving.errors import FULL, answer, is_full
from limner.serving.limits import BODIES, Limits
from limner.serving.metrics import Metrics

log = logging.getLogger("limner.access")
COOKIE = "limner_token"
LOCAL = ("127.0.0.1", "localhost", "::1")
METHODS = ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS")
OPEN = ("/health",)
"""What answers without a token."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


class _CutOff(Exception):
    """The body is not read to its end. Routes may make an answer of their own of it, which is not sent."""


class Gate:
    """ASGI middleware. token: asked for on every route but ``OPEN``; None: only this machine's own pages may ask."""

    def __init__(self, app: ASGIApp, metrics: Metrics, limits: Limits, token: str | None) -> None:
        self.app, self.metrics, self.limits, self.token = app, metrics, limits, token
        self.reading = 0
        """Bytes of the bodies of all requests under way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # there are no websockets here
            return await send({"type": "websocket.close", "code": 1008})
        await _Passage(self, scope, receive, send).run()


class _Passage:
    """One request's way through the gate."""

    def __init__(self, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
        self._gate, self._scope, self._receive, self._send = gate, scope, receive, send
        self._headers = Headers(scope=scope)
        given = self._headers.get("x-request-id", "")
        self._id = given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = self._id
        self._status, self._started = 500, False
        self._read, self._whole = 0, False
        self._cut: ASGIApp | None = None
        self._until: float | None = None

    async def run(self) -> None:
        """Refuse it, or pass it on; answer what goes wrong; note how it ended."""
        began = time.perf_counter()
        try:
            refusal = self._refusal()
            if refusal is not None:
                await refusal(self._scope, self._receive, self.send)
            else:
                await self._gate.app(self._scope, self.receive, self.send)
        except _CutOff:
            pass
        except Exception as error:  # the server's last line: what nobody foresaw still gets our shape, an id, and a log
            if not self._started and self._cut is None:
                await self._fault(error)(self._scope, self._receive, self.send)
            log.exception("an internal error", extra={"request_id": self._id, "path": self._scope["path"]})
        finally:
            self._gate.reading -= self._read
            if self._cut is not None and not self._started:
                cut, self._cut = self._cut, None
                await cut(self._scope, self._receive, self.send)
            self._note(time.perf_counter() - began)

    async def receive(self) -> Message:
        """A piece of the body, if all of it comes soon enough and is not too large."""
        if self._whole:  # what comes now is that the client went away, whenever it does
            return await self._receive()
        limits = self._gate.limits
        if self._until is None:  # only now does anybody wait for it
            self._until = time.monotonic() + limits.body_seconds
        try:
            with anyio.fail_after(max(0.0, min(limits.idle_seconds, self._until - time.monotonic()))):
                message = await self._receive()
        except TimeoutError:
            said = f"the request's body came too slowly: it has {limits.body_seconds:g} seconds"
            self._cut = answer(408, "too_slow", said, self._id)
            raise _CutOff from None
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        size = len(message.get("body", b""))
        self._read += size
        self._gate.reading += size
        if self._read > limits.upload_bytes:
            self._cut = self._too_large()
        elif self._gate.reading > BODIES * limits.upload_bytes:
            self._cut = answer(429, "queue_full", "too much is being sent at once: try again in a while", self._id)
        if self._cut is not None:
            raise _CutOff
        return message

    async def send(self, message: Message) -> None:
        """A piece of the answer, with our headers."""
        if self._cut is not None:
            return  # what the routes make of a body that was cut off is not the answer
        if message["type"] == "http.response.start":
            self._status, self._started = message["status"], True
            out = MutableHeaders(scope=message)
            out["X-Request-ID"] = self._id
            out["X-Content-Type-Options"] = "nosniff"
            out["Referrer-Policy"] = "no-referrer"
            out["Content-Security-Policy"] = POLICY
            if self._status == 408:
                out["Connection"] = "close"
        await self._send(message)

    def _refusal(self) -> ASGIApp | None:
        headers, path, token = self._headers, self._scope["path"], self._gate.token
        host = _split(headers.get("host", ""))
        if host is None:
            return answer(400, "bad_host", "the request's Host header names no host", self._id)
        if token is None and host not in LOCAL:
            return answer(403, "foreign", "this server answers its own machine only, by a loopback name", self._id)
        if self._foreign():
            return answer(403, "foreign", "a page of another site may not use this server", self._id)
        length = headers.get("content-length", "0")
        if length.isdecimal() and (len(length) > 18 or int(length) > self._gate.limits.upload_bytes):
            return self._too_large()
        if token is None or path in OPEN:
            return None
        if self._scope["method"] == "GET" and path == "/" and self._right(self._asked()):
            entered = RedirectResponse("/", 303)
            entered.set_cookie(COOKIE, self._pass(), httponly=True, samesite="strict")
            return entered
        if self._right(self._bearer()) or hmac.compare_digest(_cookie(headers).encode(), self._pass().encode()):
            return None
        said = "this server asks for its token: send `Authorization: Bearer TOKEN`, or open /?token=TOKEN in a browser"
        return answer(401, "no_token", said, self._id)

    def _foreign(self) -> bool:
        """Whether a browser asks for a page of another site. Who knows the token may."""
        origin, site = self._headers.get("origin"), self._headers.get("sec-fetch-site", "none").strip().lower()
        if origin is not None and origin.partition("://")[2] != self._headers.get("host"):
            return True
        if site in ("none", "same-origin") or self._scope["path"] in OPEN:
            return False
        return not (self._right(self._bearer()) or self._right(self._asked()))

    def _asked(self) -> str:
        return parse_qs(self._scope["query_string"].decode("latin-1")).get("token", [""])[0]

    def _bearer(self) -> str:
        scheme, _, token = self._headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    def _right(self, given: str) -> bool:
        token = self._gate.token
        return token is not None and hmac.compare_digest(given.encode(), token.encode())

    def _pass(self) -> str:
        """What a browser keeps: not the token itself."""
        return sha256(f"limner page {self._gate.token}".encode()).hexdigest()

    def _too_large(self) -> ASGIApp:
        said = f"this server takes at most {self._gate.limits.upload_bytes:,} bytes in a request"
        return answer(413, "too_large", said, self._id)

    def _fault(self, error: Exception) -> ASGIApp:
        if is_full(error):
            return answer(507, "storage_full", FULL, self._id)
        return answer(500, "internal", "an internal error: the server's log says more", self._id)

    def _note(self, seconds: float) -> None:
        scope, metrics = self._scope, self._gate.metrics
        found = scope.get("route")
        route = getattr(found, "path", None) or ("page" if self._status < 400 else "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        metrics.requests.labels(method, route, str(self._status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        log.info(
            "request",
            extra={
                "request_id": self._id,
                "method": scope["method"],
                "path": scope["path"],
                "status": self._status,
                "milliseconds": round(seconds * 1000, 1),
                "client": (scope.get("client") or ("",))[0],
            },
        )


def _split(host: str) -> str | None:
    """The name in a Host header, "" if it is empty; None if it is none."""
    try:
        found = urlsplit(f"//{host}")
        found.port  # noqa: B018  # raises for a port that is none
    except ValueError:
        return None
    return found.hostname or ""


def _cookie(headers: Headers) -> str:
    try:
        jar = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return jar[COOKIE].value if COOKIE in jar else ""
