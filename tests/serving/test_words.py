"""Answers as they are written, with a tiny real UniF²ace: each token on its way, and none more when nobody reads."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx2 as httpx
import numpy as np
import openai
import pytest

from limner.faces.picture import encode_png, read_picture
from limner.serving.job_store import QueueFull
from limner.serving.limits import Limits
from limner.serving.server import Server
from limner.serving.token_stream import Trimmed
from serving.conftest import PHOTO, Running
from unif2ace.parts import write_tiny

QUESTION = "Is he smiling?"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("talking")
    limits = Limits(folder=folder / "jobs", waiting=2)
    with Running(limits, source=str(write_tiny(folder))) as found:
        yield found


@pytest.fixture(scope="module")
def server(running: Running) -> Server:
    return running.app.state.server


@pytest.fixture(scope="module")
def http(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=300) as client:
        yield client


def upload(http: httpx.Client, file: bytes) -> str:
    answer = http.post("/v1/uploads", files={"file": file})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


@pytest.fixture(scope="module")
def photo(http: httpx.Client) -> str:
    return upload(http, PHOTO.read_bytes())


@pytest.fixture
def tokens(server: Server) -> Iterator[list[int]]:
    """Grows by one at each pass of the model; a pass takes 10 ms longer than it would."""
    counted: list[int] = []

    def count(*_: Any) -> None:
        counted.append(len(counted))
        time.sleep(0.01)

    with server.engines.talking("ask") as model:
        handle = model.answerer.components.model.register_forward_hook(count)
    yield counted
    handle.remove()


def idle(server: Server) -> None:
    """Wait until nothing is under way."""
    while server._under_way:
        time.sleep(0.005)


def whole(http: httpx.Client, photo: str) -> str:
    answer = http.post("/v1/ask", json={"photo": photo, "question": QUESTION})
    assert answer.status_code == 200, answer.text
    return answer.json()["text"]


def told(http: httpx.Client, photo: str) -> Iterator[str]:
    """The pieces of an answer."""
    asked = {"photo": photo, "question": QUESTION, "stream": True}
    with http.stream("POST", "/v1/ask", json=asked) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line:
                yield json.loads(line.removeprefix("data: "))["text"]


def test_the_pieces_are_the_answer_and_come_while_it_is_written(
    http: httpx.Client, photo: str, server: Server, tokens: list[int]
) -> None:
    answer = whole(http, photo)
    every, before = len(tokens), len(tokens)
    pieces = []
    for piece in told(http, photo):
        if not pieces:
            assert len(tokens) - before < every // 2  # the rest is not written yet
        pieces.append(piece)
    assert "".join(pieces) == answer and len(pieces) > 20


def test_several_faces_come_one_after_the_other(http: httpx.Client) -> None:
    alone = read_picture(PHOTO)
    pair = upload(http, encode_png(np.concatenate([alone, alone[:, ::-1]], 1)))
    text = "".join(told(http, pair))
    assert text == whole(http, pair)
    assert text.startswith("left face: ") and text.count("\nright face: ") == 1


def test_going_away_stops_the_answer(http: httpx.Client, photo: str, server: Server, tokens: list[int]) -> None:
    whole(http, photo)
    every = len(tokens)
    pieces = told(http, photo)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]  # a generator: this closes the connection
    idle(server)
    assert len(tokens) - every < every // 2
    assert whole(http, photo)  # the engine is free


def test_no_token_is_written_after_the_reader_closed(server: Server, photo: str, tokens: list[int]) -> None:
    async def read_two() -> int:
        text = server.told(partial(server.tell_answer, photo, QUESTION))
        await anext(text)
        await anext(text)
        await text.aclose()
        return len(tokens)

    async def main() -> None:
        at = await read_two()
        while server._under_way:
            await asyncio.sleep(0.005)
        assert at <= len(tokens) <= at + 1

    asyncio.run(main())


def test_what_is_wrong_is_said_before_the_answer_begins(http: httpx.Client, server: Server) -> None:
    empty = upload(http, encode_png(np.full((64, 64, 3), 128, np.uint8)))
    answer = http.post("/v1/ask", json={"photo": empty, "question": QUESTION, "stream": True})
    assert answer.status_code == 400 and "no face was found" in answer.json()["error"]["message"]
    idle(server)


def test_answers_under_way_are_limited(server: Server) -> None:
    enough = threading.Event()

    def write(tell: Callable[[str], None]) -> None:
        tell("a word")
        enough.wait(60)

    async def main() -> None:
        texts = [server.told(write) for _ in range(3)]
        assert [await anext(text) for text in texts[:2]] == ["a word", "a word"]
        with pytest.raises(QueueFull, match="2 requests are under way"):
            await anext(texts[2])
        enough.set()
        for text in texts[:2]:
            await text.aclose()
        while server._under_way:
            await asyncio.sleep(0.005)

    asyncio.run(main())


def test_openais_client_reads_the_same_words_in_chunks(running: Running, http: httpx.Client, photo: str) -> None:
    from serving.test_openai import data_url, messages

    client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0)
    asked = messages(data_url(PHOTO.read_bytes()))
    answer = client.chat.completions.create(model="unif2ace-nano", messages=asked).choices[0].message.content
    chunks = list(client.chat.completions.create(model="unif2ace-nano", messages=asked, stream=True))
    said = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(said) == answer and len(said) > 20 and chunks[-1].choices[0].finish_reason == "length"


def test_earlier_turns_are_read_before_the_question(
    running: Running, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """Turns since the last picture came, by OpenAI's client, whole and streamed."""
    from serving.test_openai import data_url, messages

    read: list[list[tuple[str, str]]] = []
    with server.engines.talking("ask") as model:
        plain = model.answerer.chat

    def chat(photo: Any, before: Any = (), **settings: Any) -> Any:
        read.append(list(before))
        return plain(photo, before, **settings)

    monkeypatch.setattr(model.answerer, "chat", chat)
    client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0)
    picture = messages(data_url(PHOTO.read_bytes()))
    talk: list[Any] = [
        {"role": "user", "content": "Who was in the last photo?"}, {"role": "assistant", "content": "A cat."},
        *picture, {"role": "assistant", "content": "A man."}, {"role": "user", "content": "Does he smile?"},
    ]  # fmt: skip
    client.chat.completions.create(model="unif2ace-nano", messages=talk)
    assert len([*client.chat.completions.create(model="unif2ace-nano", messages=talk, stream=True)]) > 2
    asked = next(part["text"] for part in picture[0]["content"] if part["type"] == "text")
    assert read == [[(asked, "A man.")]] * 2


def test_a_server_of_answers_says_that_it_cannot_paint(http: httpx.Client) -> None:
    listed = {model["id"]: model for model in http.get("/v1/models").json()["data"]}
    assert listed["unif2ace-nano"]["available"] and listed["reader"]["available"]
    answer = http.post("/v1/paint", json={"text": "a man"})
    assert answer.status_code == 503 and "given weights of UniF²ace" in answer.json()["error"]["message"]


@pytest.mark.parametrize("pieces", [["  a", " b ", " ", "c  "], [" ", "", " a b  c"], ["a b  c ", "\n"], ["  "]])
def test_trimming_is_that_of_the_whole(pieces: list[str]) -> None:
    out: list[str] = []
    trimmed = Trimmed(out.append)
    for piece in pieces:
        trimmed(piece)
    assert "".join(out) == trimmed.text == "".join(pieces).strip()
