"""Who may ask, and where a server may listen."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from limner.cli.app import main
from limner.serving.gate import Gate
from limner.serving.limits import Limits
from limner.serving.logs import JsonFormatter
from limner.serving.metrics import Metrics
from serving.conftest import Running

TOKEN = "a long secret"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory):
    with Running(Limits(folder=tmp_path_factory.mktemp("guarded")), token=TOKEN) as running:
        yield running


def test_a_token_is_asked_for_everywhere_but_health(guarded: Running) -> None:
    with httpx.Client(base_url=guarded.url) as http:
        assert http.get("/health").status_code == 200
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": TOKEN},
            {"Cookie": "limner_token=wrong"},
        ):
            for path in ("/", "/v1/models", "/metrics", "/openapi.json", "/?token=wrong"):
                answer = http.get(path, headers=headers)
                assert answer.status_code == 401 and "Authorization: Bearer" in answer.json()["error"]["message"]
        assert http.get("/v1/models", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert (
            http.get("/v1/models", headers={"Authorization": f"Bearer {TOKEN}", "Host": "name.example"}).status_code
            == 200
        )


def test_a_browser_enters_once(guarded: Running) -> None:
    with httpx.Client(base_url=guarded.url) as http:
        entered = http.get("/", params={"token": TOKEN})
        cookie = entered.headers["set-cookie"]
        assert (
            entered.status_code == 303 and "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
        )
        assert http.get("/v1/models").status_code == 200  # the client kept the cookie


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--host", "0.0.0.0"], "can be reached by other machines: give a token"),
        (["--host", "192.168.1.7"], "can be reached by other machines: give a token"),
        (["--host", "0.0.0.0", "--token", "short"], "at least 8 characters"),
        (["--source", "no-such-weights"], "no weights are called"),
    ],
)
def test_what_serve_refuses(words: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["serve", "--port", "0", "--folder", str(tmp_path), *words]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1


def test_a_taken_port_is_one_line(guarded: Running, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    port = guarded.url.rpartition(":")[2]
    assert main(["serve", "--port", port, "--folder", str(tmp_path)]) == 2
    assert "Address already in use; choose another --port" in capsys.readouterr().err


def test_a_fault_that_nobody_foresaw_is_an_answer_with_an_id(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    async def broken(request: Request) -> Response:
        raise ZeroDivisionError("secret detail")

    metrics = Metrics()
    app = Starlette(routes=[Route("/broken", broken)])
    app.add_middleware(Gate, metrics=metrics, limits=Limits(folder=tmp_path), token=None)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.get("/broken", headers={"X-Request-ID": "abc-1"})

    answer = asyncio.run(ask())
    assert answer.status_code == 500 and answer.headers["x-request-id"] == "abc-1"
    body = answer.json()["error"]
    assert (body["code"], body["request_id"]) == ("internal", "abc-1") and "secret" not in answer.text
    assert "ZeroDivisionError" in caplog.text
    assert b'limner_requests_total{method="GET",route="/broken",status="500"} 1.0' in metrics.text()


def test_logs_are_json_lines() -> None:
    record = logging.makeLogRecord({"name": "limner.access", "levelname": "INFO", "msg": "a\nb %d", "args": (1,)})
    record.path = "/health"
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "a\nb 1" and json.loads(line)["path"] == "/health"
