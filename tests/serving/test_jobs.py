"""The table of jobs and its worker, with a tiny real painter: batches, cancelling, limits, and servers that die."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the server's extra 'studio' is not installed")

from limner.errors import InputError
from limner.faces.picture import read_picture
from limner.serving.cleaner import clean
from limner.serving.job_store import JobStore, Made, NotThere, QueueFull, WrongState
from limner.serving.limits import Limits
from limner.serving.requests import PaintRequest
from limner.serving.server import Server
from mditface.parts import write_nano

ENDS = ("done", "failed", "cancelled", "interrupted")
LARGE = Made(b"x" * 40_000, "image/png", 1, 1, {"seed": 1})
PICTURE = Made(b"x" * 1000, "image/png", 1, 1, {"seed": 1})


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_nano(tmp_path_factory.mktemp("painter")))


@pytest.fixture
def make(weights: str, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A server without HTTP; its worker is started by hand."""
    made: list[Server] = []

    def new(**limits) -> Server:
        made.append(Server(weights, Limits(folder=tmp_path / "jobs", **limits)))
        return made[-1]

    yield new
    for server in made:
        server.worker.stop()
        server.table.close()


def wait(server: Server, job: str) -> str:
    """The state that a job ends in."""
    while (state := server.table.get(job).state) not in ENDS:
        time.sleep(0.01)
    return state


def test_waiting_jobs_of_one_kind_run_as_one_batch_and_are_what_they_are_alone(make) -> None:
    server = make()
    asked = [PaintRequest(text=f"a {who}", seed=seed, n=n, steps=3, watermark=False)
             for who, seed, n in (("man", 1, 1), ("woman", 50, 2), ("child", 9, 1))]  # fmt: skip
    jobs = [server.worker.submit("paint", request) for request in asked]
    other = server.worker.submit("paint", PaintRequest(text="a man", steps=2))
    server.worker.start()
    assert [wait(server, job.id) for job in (*jobs, other)] == ["done"] * 4
    batches = {s.labels["le"]: s.value for m in server.metrics.batch.collect() for s in m.samples if "le" in s.labels}
    assert batches["1.0"] == 1 and batches["3.0"] == 2  # three together, and one alone
    for job, request in zip(jobs, asked):
        with server.engines.painting() as painter:
            alone = painter.paint(request.text, n=request.n, steps=3, seed=request.seed)
        for stored, picture in zip(server.table.pictures(job.id), alone, strict=True):
            pixels = read_picture(server.table.data(stored.id)).astype(int)
            assert np.abs(pixels - np.asarray(picture.image)).max() <= 1
            assert stored.recipe is not None and stored.recipe["batched_with"] == 3


def test_cancelling_takes_effect_within_a_step(make) -> None:
    server = make()
    server.worker.start()
    job = server.worker.submit("paint", PaintRequest(text="a man", n=8, steps=100))
    while server.worker.progress(job.id).done < 3:
        time.sleep(0.005)
    server.worker.cancel(job.id)
    at = server.worker.progress(job.id).done
    assert server.table.get(job.id).state == "cancelled"
    after = server.worker.submit("paint", PaintRequest(text="a woman", steps=1))
    highest = at
    while server.table.get(after.id).state == "queued":
        highest = max(highest, server.worker.progress(job.id).done)
    assert wait(server, after.id) == "done" and highest <= at + 1
    assert not server.table.pictures(job.id)
    with pytest.raises(WrongState, match="cancelled already"):
        server.worker.cancel(job.id)


def test_one_of_a_batch_can_be_cancelled(make) -> None:
    server = make()
    one, two = (server.worker.submit("paint", PaintRequest(text="a man", seed=k, steps=60)) for k in range(2))
    server.worker.start()
    while server.worker.progress(one.id).done < 2:
        time.sleep(0.005)
    server.worker.cancel(one.id)
    assert wait(server, two.id) == "done" and server.table.get(one.id).state == "cancelled"
    assert len(server.table.pictures(two.id)) == 1 and not server.table.pictures(one.id)


def test_previews_come_while_a_job_is_watched(make) -> None:
    server = make()
    server.worker.start()
    job = server.worker.submit("paint", PaintRequest(text="a man", n=2, steps=100))
    preview = None
    while server.table.get(job.id).state not in ENDS and preview is None:
        preview = server.worker.progress(job.id).preview
    assert preview is not None and read_picture(preview).shape == (64, 128, 3)  # both, side by side


def test_limits_of_time_and_queue(make) -> None:
    server = make(job_seconds=0.05, queue=2)
    late = server.worker.submit("paint", PaintRequest(text="a man", n=16, steps=100))
    server.worker.submit("paint", PaintRequest(text="a man", steps=1))
    with pytest.raises(QueueFull, match="2 jobs are waiting"):
        server.worker.submit("paint", PaintRequest(text="a man"))
    server.worker.start()
    assert wait(server, late.id) == "failed"
    assert "more than 0.05 seconds" in (server.table.get(late.id).error or "")


def test_a_fault_of_one_job_is_its_own(make) -> None:
    server = make()
    grey = np.full((64, 64, 3), 128, np.uint8)
    from limner.faces.picture import encode_png

    empty = server.photos.store(encode_png(grey)).id
    bad = server.worker.submit("paint", PaintRequest(text="a man", mask=empty, steps=2))
    worse = server.worker.submit("paint", PaintRequest(text="a man", like=empty, steps=2))
    good = server.worker.submit("paint", PaintRequest(text="a man", steps=2))
    server.worker.start()
    assert [wait(server, job.id) for job in (bad, worse, good)] == ["failed", "failed", "done"]
    assert "no region map" in (server.table.get(bad.id).error or "")
    assert "no face was found" in (server.table.get(worse.id).error or "")


def test_a_fault_that_nobody_foresaw_ends_its_job_and_no_other(make, caplog: pytest.LogCaptureFixture) -> None:
    server = make()
    odd = server.table.add("paint", {"text": "a man", "unknown": 1}, None, 10)  # as another version might have left it
    good = server.worker.submit("paint", PaintRequest(text="a man", steps=1))
    server.worker.start()
    assert [wait(server, job.id) for job in (odd, good)] == ["failed", "done"]
    assert server.table.get(odd.id).error == "an internal error (ValidationError): the server's log says more"
    assert "a job failed" in caplog.text


def test_a_server_killed_in_a_job_leaves_it_to_be_retried(make, weights: str, tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    command = [sys.executable, "-m", "limner", "serve", "--port", "0", "--folder", str(folder), "--source", weights]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://[\d.:]+", process.stdout.readline())
        assert found is not None
        with httpx.Client(base_url=found[0], timeout=120) as http:
            answer = http.post("/v1/paint", json={"text": "a man", "steps": 1})
            assert answer.status_code == 202, answer.text
            done = answer.json()["id"]
            while http.get(f"/v1/jobs/{done}", params={"wait": 20}).json()["state"] != "done":
                pass
            long = http.post("/v1/paint", json={"text": "a man", "steps": 100, "n": 16, "seed": 3}).json()["id"]
            later = http.post("/v1/paint", json={"text": "a woman", "steps": 1}).json()["id"]
            while http.get(f"/v1/jobs/{long}").json()["steps_done"] < 2:
                time.sleep(0.005)
            with pytest.raises(InputError, match="another server uses"):
                JobStore(folder)
            os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    server = make()
    assert server.table.get(long).state == "interrupted"
    assert read_picture(server.table.data(server.table.pictures(done)[0].id)).shape == (64, 64, 3)
    server.worker.start()
    assert wait(server, later) == "done"  # what waited still runs
    server.worker.retry(long)
    assert wait(server, long) == "done" and server.table.get(long).attempts == 2
    assert len(server.table.pictures(long)) == 16


def test_a_change_is_whole_or_not_at_all(tmp_path: Path) -> None:
    table = JobStore(tmp_path)
    job = table.add("paint", {}, None, 10)
    table.take(1)
    with pytest.raises(sqlite3.Error):
        table.finish(job.id, [PICTURE, replace(PICTURE, mime=object())])  # type: ignore[arg-type]
    assert table.get(job.id).state == "running" and not table.pictures(job.id)
    assert table.finish(job.id, [PICTURE]) and not table.finish(job.id, [PICTURE])
    assert len(table.pictures(job.id)) == 1
    table.close()


def test_what_was_cancelled_stores_nothing(tmp_path: Path) -> None:
    table = JobStore(tmp_path)
    job = table.add("paint", {}, None, 10)
    table.take(1)
    table.cancel(job.id)
    assert not table.finish(job.id, [PICTURE]) and not table.fail(job.id, "late")
    assert table.get(job.id).state == "cancelled" and not table.pictures(job.id)
    table.close()


def test_cleaning_goes_by_age_then_size(tmp_path: Path) -> None:
    table = JobStore(tmp_path)
    used, spare = table.upload(PICTURE).id, table.upload(PICTURE).id
    jobs = [table.add("paint", {}, "x", 50).id for _ in range(20)]
    for job in table.take(20):
        table.finish(job.id, [LARGE])
    waiting = table.add("paint", {"like": used}, "y", 50)
    assert clean(table, time.time() - 3600, 10**9)[0] == 0
    before = table.database.size()
    removed, _ = clean(table, 0, before - 4 * len(LARGE.data))  # the oldest, and uploads that nothing waiting needs
    assert 5 <= removed <= 12 and table.database.size() <= before - 4 * len(LARGE.data)
    with pytest.raises(NotThere):
        table.get(jobs[0])
    with pytest.raises(NotThere):
        table.picture(spare)
    assert table.get(jobs[-1]).state == "done" and table.picture(used)
    assert clean(table, time.time() + 1, 10**9)[0] == 21 - removed
    assert table.get(waiting.id).state == "queued" and table.picture(used) and not table.gallery(10)
    table.close()
