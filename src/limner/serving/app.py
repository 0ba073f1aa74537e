"""The application: Limner's routes, OpenAI's, and if wanted the page, behind one gate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from limner import __version__
from limner.serving import errors, identity, openai, openai_chat, routes
from limner.serving.docs_page import add_docs
from limner.serving.gate import Gate
from limner.serving.limits import Limits
from limner.serving.server import Server

ABOUT = """Reads faces, describes them, paints and edits them. Pictures are sent as data URLs, or uploaded and named
by id; what takes long is a job. Every answer carries `X-Request-ID`."""


def create_app(
    limits: Limits, source: str = "nano", token: str | None = None, page: bool = False, editor: str | None = None
) -> FastAPI:
    """An application for one server.

    source, editor: what ``limner.load`` takes. token: asked of everybody; None: only this machine may ask. page: with
    the studio. Raises ``InputError`` for unknown weights and a folder that another server uses.
    """
    server = Server(source, limits, editor)

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        server.start()
        yield
        server.stop()

    app = FastAPI(
        title="Limner", version=__version__, description=ABOUT, docs_url=None, redoc_url=None, lifespan=living
    )
    app.state.server = server
    app.include_router(routes.router)
    app.include_router(identity.router)
    app.include_router(openai.router)
    app.include_router(openai_chat.router)
    add_docs(app, token is not None)
    errors.install(app)
    if page:
        from limner.serving.studio.page import mount

        app = mount(app, server)
    else:
        app.get("/", tags=["server"])(_root)
    app.add_middleware(Gate, metrics=server.metrics, limits=limits, token=token)
    return app


async def _root() -> dict[str, Any]:
    """Where things are."""
    return {"limner": __version__, "openapi": "/openapi.json", "models": "/v1/models", "health": "/health"}
