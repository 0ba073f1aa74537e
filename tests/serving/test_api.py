"""Limner's own routes on a real server: what they give, and what they refuse."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
from PIL import Image

from limner.faces.picture import encode_png, read_picture
from limner.faces.regions import Region
from limner.provenance.recipe import read_recipe
from serving.conftest import Running

FAST = {"steps": 2}


def error_of(answer: httpx.Response) -> str:
    """The sentence of a refusal; it has the request's id, and no traceback."""
    body = answer.json()["error"]
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["message"] and "\n" not in body["message"] and "Traceback" not in body["message"]
    return body["message"]


def run(http: httpx.Client, kind: str, wait: bool = True, **asked) -> dict:
    """A job, at its end if ``wait``."""
    answer = http.post(f"/v1/{kind}", json={**FAST, **asked})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    while wait and job["state"] in ("queued", "running"):
        job = http.get(f"/v1/jobs/{job['id']}", params={"wait": 20}).json()
    return job


def test_faces_are_those_of_the_toolkit(http: httpx.Client, photo: str, server: Running) -> None:
    found = http.post("/v1/faces", json={"photo": photo, "regions": True}).json()
    (face,) = server.app.state.server.engines.read(read_picture(http.get(f"/v1/pictures/{photo}").content))
    assert found["faces"][0]["box"] == face.to_dict()["box"]
    regions = np.array(Image.open(io.BytesIO(http.get(f"/v1/pictures/{found['faces'][0]['regions']}").content)))
    assert np.array_equal(regions, face.regions) and (regions == Region.HAIR).any()


def test_a_data_url_is_as_good_as_an_upload(http: httpx.Client, photo: str, files) -> None:
    url = "data:image/jpeg;base64," + base64.b64encode(files.photo).decode()
    assert http.post("/v1/faces", json={"photo": url}).json() == http.post("/v1/faces", json={"photo": photo}).json()


def test_painted_pictures_carry_their_recipe(http: httpx.Client) -> None:
    job = run(http, "paint", text="a woman with red hair", n=2, seed=9)
    assert job["state"] == "done" and job["error"] is None and len(job["pictures"]) == 2
    assert http.get(f"/v1/jobs/{job['id']}/result").json() == job["pictures"]
    for place, picture in enumerate(job["pictures"]):
        file = http.get(picture["url"]).content
        recipe = read_recipe(file)
        assert (recipe["text"], recipe["seed"], recipe["picture"]) == ("a woman with red hair", 9, place)
        assert http.get(f"{picture['url']}/recipe").json() == recipe
    small = http.get(job["pictures"][0]["url"], params={"side": 64})
    assert small.headers["content-type"] == "image/webp" and read_picture(small.content).shape == (64, 64, 3)


def test_regions_come_from_a_photo_or_a_map_and_can_be_edited(http: httpx.Client, photo: str) -> None:
    face = http.post("/v1/faces", json={"photo": photo, "regions": True}).json()["faces"][0]
    like, mask = run(http, "paint", like=photo, seed=4), run(http, "paint", mask=face["regions"], seed=4)
    edited = run(http, "paint", like=photo, edit_mask="hair: shorter 10", seed=4)
    recipes = [http.get(f"{job['pictures'][0]['url']}/recipe").json()["mask"] for job in (like, mask, edited)]
    maps = [np.array(Image.open(io.BytesIO(base64.b64decode(recipe)))) for recipe in recipes]
    assert (maps[0] == maps[1]).mean() > 0.95  # aligned by the face's points there, by eyes and mouth here
    assert (maps[2] == Region.HAIR).sum() < (maps[0] == Region.HAIR).sum()


def test_repainting_changes_only_the_opening(http: httpx.Client, photo: str) -> None:
    before = read_picture(http.get(f"/v1/pictures/{photo}").content)
    alpha = np.full(before.shape[:2], 255, np.uint8)
    height, width = before.shape[:2]
    alpha[height // 2 : height * 3 // 4, width // 3 : width * 2 // 3] = 0
    hole = encode_png(Image.fromarray(np.dstack([before, alpha])))
    mask = http.post("/v1/uploads", files={"file": hole}).json()["id"]
    job = run(http, "repaint", photo=photo, mask=mask, text="a smiling man")
    assert job["state"] == "done", job["error"]
    after = read_picture(http.get(job["pictures"][0]["url"]).content)
    changed = np.abs(after.astype(int) - before).max(-1)
    assert changed[: height // 3].max() == 0  # no watermark there either
    assert changed[height // 2 : height * 3 // 4, width // 3 : width * 2 // 3].mean() > 12
    assert http.get(f"{job['pictures'][0]['url']}/recipe").json()["kind"] == "edit"


def test_following_a_job_tells_each_step(http: httpx.Client) -> None:
    job = run(http, "paint", wait=False, text="a man", steps=6)
    seen = []
    with http.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        for line in stream.iter_lines():
            if line:
                seen.append(json.loads(line.removeprefix("data: ")))
    assert seen[-1]["state"] == "done" and len(seen[-1]["pictures"]) == 1
    steps = [each["steps_done"] for each in seen if each["state"] == "running"]
    assert steps == sorted(steps)


def test_a_reader_describes_and_absent_engines_say_so(http: httpx.Client, photo: str) -> None:
    text = http.post("/v1/describe", json={"photo": photo, "by": "reader"}).json()["text"]
    assert len(text.split()) > 20
    listed = {model["id"]: model for model in http.get("/v1/models").json()["data"]}
    assert listed["mditface-nano"]["available"] and listed["reader"]["available"]
    for route, asked, engine in (
        ("describe", {"photo": photo}, "unif2ace-nano"),
        ("ask", {"photo": photo, "question": "Is he smiling?"}, "unif2ace-nano"),
        ("swap", {"source": photo, "target": photo, "consent": True}, "facex-nano"),
        ("reenact", {"source": photo, "driver": photo, "consent": True}, "facex-nano"),
        ("edit", {"photo": photo, "plan": {}}, "facex-nano"),
    ):
        if listed[engine]["available"]:
            continue
        answer = http.post(f"/v1/{route}", json=asked)
        assert answer.status_code == 503 and "no weights" in error_of(answer)
        assert listed[engine]["reason"] is not None


def test_descriptions_have_the_length_asked_for(http: httpx.Client, photo: str) -> None:
    said = {}
    for length in ("short", "full"):
        said[length] = http.post("/v1/describe", json={"photo": photo, "length": length}).json()["text"]
    assert said["short"].count(".") == 1 and said["full"].count(".") > 8
    assert http.post("/v1/describe", json={"photo": photo, "length": "medium"}).status_code == 422


@pytest.mark.parametrize("name", ["/etc/passwd", "photo.jpg", "http://127.0.0.1/x.jpg", "data:image/png;base64,AA"])
@pytest.mark.parametrize("where", ["factors", "structure"])
def test_a_plan_names_pictures_and_nothing_else(http: httpx.Client, photo: str, name: str, where: str) -> None:
    plan = {"factors": {"identity": name}} if where == "factors" else {"structure": name}
    answer = http.post("/v1/edit", json={"photo": photo, "plan": plan, "consent": True})
    assert answer.status_code == 422 and "name it by its id" in error_of(answer)


@pytest.mark.parametrize(
    ("asked", "status", "says"),
    [
        ({"text": "a", "watermark": "false"}, 422, "watermark"),
        ({"text": "a", "watermark": 0}, 422, "watermark"),
        ({"text": "a", "n": "2"}, 422, "n: "),
        ({"text": "a", "n": 17}, 422, "n: "),
        ({"text": "a", "steps": 101}, 422, "steps"),
        ({"text": "a", "colour": "red"}, 422, "colour"),
        ({}, 422, "nothing to generate"),
        ({"text": "a", "edit_mask": "hair: longer"}, 422, "edit_mask needs"),
        ({"mask": "/etc/passwd"}, 422, "mask"),
        ({"like": "http://127.0.0.1/x.png"}, 422, "like"),
        ({"like": "pic_" + "0" * 20}, 404, "no picture"),
        ({"like": "data:image/png;base64,AAAA"}, 400, "not a picture"),
        ({"text": "a", "size": 512}, None, "size=512"),
    ],
)
def test_what_cannot_be_asked_is_refused(http: httpx.Client, asked: dict, status: int | None, says: str) -> None:
    if status is None:  # only the loaded painter knows
        job = run(http, "paint", **asked)
        assert job["state"] == "failed" and says in job["error"]
    else:
        answer = http.post("/v1/paint", json={**FAST, **asked})
        assert answer.status_code == status and says in error_of(answer)


def test_uploads_are_checked_before_they_are_decoded(http: httpx.Client) -> None:
    bomb = io.BytesIO()
    Image.new("1", (30_000, 2_000)).save(bomb, "PNG")
    answer = http.post("/v1/uploads", files={"file": bomb.getvalue()})
    assert answer.status_code == 400 and "40 megapixels" in error_of(answer)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    large: list[dict[str, Any]] = [
        {"files": {"file": b"x" * 2_100_000}},  # said at once
        {"content": iter([head, *[b"x" * 100_000] * 30]), "headers": kind},  # found out while reading
    ]
    for given in large:
        answer = http.post("/v1/uploads", **given)
        assert answer.status_code == 413 and "at most" in error_of(answer)
    assert http.post("/v1/uploads", files={"file": b"no picture"}).status_code == 400


def test_other_sites_and_names_are_refused(http: httpx.Client) -> None:
    assert http.get("/health", headers={"Origin": "http://evil.example"}).status_code == 403
    assert http.get("/health", headers={"Host": "evil.example"}).status_code == 403
    assert http.get("/health").status_code == 200


def test_request_ids_and_metrics(http: httpx.Client) -> None:
    assert http.get("/health", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    given = http.get("/health", headers={"X-Request-ID": "a b\u00e9".encode("latin-1")}).headers["x-request-id"]  # type: ignore[arg-type]
    assert given.isalnum()
    text = http.get("/metrics").text
    assert 'limner_requests_total{method="GET",route="/health",status="200"}' in text
    assert "process_resident_memory_bytes" in text and "limner_batch_jobs_bucket" in text


def test_openapi_has_examples_and_every_route(http: httpx.Client) -> None:
    schema = http.get("/openapi.json").json()
    assert {"/v1/faces", "/v1/paint", "/v1/images/generations", "/v1/chat/completions"} <= set(schema["paths"])
    assert schema["components"]["schemas"]["PaintRequest"]["examples"]
