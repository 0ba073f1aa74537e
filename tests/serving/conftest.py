"""One real server on loopback for the whole session, with the nano weights and the page."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx2 as httpx
import pytest

pytest.importorskip("fastapi", reason="the server's extra 'studio' is not installed")

import uvicorn

import limner
from limner.serving.app import create_app
from limner.serving.http_protocol import configuration
from limner.serving.limits import Limits

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PHOTO = Path(limner.__file__).parent / "demo" / "photographs" / "face-10018.jpg"


class Running:
    """A server in a thread. url: where it is. app: the application, to look inside."""

    def __init__(self, limits: Limits, **settings: Any) -> None:
        self.app = create_app(limits, **settings)
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = uvicorn.Server(configuration(self.app, limits))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)

    def __enter__(self) -> Running:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    limits = Limits(folder=tmp_path_factory.mktemp("server"), upload_bytes=2_000_000)
    with Running(limits, page=True) as running:
        yield running


@pytest.fixture(scope="session")
def http(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=300) as client:
        yield client


@pytest.fixture(scope="session")
def photo(http: httpx.Client) -> str:
    """The id of an uploaded photograph."""
    answer = http.post("/v1/uploads", files={"file": ("face.jpg", PHOTO.read_bytes(), "image/jpeg")})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real one. Closed with its module: while it is open, no other event loop can run in this thread."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed: no browser to test the page in")
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def files() -> SimpleNamespace:
    """The photograph's bytes."""
    return SimpleNamespace(photo=PHOTO.read_bytes(), path=PHOTO)
