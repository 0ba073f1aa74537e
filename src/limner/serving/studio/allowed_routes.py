"""The routes of Gradio that the page uses. Gradio brings many more: they take files, fetch addresses, run ffmpeg."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from limner.serving.errors import answer

USED = (
    ("GET", r"/|/config|/theme\.css|/favicon\.ico|/robots\.txt"),
    ("GET", r"/(static|assets)/.*"),
    ("GET", r"/gradio_api/(app_id|heartbeat/[A-Za-z0-9]{1,40}|queue/data)"),
    ("POST", r"/gradio_api/(queue/join|cancel)"),
)
"""Methods, and patterns of whole paths. What is not here answers 404, also what a later Gradio adds."""


def is_allowed(method: str, path: str) -> bool:
    """Whether the page uses a route; HEAD is as GET."""
    wanted = "GET" if method == "HEAD" else method
    return any(wanted == each and re.fullmatch(pattern, path) for each, pattern in USED)


class AllowedRoutes:
    """Lets through what the page uses."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 404."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if scope["type"] == "http" and is_allowed(scope["method"], path or "/"):
            return await self.app(scope, receive, send)
        said = answer(404, "http_error", "Not Found", scope.get("state", {}).get("request_id", ""))
        await said(scope, receive, send)
