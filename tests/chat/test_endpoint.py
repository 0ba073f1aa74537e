"""A client against a real server on this machine that does what servers do."""

from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chat.model_server import ModelServer, answer, cut_off, no_completion, trickle, wait_first
from limner.chat.endpoint import ChatClient, Completion, Endpoint, Price, Unsuitable
from limner.chat.rate_limit import Pace, Stopped
from limner.errors import InputError

BODY = {"model": "m", "messages": [{"role": "user", "content": '{"caption": "…"}'}], "max_tokens": 9}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer().running() as running:
        yield running


def client(server: ModelServer, **more: Any) -> ChatClient:
    settings: dict[str, Any] = {"role": "vlm", "url": server.url, "model": "m", "first_wait": 0.01, "timeout": 5}
    return ChatClient(Endpoint(**{**settings, **more}))


@pytest.mark.parametrize(
    "fault", [500, 503, 429, 408, cut_off, no_completion], ids=["500", "503", "429", "408", "cut off", "no completion"]
)
def test_what_passes_by_itself_is_tried_again(server: ModelServer, fault: Any) -> None:
    server.faults = [fault, fault]
    lost: list[str] = []
    with client(server) as asking:
        found = Completion.of(asking.post(BODY, 10, lost.append))
    assert "A woman" in found.text and len(server.bodies) == 3 and found.prompt_tokens == 1000
    # what came back in part may have been paid for; what was turned away was not
    assert len(lost) == (0 if isinstance(fault, int) else 2)


@pytest.mark.parametrize("status", [401, 403, 404, 402])
def test_what_the_user_must_mend_ends_at_once(server: ModelServer, status: int) -> None:
    server.faults = [status]
    with client(server, key="secret-key") as asking, pytest.raises(InputError, match=f"answers {status}") as caught:
        asking.post(BODY, 10)
    assert len(server.bodies) == 1 and "secret-key" not in str(caught.value) + repr(asking.endpoint)


def test_tries_end_and_say_what_was_last(server: ModelServer) -> None:
    server.faults = [500, 502, 503]
    with client(server, tries=3) as asking, pytest.raises(InputError, match="3 times in vain, last: it answers 503"):
        asking.post(BODY, 10)
    assert len(server.bodies) == 3


def test_waits_double(server: ModelServer) -> None:
    server.faults = [500, 500, 500]
    with client(server, first_wait=0.1) as asking:
        asking.post(BODY, 10)
    gaps = [b - a for a, b in zip(server.times, server.times[1:])]
    for gap, wait in zip(gaps, (0.1, 0.2, 0.4)):
        assert gap >= 0.74 * wait


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_obeyed(server: ModelServer, date: bool) -> None:
    def slow_down(handler: Any, body: dict[str, Any]) -> None:
        wait_first(email.utils.formatdate(time.time() + 2, usegmt=True) if date else "0.9")(handler, body)

    server.faults = [slow_down]
    with client(server) as asking:
        asking.post(BODY, 10)
    assert server.times[1] - server.times[0] >= 0.89


def test_a_hold_is_everybodys() -> None:
    pace = Pace()
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        pace.hold(0.3)
        list(pool.map(pace.wait, (1, 1)))
    assert time.monotonic() - began >= 0.3


def test_a_wait_beyond_reason_ends_the_run(server: ModelServer) -> None:
    server.faults = [wait_first("7200")]
    with client(server) as asking, pytest.raises(InputError, match="7200 s: run it again later"):
        asking.post(BODY, 10)


def test_a_trickle_does_not_hold_a_request_open(server: ModelServer) -> None:
    server.faults = [trickle]
    began = time.monotonic()
    with client(server, timeout=0.4) as asking:
        assert asking.post(BODY, 10)
    assert time.monotonic() - began < 15 and len(server.bodies) == 2


def test_no_server_is_one_line() -> None:
    end = Endpoint(role="vlm", url="http://127.0.0.1:9/v1", model="m", tries=2, first_wait=0.01)
    lost: list[str] = []
    with ChatClient(end) as asking, pytest.raises(InputError, match="no connection"):
        asking.post(BODY, 10, lost.append)
    assert lost == []


def test_an_unsuitable_request_is_told_from_a_wrong_endpoint(server: ModelServer) -> None:
    """400 to the very first request is the user's to mend; later it concerns that request alone."""
    server.faults = [400]
    with client(server) as asking:
        with pytest.raises(InputError, match="LIMNER_VLM_EXTRA"):
            asking.post(BODY, 10)
        asking.post(BODY, 10)
        server.faults = [400]
        with pytest.raises(Unsuitable, match="fault 400"):
            asking.post(BODY, 10)
    server.faults = [lambda handler, body: answer(handler, 400, {"error": {"code": "content_filter"}})]
    with client(server) as asking, pytest.raises(Unsuitable):
        asking.post(BODY, 10)


def test_a_key_goes_only_where_it_belongs(server: ModelServer) -> None:
    server.faults = [lambda handler, body: answer(handler, 307, b"", Location=f"{server.url}/elsewhere")]
    with client(server, key="k") as asking, pytest.raises(InputError, match="answers 307"):
        asking.post(BODY, 10)
    assert len(server.bodies) == 1 and server.headers[0]["authorization"] == "Bearer k"
    with client(server) as asking:
        asking.post(BODY, 10)
    assert "authorization" not in server.headers[1]


def test_pace_spreads_requests_and_tokens() -> None:
    for pace, tokens in ((Pace(requests=1200), 1), (Pace(tokens=60_000), 50)):
        began = time.monotonic()
        for _ in range(5):
            pace.wait(tokens)
        assert time.monotonic() - began >= 0.2


def test_a_stop_ends_waits_of_other_threads() -> None:
    pace = Pace()
    pace.hold(60)
    threading.Timer(0.05, pace.stop).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        pace.wait(1)
    assert time.monotonic() - began < 30


def test_endpoints_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="LIMNER_VLM_URL"):
        Endpoint.from_environment("vlm", "m")
    monkeypatch.setenv("LIMNER_VLM_URL", "http://127.0.0.1:1/v1/")
    with pytest.raises(InputError, match="pass --vlm or set LIMNER_VLM_MODEL"):
        Endpoint.from_environment("vlm")
    monkeypatch.setenv("LIMNER_VLM_KEY", "k")
    monkeypatch.setenv("LIMNER_VLM_PRICE", "1/2")
    monkeypatch.setenv("LIMNER_VLM_EXTRA", '{"temperature": null, "max_completion_tokens": 5}')
    vlm = Endpoint.from_environment("vlm", "m")
    assert vlm.url == "http://127.0.0.1:1/v1" and vlm.price == Price(prompt=1, answer=2)
    assert set(vlm.body([], 9, 0.5)) == {"model", "messages", "max_tokens", "max_completion_tokens"}
    same = Endpoint.from_environment("llm", None, vlm)
    assert (same.model, same.key, same.price) == ("m", "k", vlm.price)
    assert Endpoint.from_environment("llm", "other", vlm).price is None
    monkeypatch.setenv("LIMNER_LLM_URL", "http://127.0.0.1:2/v1")
    monkeypatch.setenv("LIMNER_LLM_MODEL", "n")
    assert Endpoint.from_environment("llm", None, vlm).key == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"LIMNER_VLM_URL": "localhost:8000"}, "write it like http"),
        ({"LIMNER_VLM_PRICE": "cheap"}, "is not like 0.15/0.60"),
        ({"LIMNER_VLM_PRICE": "-1/2"}, "from 0 up"),
        ({"LIMNER_VLM_EXTRA": "{"}, "is not JSON"),
        ({"LIMNER_VLM_EXTRA": "[]"}, "not a JSON object"),
    ],
)
def test_wrong_settings_are_one_line(change: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LIMNER_VLM_URL": "http://127.0.0.1:1/v1", **change}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        Endpoint.from_environment("vlm", "m")
