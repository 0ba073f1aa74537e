"""What OpenAI's clients send beside the essentials: nulls, sampling options, odd pictures; and clients that go away."""

from __future__ import annotations

import base64
import io
import json
import socket
import textwrap
import time
from urllib.parse import urlsplit

import numpy as np
import openai
import pytest
from PIL import Image

import limner
from limner.errors import InputError
from limner.serving.app import create_app
from limner.serving.limits import Limits
from limner.serving.openai import ImagesRequest
from limner.serving.openai_chat import ChatRequest
from limner.serving.picture_refs import picture_reference
from serving.conftest import PHOTO, Running

DATA = base64.b64encode(PHOTO.read_bytes()).decode()
URL = f"data:image/jpeg;base64,{DATA}"


@pytest.fixture(scope="module")
def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def messages(url: str = URL, words: str = "Is she smiling?") -> list:
    picture = {"type": "image_url", "image_url": {"url": url, "detail": None}}
    return [{"role": "user", "content": [{"type": "text", "text": words}, picture]}]


def test_null_is_absent() -> None:
    nulls = dict.fromkeys(("n", "size", "quality", "response_format", "output_format", "user", "seed", "model"))
    assert ImagesRequest.model_validate({"prompt": "a man", **nulls}) == ImagesRequest(prompt="a man")
    for name in (
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "seed",
        "n",
    ):
        asked = {"model": "reader", "messages": messages(), name: None}
        del (without := dict(asked))[name]
        assert ChatRequest.model_validate(asked) == ChatRequest.model_validate(without)
    with pytest.raises(ValueError, match="prompt"):
        ImagesRequest(prompt=None)  # type: ignore[arg-type]
    described = ImagesRequest.model_json_schema()["properties"]
    assert {"type": "null"} in described["n"]["anyOf"] and "anyOf" not in described["prompt"]


def test_null_over_http(http) -> None:
    asked = {"prompt": "an old man", "n": None, "size": None, "quality": "low", "response_format": None, "seed": None}
    answer = http.post("/v1/images/generations", json=asked)
    assert answer.status_code == 200 and len(answer.json()["data"]) == 1, answer.text


@pytest.mark.parametrize("model", ["reader", "unif2ace-nano"])
def test_a_limit_ends_an_answer_and_is_counted(client: openai.OpenAI, model: str) -> None:
    asked = {"model": model, "messages": messages(words="Describe this person."), "temperature": 0.0}
    whole = client.chat.completions.create(**asked, max_tokens=400)
    cut = client.chat.completions.create(**asked, max_tokens=3)
    assert whole.choices[0].finish_reason == "stop" and cut.choices[0].finish_reason == "length"
    said, first = whole.choices[0].message.content or "", cut.choices[0].message.content or ""
    assert said.startswith(first) and 0 < len(first) < len(said)
    assert whole.usage is not None and cut.usage is not None
    assert cut.usage.completion_tokens == 3 < whole.usage.completion_tokens
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert whole.usage.prompt_tokens == cut.usage.prompt_tokens and (model == "reader") == (
        cut.usage.prompt_tokens == 0
    )
    streamed = list(
        client.chat.completions.create(**asked, max_tokens=3, stream=True, stream_options={"include_usage": True})
    )
    assert streamed[-1].usage == cut.usage and streamed[-1].choices == []
    assert "".join(c.choices[0].delta.content or "" for c in streamed[:-1]) == first
    assert streamed[-2].choices[0].finish_reason == "length" and all(c.usage is None for c in streamed[:-1])


def test_temperature_and_seed_draw_tokens(client: openai.OpenAI) -> None:
    def said(**settings) -> str:
        asked = messages(words="Describe this person.")
        made = client.chat.completions.create(model="unif2ace-nano", messages=asked, max_tokens=30, **settings)
        return made.choices[0].message.content or ""

    assert said(temperature=1.5, seed=1) == said(temperature=1.5, seed=1)
    assert len({said(temperature=1.5, seed=seed) for seed in range(4)} | {said()}) > 2


def test_stream_options_go_with_a_stream(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="stream_options goes with stream=true"):
        client.chat.completions.create(
            model="reader", messages=messages(), extra_body={"stream_options": {"include_usage": True}}
        )
    with pytest.raises(openai.UnprocessableEntityError, match="say the same"):
        client.chat.completions.create(model="reader", messages=messages(), max_tokens=1, max_completion_tokens=2)


def test_a_wrapped_picture_is_joined() -> None:
    wrapped = "data:image/jpeg;base64," + "\r\n".join(textwrap.wrap(DATA, 76)) + "\n"
    assert picture_reference(wrapped) == URL
    assert picture_reference("pic_0123456789abcdef0123") == "pic_0123456789abcdef0123"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (DATA, "base64 without its head: put data:image/png;base64, in front"),
        ("https://example.com/a.jpg", "is an address, and this server fetches nothing"),
        ("file:///etc/passwd", "fetches nothing"),
        ("/etc/passwd", "names no picture of this server"),
        ("photo.jpg", "names no picture of this server"),
        ("data:image/png,abc", "not in base64"),
        ("data:text/html;base64,AAAA", "begins with data:image/png"),
        ("data:image/png;base64,A*A=", "damaged"),
        ("data:image/png;base64,AAA", "damaged"),
        ("", "names no picture"),
    ],
)
def test_what_names_no_picture_is_a_sentence(http, given: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        picture_reference(given)
    answer = http.post("/v1/faces", json={"photo": given})
    message = answer.json()["error"]["message"]
    assert answer.status_code == 422 and said in message and "pattern" not in message and "\n" not in message
    chat = http.post("/v1/chat/completions", json={"model": "reader", "messages": messages(given)})
    assert chat.status_code == 400 and said in chat.json()["error"]["message"]


def test_work_stops_when_the_client_is_gone(server: Running, http) -> None:
    """A request of many pictures, and a connection that is closed: its job is cancelled, others do not wait for it."""
    body = json.dumps({"prompt": "an old man of the sea", "n": 16, "quality": "hd"}).encode()
    place = urlsplit(server.url)
    assert place.hostname is not None and place.port is not None
    with socket.create_connection((place.hostname, place.port)) as connection:
        head = f"POST /v1/images/generations HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until = time.monotonic() + 60
        while (job := newest(http, "an old man of the sea")) is None or job["state"] == "queued":
            assert time.monotonic() < until
            time.sleep(0.1)
    until = time.monotonic() + 30
    while (job := newest(http, "an old man of the sea")) is not None and job["state"] == "running":
        assert time.monotonic() < until, "it computes for nobody"
        time.sleep(0.2)
    assert job is not None and job["state"] == "cancelled" and job["pictures"] == []


def newest(http, text: str) -> dict | None:
    return next((job for job in http.get("/v1/jobs").json() if job["request"].get("text") == text), None)


def test_compare(http, photo: str) -> None:
    with Image.open(PHOTO) as opened:
        buffer = io.BytesIO()
        opened.resize((opened.width // 2, opened.height // 2)).save(buffer, "PNG")
    smaller = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    found = http.post("/v1/compare", json={"a": photo, "b": smaller}).json()
    assert found["same"] is True and 0 <= found["distance"] < found["threshold"] == 0.6
    assert np.allclose(np.array(found["boxes"][0]) / 2, found["boxes"][1], atol=6)
    refused = http.post("/v1/compare", json={"a": photo, "b": smaller, "face_b": 9})
    assert refused.status_code == 400 and "b shows" in refused.json()["error"]["message"]


def test_embeddings_are_identity_vectors(client: openai.OpenAI, http, photo: str) -> None:
    face = limner.load().read(PHOTO)[0]
    made = client.embeddings.create(model="face-identity", input=[URL, photo])  # base64, as the client asks for
    assert [each.index for each in made.data] == [0, 1] and made.model == "face-identity"
    for each in made.data:
        assert np.allclose(each.embedding, face.identity, atol=1e-4)
    numbers = http.post("/v1/embeddings", json={"input": photo, "model": "face-identity"}).json()
    assert np.allclose(numbers["data"][0]["embedding"], face.identity, atol=1e-4)
    assert np.allclose(numbers["data"][0]["box"], face.box, atol=0.1)
    empty = base64.b64encode(_grey()).decode()
    refused = http.post("/v1/embeddings", json={"input": [photo, f"data:image/png;base64,{empty}"]})
    assert refused.status_code == 400 and "no face was found in input 1" in refused.json()["error"]["message"]


def _grey() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_description_is_a_page_of_this_server_alone(http) -> None:
    page = http.get("/docs")
    assert page.status_code == 200 and "swagger-ui" in page.text
    assert "http://" not in page.text and "https://" not in page.text and "//cdn" not in page.text
    for name, kind in (("swagger-ui-bundle.js", "javascript"), ("swagger-ui.css", "css")):
        assert f"/docs/assets/{name}" in page.text
        asset = http.get(f"/docs/assets/{name}")
        assert asset.status_code == 200 and kind in asset.headers["content-type"] and len(asset.content) > 100_000


@pytest.mark.parametrize("token", [None, "a long secret"])
def test_security_is_described(tmp_path, token: str | None) -> None:
    app = create_app(Limits(folder=tmp_path), token=token)
    described = app.openapi()
    app.state.server.table.close()
    schemes = described.get("components", {}).get("securitySchemes", {})
    if token is None:
        assert schemes == {} and "security" not in described
    else:
        assert [scheme["scheme"] for scheme in schemes.values()] == ["bearer"]
        assert described["security"] == [{name: []} for name in schemes]
        assert described["paths"]["/health"]["get"]["security"] == []
