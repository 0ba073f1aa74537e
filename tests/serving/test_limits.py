"""What a server survives: slow and too many connections, full disks, full stores, large pictures, odd headers."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx2 as httpx
import numpy as np
import pytest
from PIL import Image

from limner.errors import InputError
from limner.faces.picture import encode_png, read_picture
from limner.provenance.recipe import KEY
from limner.serving.database import FILE, NoRoom, StoreFull
from limner.serving.decoding import PixelBudget, ThumbnailCache
from limner.serving.images import Photos
from limner.serving.job_store import JobStore, Made, QueueFull
from limner.serving.limits import BODIES, Limits
from limner.serving.requests import INSIDE, EditRequest, PaintRequest, SwapRequest
from limner.serving.server import Server
from limner.serving.studio.allowed_routes import is_allowed
from mditface.parts import write_nano
from serving.conftest import PHOTO, Running

MIB = 1 << 20
QUICK = {"header_seconds": 0.5, "body_seconds": 1.5, "idle_seconds": 1.0, "connections": 24}


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with the time limits of an impatient one."""
    limits = Limits(folder=tmp_path_factory.mktemp("hasty"), upload_bytes=12_000_000, **QUICK)
    with Running(limits) as running:
        yield running


def connect(server: Running) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    opened = socket.create_connection((host, int(port)), timeout=30)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def seconds_until_closed(opened: socket.socket, drip: bytes = b"") -> float:
    """How long a connection lives, with a byte every now and then."""
    began = time.monotonic()
    opened.settimeout(0.1)
    while time.monotonic() - began < 30:
        try:
            if drip:
                opened.sendall(drip)
            if not opened.recv(65536):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began


@pytest.mark.parametrize(
    "head",
    [b"", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"],
    ids=["nothing", "headers", "idle after an answer"],
)
def test_slow_connections_are_closed(hasty: Running, head: bytes) -> None:
    opened = [connect(hasty) for _ in range(10)]
    for each in opened:
        each.sendall(head)
    with ThreadPoolExecutor(10) as threads:
        lived = list(threads.map(lambda each: seconds_until_closed(each, b"x" if head[-2:] == b": " else b""), opened))
    assert max(lived) < 10
    for each in opened:
        each.close()


@pytest.mark.parametrize("sized", [True, False], ids=["with a length", "chunked"])
def test_a_slow_body_is_answered_and_closed(hasty: Running, sized: bool) -> None:
    how = "Content-Length: 1000" if sized else "Transfer-Encoding: chunked"
    with connect(hasty) as opened:
        opened.sendall(
            f"POST /v1/describe HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{how}\r\n\r\n".encode()
        )
        answer, began = b"", time.monotonic()
        opened.settimeout(0.1)
        while time.monotonic() - began < 20:
            try:
                opened.sendall(b"{" if sized else b"1\r\n{\r\n")
                piece = opened.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
            answer += piece
            if not piece:
                break
    assert answer.startswith(b"HTTP/1.1 408") and b"too_slow" in answer and time.monotonic() - began < 10


def test_who_takes_no_answer_is_closed(hasty: Running) -> None:
    stored = hasty.app.state.server.table.upload(Made(os.urandom(8 * MIB), "image/png", 1, 1))
    with socket.socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.connect(("127.0.0.1", int(hasty.url.rpartition(":")[2])))
        opened.sendall(f"GET /v1/pictures/{stored.id} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        time.sleep(6)
        read = 0
        opened.settimeout(5)
        try:
            while piece := opened.recv(65536):
                read += len(piece)
        except ConnectionResetError:
            pass
        assert read < 8 * MIB


def test_only_so_many_connections_are_open(tmp_path: Path) -> None:
    with Running(Limits(folder=tmp_path, connections=8)) as running:
        opened = [connect(running) for _ in range(20)]
        time.sleep(0.5)
        alive = 0
        for each in opened:
            each.settimeout(0.1)
            try:
                each.recv(1)
            except TimeoutError:
                alive += 1
            except OSError:
                pass
        assert alive == 8
        for each in opened:
            each.close()
        time.sleep(0.2)
        assert httpx.get(f"{running.url}/health").status_code == 200


def test_a_chunked_body_over_the_limit_is_refused(hasty: Running) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 100_000

    for path, kind in (("/v1/describe", "application/json"), ("/v1/uploads", "multipart/form-data; boundary=x")):
        body = pieces()
        if "boundary" in kind:
            head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
            body = (piece if number else head + piece for number, piece in enumerate(body))
        try:
            answer = httpx.post(f"{hasty.url}{path}", content=body, headers={"Content-Type": kind}, timeout=30)
        except httpx.TransportError:
            continue  # closed while it was still sending
        assert answer.status_code == 413 and answer.json()["error"]["code"] == "too_large"
    assert hasty.app.state.server.table.queued == 0 and httpx.get(f"{hasty.url}/health").status_code == 200


def test_bodies_on_their_way_have_a_limit_together(tmp_path: Path) -> None:
    with Running(Limits(folder=tmp_path, upload_bytes=100_000)) as running:
        opened = [connect(running) for _ in range(BODIES + 2)]
        for each in opened:
            each.sendall(
                b"POST /v1/describe HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b"Content-Length: 99000\r\n\r\n" + b" " * 98_000
            )
            time.sleep(0.05)
        opened[-1].settimeout(10)
        assert opened[-1].recv(65536).startswith(b"HTTP/1.1 429")
        for each in opened:
            each.close()
        time.sleep(0.5)
        answer = httpx.post(f"{running.url}/v1/describe", json={"photo": "pic_" + "0" * 20, "by": "reader"})
        assert answer.status_code == 404  # nobody's bytes are counted for ever


@pytest.mark.parametrize("host", ["[", "[::1", "127.0.0.1:port", "127.0.0.1:99999999", "]["])
def test_a_host_that_is_none_is_a_bad_request(hasty: Running, host: str) -> None:
    with connect(hasty) as opened:
        opened.sendall(f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: opened.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400") and b"bad_host" in answer


def test_pages_of_other_sites_get_nothing(hasty: Running) -> None:
    for site in ("cross-site", "same-site", "Cross-Site"):
        for path in ("/", "/v1/jobs", "/v1/models", "/openapi.json"):
            assert httpx.get(hasty.url + path, headers={"Sec-Fetch-Site": site}).status_code == 403
    for site in ("same-origin", "none"):
        assert httpx.get(f"{hasty.url}/v1/models", headers={"Sec-Fetch-Site": site}).status_code == 200


def test_the_token_opens_whatever_its_scheme_is_written_like(tmp_path: Path) -> None:
    with Running(Limits(folder=tmp_path), token="a long secret") as running:
        for scheme in ("Bearer", "bearer", "BEARER", "bEaReR"):
            headers = {"Authorization": f"{scheme} a long secret", "Sec-Fetch-Site": "cross-site"}
            assert httpx.get(f"{running.url}/v1/models", headers=headers).status_code == 200
        assert (
            httpx.get(f"{running.url}/v1/models", headers={"Authorization": "Basic a long secret"}).status_code == 401
        )
        link = httpx.get(f"{running.url}/?token=a+long+secret", headers={"Sec-Fetch-Site": "cross-site"})
        assert link.status_code == 303  # a link in a mail
        cookie = {"Cookie": link.headers["set-cookie"].partition(";")[0]}
        assert httpx.get(f"{running.url}/v1/models", headers=cookie).status_code == 200
        cookie["Sec-Fetch-Site"] = "same-site"  # a page on another port of this machine
        assert httpx.get(f"{running.url}/v1/models", headers=cookie).status_code == 403


def test_the_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir(mode=0o755)
    (folder / FILE).touch(0o644)
    table = JobStore(folder)
    table.upload(Made(b"x" * 10_000, "image/png", 1, 1))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.glob("jobs.sqlite*")} == {0o600}
    with pytest.raises(InputError, match="another server uses"):
        JobStore(folder)
    table.close()
    JobStore(folder).close()
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="cannot write"):
        JobStore(tmp_path / "linked")


def test_a_file_of_an_older_version_is_brought_up_to_date(tmp_path: Path) -> None:
    import sqlite3

    old = sqlite3.connect(tmp_path / FILE)
    old.executescript(
        "PRAGMA journal_mode = WAL;"
        "CREATE TABLE jobs (id TEXT PRIMARY KEY, number INTEGER UNIQUE NOT NULL, kind TEXT NOT NULL,"
        "state TEXT NOT NULL, request TEXT NOT NULL, likeness TEXT, created REAL NOT NULL, started REAL,"
        "ended REAL, error TEXT,"
        "attempts INTEGER NOT NULL DEFAULT 0);"
        "CREATE TABLE pictures (id TEXT PRIMARY KEY, job TEXT REFERENCES jobs (id) ON DELETE CASCADE,"
        "place INTEGER NOT NULL, created REAL NOT NULL, mime TEXT NOT NULL, width INTEGER NOT NULL,"
        "height INTEGER NOT NULL, recipe TEXT, data BLOB NOT NULL);"
    )
    used, spare, job = "pic_" + "1" * 20, "pic_" + "2" * 20, "job_" + "3" * 20
    for picture in (used, spare):
        old.execute("INSERT INTO pictures VALUES (?, NULL, 0, 1, 'image/png', 1, 1, NULL, x'00')", (picture,))
    request = json.dumps({"like": used})
    old.execute("INSERT INTO jobs VALUES (?, 1, 'paint', 'queued', ?, NULL, 1, NULL, NULL, NULL, 0)", (job, request))
    old.commit()
    old.close()
    table = JobStore(tmp_path)
    assert table.queued == 1 and table.remove_oldest(before=5, most=10) == 1
    assert table.picture(used) and table.database.rows("PRAGMA auto_vacuum") == [(2,)]
    table.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A server without HTTP, with a tiny real painter."""
    made: list[Server] = []

    def new(**limits: Any) -> Server:
        weights = str(write_nano(tmp_path / "painter"))
        made.append(Server(weights, Limits(folder=tmp_path / "jobs", **limits)))
        return made[-1]

    yield new
    for server in made:
        server.stop()


def fill(table: JobStore) -> None:
    """Let SQLite find the disk full at the next change that needs a page."""
    pages = table.database.rows("PRAGMA page_count")[0][0]
    table.database.rows(f"PRAGMA max_page_count = {pages}")


def empty(table: JobStore) -> None:
    table.database.rows("PRAGMA max_page_count = 1000000")


def test_jobs_wait_for_room_on_a_full_disk_and_nothing_is_lost(make: Callable[..., Server]) -> None:
    server = make()
    server.start()
    job = server.worker.submit("paint", PaintRequest(text="a man", n=2, steps=20))
    after = server.worker.submit("paint", PaintRequest(text="a woman", steps=2))
    while server.worker.progress(job.id, preview=False).done < 2:
        time.sleep(0.01)
    fill(server.table)
    with pytest.raises(StoreFull, match="disk is full, and nothing was changed"):
        server.table.upload(Made(b"x" * MIB, "image/png", 1, 1))
    until = time.monotonic() + 60
    while server.worker.standing != "disk_full":
        assert time.monotonic() < until and server.table.get(job.id).state == "running"
        time.sleep(0.02)
    time.sleep(0.6)  # it tries again, and nothing changes
    assert server.worker.standing == "disk_full" and server.table.get(job.id).state == "running"
    empty(server.table)
    while (state := server.table.get(after.id).state) in ("queued", "running"):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert state == "done" and server.table.get(job.id).state == "done" and server.worker.standing == "ok"
    assert len(server.table.pictures(job.id)) == 2


def test_a_server_on_a_full_disk_stops(make: Callable[..., Server]) -> None:
    server = make()
    server.start()
    job = server.worker.submit("paint", PaintRequest(text="a man", n=2, steps=20))
    fill(server.table)
    while server.worker.standing != "disk_full":
        time.sleep(0.02)
    began = time.monotonic()
    server.worker.stop()
    assert time.monotonic() - began < 5 and server.worker.standing == "stopped"
    empty(server.table)
    server.table.interrupt()
    assert server.table.get(job.id).state == "interrupted"


def test_full_disks_are_507_and_a_dead_worker_is_503(tmp_path: Path) -> None:
    with Running(Limits(folder=tmp_path)) as running, httpx.Client(base_url=running.url, timeout=60) as http:
        server = running.app.state.server
        assert http.get("/health").json()["status"] == "ok"
        fill(server.table)
        answer = http.post("/v1/uploads", files={"file": PHOTO.read_bytes()})
        assert answer.status_code == 507 and answer.json()["error"]["code"] == "storage_full"
        assert "disk is full" in answer.json()["error"]["message"] and http.get("/v1/jobs").status_code == 200
        empty(server.table)
        assert http.post("/v1/uploads", files={"file": PHOTO.read_bytes()}).status_code == 201
        server.worker.stop()
        answer = http.get("/health")
        assert answer.status_code == 503 and answer.json()["status"] == "stopped"


def test_the_store_keeps_within_its_limit_with_its_log(tmp_path: Path) -> None:
    most, random = 4_000_000, np.random.default_rng(0)
    table = JobStore(tmp_path, most)
    largest, ids = 0, []

    def watch() -> None:
        nonlocal largest
        while not done.is_set():
            largest = max(largest, sum(file.stat().st_size for file in tmp_path.iterdir()))
            time.sleep(0.001)

    done = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(30):
        made = Made(random.bytes(int(random.integers(1_000, 400_000))), "image/png", 1, 1, {"seed": number})
        if number % 3:
            ids.append(table.upload(made).id)
        else:
            job = table.add("paint", {"like": ids[-1]} if ids else {}, None, 10)
            table.take(1)
            assert table.finish(job.id, [made])
    done.set()
    watcher.join()
    assert table.picture(ids[-1]) and largest <= 1.1 * most, largest
    assert table.database.size() > 0.4 * most  # and it is used
    with pytest.raises(NoRoom, match="--store-megabytes"):
        table.upload(Made(b"x" * most, "image/png", 1, 1))
    table.close()


def test_what_waiting_jobs_need_is_not_removed_for_others(tmp_path: Path) -> None:
    table = JobStore(tmp_path, 2_000_000)
    needed = table.upload(Made(os.urandom(300_000), "image/png", 1, 1)).id
    maker = table.add("paint", {}, None, 10)
    table.take(1)
    table.finish(maker.id, [Made(os.urandom(300_000), "image/png", 1, 1, {})])
    made = table.pictures(maker.id)[0].id
    table.add("repaint", {"photo": made, "mask": needed}, None, 10)
    for _ in range(12):
        table.upload(Made(os.urandom(300_000), "image/png", 1, 1))
    assert table.picture(needed) and table.picture(made)
    table.close()


def test_pixels_are_claimed_from_one_budget() -> None:
    budget = PixelBudget(100, patience=0.2)
    with budget.claim(60):
        with pytest.raises(QueueFull, match="being decoded"), budget.claim(60):
            pass
        with budget.claim(40):
            pass
    with budget.claim(1000), pytest.raises(QueueFull), budget.claim(1):  # the first takes all of it
        pass


def test_few_large_pictures_are_decoded_at_the_same_time(tmp_path: Path) -> None:
    table = JobStore(tmp_path)
    under_way, most, lock = 0, 0, threading.Lock()

    class Counting(PixelBudget):
        @contextmanager
        def claim(self, pixels: int) -> Iterator[None]:
            nonlocal under_way, most
            with super().claim(pixels):
                with lock:
                    under_way += pixels
                    most = max(most, under_way)
                yield
                with lock:
                    under_way -= pixels

    photos = Photos(table, Counting(2_500_000, patience=60))
    file = encode_png(np.zeros((1000, 1000, 3), np.uint8))
    with ThreadPoolExecutor(12) as threads:
        stored = list(threads.map(lambda _: photos.store(file), range(12)))
        small = list(threads.map(lambda each: photos.thumbnail(each.id, 64), stored * 2))
        loaded = list(threads.map(lambda each: photos.load(each.id).shape, stored))
    assert 1_000_000 <= most <= 2_500_000 and set(loaded) == {(1000, 1000, 3)}
    assert {read_picture(each).shape for each in small} == {(64, 64, 3)}
    table.close()


def test_small_copies_are_kept_up_to_a_size() -> None:
    kept = ThumbnailCache(100)
    for number in range(10):
        kept.keep((f"pic_{number}", 64), bytes(30))
        assert kept.get(("pic_0", 64)) is not None
    assert kept.get(("pic_9", 64)) and kept.get(("pic_0", 64)) and kept.get(("pic_5", 64)) is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_uploads_and_small_copies_of_turned_photos_are_upright(kind: str, tmp_path: Path) -> None:
    table = JobStore(tmp_path)
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (640, 320), "red").save(buffer, kind, exif=exif)
    photos = Photos(table)
    stored = photos.store(buffer.getvalue())
    assert (stored.width, stored.height) == (320, 640)
    assert read_picture(photos.thumbnail(stored.id, 64)).shape == (64, 32, 3)
    table.close()


def test_a_picture_that_is_cut_short_is_not_stored(tmp_path: Path) -> None:
    table = JobStore(tmp_path)
    for kind in ("PNG", "JPEG", "WEBP"):
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)).save(buffer, kind)
        with pytest.raises(InputError, match=r"damaged|not a picture"):
            Photos(table).store(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    assert not table.database.rows("SELECT id FROM pictures")
    table.close()


def test_consent_by_the_page_is_the_pages_to_state() -> None:
    picture = "pic_" + "0" * 20
    swap: dict[str, Any] = {"source": picture, "target": picture, "consent": "studio"}
    with pytest.raises(ValueError, match="has to be true or false"):
        SwapRequest.model_validate(swap)
    stored = SwapRequest.model_validate(swap, context=INSIDE)
    assert stored.stated() == "studio"
    assert SwapRequest.model_validate(stored.model_dump(mode="json"), context=INSIDE).stated() == "studio"
    plan = {"sliders": {"yaw": 10.0}}
    for consent, stated in ((True, "request"), (False, None)):
        asked = EditRequest.model_validate({"photo": picture, "plan": plan, "consent": consent})
        assert asked.stated() == stated  # though nobody's face is taken


def test_the_api_takes_no_statement_of_the_page(hasty: Running) -> None:
    picture = "pic_" + "0" * 20
    asked = {"source": picture, "target": picture, "consent": "studio"}
    answer = httpx.post(f"{hasty.url}/v1/swap", json=asked)
    assert answer.status_code == 422 and answer.json()["error"]["param"].startswith("consent")
    schema = httpx.get(f"{hasty.url}/openapi.json").json()["components"]["schemas"]["SwapRequest"]
    assert schema["properties"]["consent"]["type"] == "boolean"


def test_a_hostile_recipe_is_a_sentence_in_the_gallery(tmp_path: Path) -> None:
    table = JobStore(tmp_path)
    photos = Photos(table)
    for hostile in ("[" * 100_000, '{"limner": "0.0", "seed": ' + "9" * 5_000 + "}"):
        stored = photos.store(encode_png(np.zeros((32, 32, 3), np.uint8), {KEY: hostile}))
        with pytest.raises(InputError, match="recipe in this picture is damaged"):
            photos.recipe(stored.id)
    table.close()


def every_route(router: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Methods and paths of all routes, of included routers too."""
    for route in getattr(router, "routes", []):
        inner = getattr(route, "original_router", None) or (route if getattr(route, "routes", None) else None)
        if inner is not None:
            include = getattr(route, "include_context", None)
            yield from every_route(inner, prefix + (getattr(include, "prefix", "") or getattr(route, "path", "") or ""))
        else:
            path = prefix + getattr(route, "path", "")
            for method in getattr(route, "methods", None) or ["GET"]:
                yield method, path


def test_every_route_of_the_installed_gradio_that_the_page_does_not_use_is_closed(
    server: Running, http: httpx.Client
) -> None:
    page = cast(Any, server.app.routes[-1]).app.app
    routes = sorted(set(every_route(page)))
    paths = {path for _, path in routes}
    for known in ("/process_recording", "/upload", "/queue/join", "/vibe-code", "/reset"):
        assert f"/gradio_api{known}" in paths, "the walk does not see the routes of this Gradio"
    used = {
        "/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/static/{path:path}", "/assets/{path:path}",
        "/gradio_api/app_id", "/gradio_api/heartbeat/{session_hash}", "/gradio_api/queue/data",
        "/gradio_api/queue/join", "/gradio_api/cancel",
    }  # fmt: skip
    ours = {"/health", "/metrics", "/openapi.json"}
    closed = 0
    for method, path in routes:
        concrete = path.replace("{path:path}", "x").replace("{session_hash}", "abc")
        for name in ("url_path:path", "path_or_url:path"):
            concrete = concrete.replace(f"{{{name}}}", "x")
        concrete = "".join(part.partition("}")[2] if "}" in part else part for part in concrete.split("{"))
        if path in used or path in ours:
            continue
        closed += 1
        assert not is_allowed(method, concrete)
        answer = http.request(method, concrete, content=b"x" if method != "GET" else None)
        assert answer.status_code == 404, (method, path)
        assert method == "HEAD" or answer.json()["error"]["code"] == "http_error"
    assert closed > 40
    assert http.post("/gradio_api/process_recording", files={"file": PHOTO.read_bytes()}).status_code == 404
    assert not [each for each in server.app.state.server.limits.folder.glob("page/**/*") if each.is_file()]
