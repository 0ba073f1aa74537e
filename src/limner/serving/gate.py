"""What every request passes first: an id, who asks, how much is sent; and what is noted when it is answered."""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limner.serving.errors import answer
from limner.serving.metrics import Metrics

log = logging.getLogger("limner.access")
COOKIE = "limner_token"
LOCAL = ("127.0.0.1", "localhost", "::1")
METHODS = ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS")
OPEN = ("/health",)
"""What answers without a token."""
CLOSED = (
    *(f"/gradio_api/{name}" for name in ("file", "upload", "proxy", "stream", "component_server", "custom_component",
                                         "deep_link", "run-history", "runs")),
    "/svelte",
    "/monitoring",
)  # fmt: skip
"""Routes of the page's framework that move files or fetch addresses. The page uses none of them."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


class _TooLarge(Exception):
    """The body is larger than allowed. Routes may make an answer of their own of it, which is not sent."""


class Gate:
    """ASGI middleware. token: asked for on every route but ``OPEN``; None: only this machine's own pages may ask."""

    def __init__(self, app: ASGIApp, metrics: Metrics, most_bytes: int, token: str | None) -> None:
        self.app, self.metrics, self.most, self.token = app, metrics, most_bytes, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        began, status = time.perf_counter(), 500
        started = exceeded = False

        async def noting(message: Message) -> None:
            nonlocal status, started
            if exceeded and not started and message.get("status") != 413:
                return  # what the routes make of a body that was cut off is not the answer
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                out = MutableHeaders(scope=message)
                out["X-Request-ID"] = request_id
                out["X-Content-Type-Options"] = "nosniff"
                out["Referrer-Policy"] = "no-referrer"
                out["Content-Security-Policy"] = POLICY
            await send(message)

        read = 0

        async def counting() -> Message:
            nonlocal read, exceeded
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.most:
                exceeded = True
                raise _TooLarge
            return message

        try:
            refusal = self._refusal(scope, headers, request_id)
            if refusal is not None:
                await refusal(scope, receive, noting)
            else:
                await self.app(scope, counting, noting)
        except _TooLarge:
            pass
        except Exception:  # the server's last line: what a route did not foresee still gets our shape, an id, and a log
            if not started:
                await answer(500, "internal", "an internal error: the server's log says more", request_id)(
                    scope, receive, noting
                )
            log.exception("an internal error", extra={"request_id": request_id, "path": scope["path"]})
        finally:
            if exceeded and not started:
                await self._too_large(request_id)(scope, receive, noting)
            self._note(scope, status, time.perf_counter() - began, request_id)

    def _refusal(self, scope: Scope, headers: Headers, request_id: str) -> ASGIApp | None:
        path = scope["path"]
        if any(path.lower().startswith(closed) for closed in CLOSED):
            return answer(404, "http_error", "Not Found", request_id)
        host = urlsplit(f"//{headers.get('host', '')}")
        if self.token is None and host.hostname not in LOCAL:
            return answer(403, "foreign", "this server answers its own machine only, by a loopback name", request_id)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return answer(403, "foreign", "a page of another site may not use this server", request_id)
        if headers.get("content-length", "0").isdecimal() and int(headers.get("content-length", "0")) > self.most:
            return self._too_large(request_id)
        if self.token is None or path in OPEN:
            return None
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["method"] == "GET" and path == "/" and self._right(asked):
            entered = RedirectResponse("/", 303)
            entered.set_cookie(COOKIE, self._pass(), httponly=True, samesite="strict")
            return entered
        bearer = headers.get("authorization", "")
        if bearer.startswith("Bearer ") and self._right(bearer.removeprefix("Bearer ")):
            return None
        if hmac.compare_digest(_cookie(headers).encode(), self._pass().encode()):
            return None
        said = "this server asks for its token: send `Authorization: Bearer TOKEN`, or open /?token=TOKEN in a browser"
        return answer(401, "no_token", said, request_id)

    def _right(self, given: str) -> bool:
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def _pass(self) -> str:
        """What a browser keeps: not the token itself."""
        return sha256(f"limner page {self.token}".encode()).hexdigest()

    def _too_large(self, request_id: str) -> ASGIApp:
        return answer(413, "too_large", f"this server takes at most {self.most:,} bytes in a request", request_id)

    def _note(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        found = scope.get("route")
        route = getattr(found, "path", None) or ("page" if status < 400 else "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.requests.labels(method, route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        log.info(
            "request",
            extra={
                "request_id": request_id,
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "milliseconds": round(seconds * 1000, 1),
                "client": (scope.get("client") or ("",))[0],
            },
        )


def _cookie(headers: Headers) -> str:
    try:
        jar = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return jar[COOKIE].value if COOKIE in jar else ""
