"""OpenAI's own client against the running server."""

from __future__ import annotations

import base64
import io

import numpy as np
import openai
import pytest
from PIL import Image

from limner.faces.picture import encode_png, read_picture
from limner.provenance.recipe import read_recipe
from serving.conftest import Running


@pytest.fixture(scope="module")
def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def data_url(file: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(file).decode()


def test_models(client: openai.OpenAI) -> None:
    assert {"mditface-nano", "reader"} <= {model.id for model in client.models.list()}


def test_generations(client: openai.OpenAI, http) -> None:
    made = client.images.generate(
        model="mditface-nano", prompt="an old man", n=2, size="256x256", quality="low", extra_body={"seed": 5}
    )
    assert made.data is not None and len(made.data) == 2
    recipe = read_recipe(base64.b64decode(made.data[1].b64_json or ""))
    assert (recipe["text"], recipe["seed"], recipe["picture"], recipe["steps"]) == ("an old man", 5, 1, 8)
    linked = client.images.generate(model="mditface-nano", prompt="a man", quality="low", response_format="url")
    assert linked.data is not None and read_picture(http.get(linked.data[0].url).content).shape == (256, 256, 3)


def test_edits_with_a_mask_keep_the_rest(client: openai.OpenAI, files) -> None:
    before = read_picture(files.photo)
    alpha = np.full(before.shape[:2], 255, np.uint8)
    alpha[: len(before) // 2] = 0
    hole = encode_png(Image.fromarray(np.dstack([before, alpha])))
    made = client.images.edit(
        model="mditface-nano", image=io.BytesIO(files.photo), mask=io.BytesIO(hole), prompt="grey hair", quality="low"
    )
    assert made.data is not None
    after = read_picture(base64.b64decode(made.data[0].b64_json or ""))
    assert after.shape == before.shape
    assert np.abs(after[-60:].astype(int) - before[-60:]).mean() < 4  # the watermark
    plain = client.images.edit(model="mditface-nano", image=io.BytesIO(files.photo), prompt="a man", quality="low")
    assert plain.data is not None
    assert read_picture(base64.b64decode(plain.data[0].b64_json or "")).shape == (256, 256, 3)


def messages(url: str) -> list:
    picture = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [{"type": "text", "text": "Describe this person."}, picture]}]


def test_chat_whole_and_streamed_say_the_same(client: openai.OpenAI, files) -> None:
    asked = messages(data_url(files.photo))
    whole = client.chat.completions.create(model="reader", messages=asked).choices[0].message.content
    chunks = list(client.chat.completions.create(model="reader", messages=asked, stream=True))
    assert len(chunks) > 10 and chunks[-1].choices[0].finish_reason == "stop"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    assert whole is not None and len(whole.split()) > 20


def test_refusals_are_the_clients_own_errors(client: openai.OpenAI, files, http) -> None:
    with pytest.raises(openai.BadRequestError, match="fetches nothing"):
        client.chat.completions.create(model="reader", messages=messages("http://127.0.0.1:1/x.jpg"))
    with pytest.raises(openai.BadRequestError, match="no model 'gpt-9'"):
        client.images.generate(model="gpt-9", prompt="a man")
    with pytest.raises(openai.UnprocessableEntityError, match="frequency_penalty"):
        client.chat.completions.create(model="reader", messages=messages("data:,"), frequency_penalty=0.1)
    listed = {model["id"]: model for model in http.get("/v1/models").json()["data"]}
    if not listed["unif2ace-nano"]["available"]:
        with pytest.raises(openai.InternalServerError, match="no weights"):
            client.chat.completions.create(model="unif2ace-nano", messages=messages(data_url(files.photo)))
