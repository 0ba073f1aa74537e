"""`/docs`: the description of every route as a page, without anything from other sites.

Swagger UI's files come from the package fastapi-offline; the page loads them from this server.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from limner.serving.gate import OPEN

ASSETS = "/docs/assets"
SCHEME = "token"


def add_docs(app: FastAPI, token: bool) -> None:
    """Serve `/docs`, and say in `/openapi.json` how a token is sent where one is asked for."""
    import fastapi_offline

    files = Path(fastapi_offline.__file__).parent / "static"
    app.mount(ASSETS, StaticFiles(directory=files), name="docs assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Limner",
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon.png",
        )

    def described() -> dict:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            if token:
                schemes = made.setdefault("components", {}).setdefault("securitySchemes", {})
                schemes[SCHEME] = {"type": "http", "scheme": "bearer", "description": "The server's token."}
                made["security"] = [{SCHEME: []}]
                for path in OPEN:
                    for operation in made["paths"].get(path, {}).values():
                        operation["security"] = []
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
