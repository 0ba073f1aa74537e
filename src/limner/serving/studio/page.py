"""The studio: five places on one page, mounted on the server's application."""

from __future__ import annotations

import os
import shutil
from importlib.resources import files

from fastapi import FastAPI, Response
from starlette.routing import Mount

from limner.serving.server import Server
from limner.serving.studio.allowed_routes import AllowedRoutes


def mount(app: FastAPI, server: Server) -> FastAPI:
    """Put the page at ``/``. No address outside is used, no file is served but the page's own."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    files_of_page = server.limits.folder / "page"
    shutil.rmtree(files_of_page, ignore_errors=True)  # what older versions left; the page keeps no files now
    os.environ.setdefault("GRADIO_TEMP_DIR", str(files_of_page))
    import gradio as gr

    from limner.serving.studio.components import SCRIPT_PATH, script
    from limner.serving.studio.theme import theme

    scripts = script()

    @app.get(SCRIPT_PATH, include_in_schema=False)
    async def studio_script() -> Response:
        return Response(scripts, media_type="text/javascript; charset=utf-8")

    css = files("limner.serving.studio").joinpath("style.css").read_text(encoding="utf-8")
    app = gr.mount_gradio_app(
        app, build(server), "/", theme=theme(), css=css, ssr_mode=False, show_error=False, footer_links=[],
        enable_monitoring=False, mcp_server=False, pwa=False,
    )  # fmt: skip
    page = app.routes[-1]
    assert isinstance(page, Mount) and page.path == ""
    page.app = AllowedRoutes(page.app)
    return app


def build(server: Server):
    """The page itself, as Gradio's Blocks."""
    import gradio as gr

    from limner.serving.studio import ask, edit, gallery, paint, read
    from limner.serving.studio.components import header

    with gr.Blocks(title="Limner", analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        header()
        with gr.Tabs(elem_id="places") as tabs:
            with gr.Tab("Read", id="read"):
                read.place(server)
            with gr.Tab("Ask", id="ask"):
                ask.place(server)
            with gr.Tab("Paint", id="paint"):
                painting = paint.place(server)
            with gr.Tab("Edit", id="edit"):
                edit.place(server)
            with gr.Tab("Gallery", id="gallery") as shown:
                gallery.place(server, tabs, shown, painting)
    page.queue(default_concurrency_limit=16)
    return page
