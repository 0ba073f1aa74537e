"""Edits as jobs, with a tiny real editor: pictures while it samples, within a photo's own frame."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest

from facex.tiny import write_editor
from limner.faces.picture import encode_png, read_picture
from limner.provenance.consent import NOTICE
from limner.provenance.recipe import read_recipe
from limner.serving.limits import Limits
from limner.serving.worker import PREVIEW_SIDE
from serving.conftest import PHOTO, Running


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("editing")
    limits = Limits(folder=folder / "jobs")
    with (
        Running(limits, source=str(write_editor(folder / "weights"))) as running,
        httpx.Client(base_url=running.url, timeout=300) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def photo(http: httpx.Client) -> str:
    return http.post("/v1/uploads", files={"file": PHOTO.read_bytes()}).json()["id"]


def blank_picture() -> bytes:
    return encode_png(np.full((200, 160, 3), 128, np.uint8))


def followed(http: httpx.Client, job: str) -> list[dict]:
    with http.stream("GET", f"/v1/jobs/{job}/events") as stream:
        return [json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line]


@pytest.mark.parametrize("kind", ["edit", "swap", "reenact"])
def test_events_bring_previews_of_the_whole_photo(http: httpx.Client, photo: str, kind: str) -> None:
    asked = {
        "edit": {"photo": photo, "plan": {"sliders": {"smile": 0.5}, "repaint": ["person"]}},
        "swap": {"source": photo, "target": photo, "consent": True},
        "reenact": {"source": photo, "driver": photo, "consent": True},
    }[kind]
    answer = http.post(f"/v1/{kind}", json={**asked, "steps": 60, "seed": 4})
    assert answer.status_code == 202, answer.text
    seen = followed(http, answer.json()["id"])
    assert seen[-1]["state"] == "done", seen[-1]["error"]
    steps = [each["steps_done"] for each in seen if each["state"] == "running"]
    assert steps == sorted(steps) and set(steps) <= set(range(61))
    previews = [each["preview"] for each in seen if each["preview"] is not None]
    assert previews and len(set(previews)) == len(previews)  # an event tells each once
    before = read_picture(PHOTO)
    height, width = before.shape[:2]
    scale = min(1, PREVIEW_SIDE / max(height, width))
    for preview in previews:
        shown = read_picture(base64.b64decode(preview.removeprefix("data:image/jpeg;base64,")))
        assert shown.shape == (round(height * scale), round(width * scale), 3)
    made = http.get(seen[-1]["pictures"][0]["url"]).content
    recipe = read_recipe(made)
    assert recipe["seed"] == 4 and read_picture(made).shape == before.shape
    assert recipe.get("consent") == (None if kind == "edit" else "request")


def test_faces_are_taken_by_consent_only(http: httpx.Client, photo: str) -> None:
    """Swaps, reenactments, and plans that come to the same; not a hat of another photo."""
    takes = {"factors": {"lips": photo}, "repaint": ["lips"]}
    asked = {
        "swap": {"source": photo, "target": photo},
        "reenact": {"source": photo, "driver": photo},
        "edit": {"photo": photo, "plan": takes},
    }
    for kind, request in asked.items():
        for consent in ({}, {"consent": False}):
            answer = http.post(f"/v1/{kind}", json={**request, **consent, "steps": 1})
            error = answer.json()["error"]
            assert answer.status_code == 422 and error["param"] == "consent"
            assert error["message"] == f'consent: {NOTICE} If they did, add "consent": true'
        assert http.post(f"/v1/{kind}", json={**request, "consent": "yes", "steps": 1}).status_code == 422
        schema = http.get("/openapi.json").json()["components"]["schemas"][f"{kind.capitalize()}Request"]
        assert NOTICE in schema["properties"]["consent"]["description"]
    hat = {"photo": photo, "plan": {"factors": {"worn": photo}, "repaint": ["hat"]}, "steps": 1}
    assert http.post("/v1/edit", json=hat).status_code == 202
    made = http.post("/v1/edit", params={"wait": 60}, json={**asked["edit"], "consent": True, "steps": 1}).json()
    assert http.get(f"{made['pictures'][0]['url']}/recipe").json()["consent"] == "request"


def test_an_edit_stops_within_a_step(http: httpx.Client, photo: str) -> None:
    plan = {"sliders": {"yaw": 10}, "repaint": ["person"]}
    job = http.post("/v1/edit", json={"photo": photo, "plan": plan, "steps": 100}).json()["id"]
    while (at := http.get(f"/v1/jobs/{job}").json())["steps_done"] < 2:
        assert at["state"] in ("queued", "running"), at
    assert http.post(f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
    after = http.post("/v1/edit", params={"wait": 60}, json={"photo": photo, "plan": plan, "steps": 1}).json()
    assert after["state"] == "done" and not http.get(f"/v1/jobs/{job}").json()["pictures"]


def test_edits_that_wait_are_painted_together(http: httpx.Client, photo: str) -> None:
    """Behind a long one; one of them has no face, and fails alone."""

    blank = http.post("/v1/uploads", files={"file": blank_picture()}).json()["id"]

    def turned(yaw: int) -> dict:
        return {"sliders": {"yaw": yaw}, "repaint": ["person"]}

    first = http.post("/v1/edit", json={"photo": photo, "plan": turned(10), "steps": 100}).json()["id"]
    waiting = [
        http.post("/v1/edit", json={"photo": given, "plan": turned(yaw), "steps": 3, "seed": seed})
        for seed, (given, yaw) in enumerate([(photo, 5), (blank, 5), (photo, -15), (photo, 20)])
    ]
    ended = [followed(http, answer.json()["id"])[-1] for answer in waiting]
    assert http.get(f"/v1/jobs/{first}").json()["state"] == "done"
    assert [each["state"] for each in ended] == ["done", "failed", "done", "done"]
    assert "no face was found" in ended[1]["error"]
    recipes = [read_recipe(http.get(each["pictures"][0]["url"]).content) for each in ended if each["pictures"]]
    assert [recipe["batched_with"] for recipe in recipes] == [2] * 3
    assert [(recipe["seed"], recipe["plan"]["sliders"]["yaw"]) for recipe in recipes] == [(0, 5), (2, -15), (3, 20)]


def test_a_server_of_edits_says_that_it_cannot_paint(http: httpx.Client) -> None:
    answer = http.post("/v1/paint", json={"text": "a man"})
    assert answer.status_code == 503 and "given weights of FaceX" in answer.json()["error"]["message"]
    listed = {model["id"]: model for model in http.get("/v1/models").json()["data"]}
    assert listed["facex-nano"]["available"] and not listed["mditface-nano"]["available"]


def test_one_server_paints_and_edits(tmp_path: Path) -> None:
    """Weights to edit with beside those to paint with."""
    editor = str(write_editor(tmp_path / "editor"))
    with (
        Running(Limits(folder=tmp_path / "jobs"), editor=editor) as running,
        httpx.Client(base_url=running.url, timeout=300) as client,
    ):
        photo = client.post("/v1/uploads", files={"file": PHOTO.read_bytes()}).json()["id"]
        asked = {"photo": photo, "plan": {"sliders": {"yaw": 10}, "repaint": ["person"]}, "steps": 1}
        for kind, request in (("edit", asked), ("paint", {"text": "a woman", "steps": 1})):
            job = client.post(f"/v1/{kind}", json=request).json()["id"]
            assert (last := followed(client, job)[-1])["state"] == "done", last["error"]
