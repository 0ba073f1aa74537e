"""Verbs `serve` and `studio`: the HTTP API, and the page over it."""

from __future__ import annotations

import ipaddress
import socket
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limner.errors import InputError

if TYPE_CHECKING:
    from limner.serving.limits import Limits

Host = Annotated[str, typer.Option(help="Address to listen on. Addresses other than localhost need --token.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 chooses a free one.")]
Token = Annotated[str | None, typer.Option(envvar="LIMNER_TOKEN", help="Access token that clients must send.")]
Folder = Annotated[Path | None, typer.Option(help="Folder for jobs and pictures. Default: below LIMNER_HOME.")]
Source = Annotated[str, typer.Option(help="Weights: nano, a registry name, or a folder.")]
Editor = Annotated[
    str | None,
    typer.Option(help="FaceX weights: a registry name or a folder. Default: those of --source."),
]
Queue = Annotated[int, typer.Option(min=1, help="Maximum number of queued jobs.")]
JobSeconds = Annotated[float, typer.Option(min=1, help="Time limit of a job in seconds.")]
UploadMegabytes = Annotated[float, typer.Option(min=0.001, help="Maximum request size in megabytes.")]
KeepHours = Annotated[float, typer.Option(min=0.01, help="Hours until jobs, pictures and uploads are removed.")]
StoreMegabytes = Annotated[
    float, typer.Option(min=1, help="Disk limit in megabytes; the oldest pictures are removed first.")
]
Preload = Annotated[bool, typer.Option("--preload", help="Load models before listening.")]


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token: Token = None,
    folder: Folder = None,
    source: Source = "nano",
    editor: Editor = None,
    queue: Queue = 64,
    job_seconds: JobSeconds = 600,
    upload_megabytes: UploadMegabytes = 25,
    keep_hours: KeepHours = 168,
    store_megabytes: StoreMegabytes = 4000,
    preload: Preload = False,
    page: Annotated[bool, typer.Option("--page", help="Also serve the studio's page, on the same jobs.")] = False,
) -> None:
    """Serve the HTTP API (docs/server.md), including OpenAI-compatible endpoints. Logs are JSON lines on stderr."""
    limits = _limits(folder, queue, job_seconds, upload_megabytes, keep_hours, store_megabytes)
    _run(host, port, token, limits, source, editor, preload=preload, page=page, browser=False)


def studio(
    host: Host = "127.0.0.1",
    port: Port = 7860,
    token: Token = None,
    folder: Folder = None,
    source: Source = "nano",
    editor: Editor = None,
    queue: Queue = 64,
    job_seconds: JobSeconds = 600,
    upload_megabytes: UploadMegabytes = 25,
    keep_hours: KeepHours = 168,
    store_megabytes: StoreMegabytes = 4000,
    preload: Preload = False,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Open the studio (docs/studio.md), a web page to read, ask, paint and edit. It also serves the HTTP API."""
    limits = _limits(folder, queue, job_seconds, upload_megabytes, keep_hours, store_megabytes)
    _run(host, port, token, limits, source, editor, preload=preload, page=True, browser=browser)


def _limits(folder: Path | None, queue: int, seconds: float, upload: float, hours: float, store: float) -> Limits:
    from limner.serving.limits import Limits
    from limner.weights.store import home

    return Limits(
        folder=folder or home() / "server",
        queue=queue,
        job_seconds=seconds,
        upload_bytes=int(upload * 1e6),
        keep_hours=hours,
        store_bytes=int(store * 1e6),
    )


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _run(
    host: str, port: int, token: str | None, limits: Limits, source: str, editor: str | None,
    preload: bool, page: bool, browser: bool,
) -> None:  # fmt: skip
    if token is not None and len(token) < 8:
        raise InputError("the token is too short: use at least 8 characters")
    if not is_local(host) and token is None:
        raise InputError(
            f"{host} can be reached by other machines: give a token (--token, or LIMNER_TOKEN) that they must send"
        )
    import uvicorn

    from limner.serving.app import create_app
    from limner.serving.http_protocol import configuration
    from limner.serving.logs import set_up

    listener = _listen(host, port)
    app = create_app(limits, source, token, page, editor)
    set_up()
    if preload:
        app.state.server.engines.load()
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}/"
    typer.echo(f"limner is at {address}{' (asks for its token)' if token else ''}; Ctrl-C stops it")
    if browser:
        threading.Timer(1.0, webbrowser.open, (address,)).start()
    uvicorn.Server(configuration(app, limits)).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        reason = error.strerror or error
        raise InputError(f"cannot listen on {host}:{port}: {reason}; choose another --port or --host") from error
    return listener
