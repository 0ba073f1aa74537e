"""A hub on this machine: the answers of huggingface.co that downloads and uploads need, over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server serves and what it was asked. Files of over 100 bytes count as large (LFS) ones."""

    files: dict[str, bytes]
    instead: dict[str, bytes] = field(default_factory=dict)  # other content than listed
    cut: dict[str, int] = field(default_factory=dict)  # break the first connection after so many bytes
    stall: dict[str, int] = field(default_factory=dict)  # send so many bytes, then nothing until `released`
    gated: bool = False
    commit: str = COMMIT
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range header
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def listing(self) -> list[dict]:
        rows = []
        for name, content in self.files.items():
            row: dict = {"rfilename": name, "size": len(content)}
            row["blobId"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            if len(content) > 100:
                row["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
            rows.append(row)
        return rows

    def ranges(self, name: str) -> list[str | None]:
        """The Range header of each request for one file."""
        return [span for path, span in self.requests if path.endswith(f"/resolve/{self.commit}/{name}")]


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            hub.requests.append((path, self.headers.get("Range")))
            if hub.gated:
                return self.answer(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
            if match := re.fullmatch(r"/api/models/some/model/revision/(.+)", path):
                if match[1] not in (hub.commit, "main"):
                    return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                info = {"id": "some/model", "sha": hub.commit, "siblings": hub.listing()}
                return self.answer(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
            if path == f"/api/models/some/model/tree/{hub.commit}":
                tree = [{"type": "file", "path": row["rfilename"], "size": row["size"], "oid": row["blobId"]}
                        for row in hub.listing()]  # fmt: skip
                return self.answer(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})
            if match := re.fullmatch(rf"/some/model/resolve/{hub.commit}/(.+)", path):
                return self.send_file(match[1])
            return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        def do_HEAD(self) -> None:
            path = self.path.partition("?")[0]
            hub.requests.append((path, None))
            match = re.fullmatch(rf"/some/model/resolve/{hub.commit}/(.+)", path)
            if match is None or match[1] not in hub.files:
                return self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": hub.commit})
            content = hub.files[match[1]]
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            self.send_response(200)
            for key, value in {"ETag": etag, "X-Repo-Commit": hub.commit, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()

        def do_POST(self) -> None:
            path = self.path.partition("?")[0]
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.requests.append((path, None))
            said: dict = {}
            if path == "/api/repos/create":
                said = {"url": f"{hub.url}/some/model", "name": "some/model"}
            elif path.endswith("/preupload/main"):  # every file within the commit, none by itself
                said = {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                                  for file in json.loads(body)["files"]]}  # fmt: skip
            elif path.endswith("/commit/main"):
                hub.files.clear()
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                said = {"commitUrl": f"{hub.url}/some/model/commit/{hub.commit}", "commitOid": hub.commit}
            return self.answer(200, json.dumps(said).encode(), {"Content-Type": "application/json"})

        def send_file(self, name: str) -> None:
            content = hub.instead.get(name, hub.files[name])
            start = int(match[1]) if (match := re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")) else 0
            body = content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if name in hub.cut:
                self.wfile.write(body[: hub.cut.pop(name)])
                self.close_connection = True
                return
            if name in hub.stall:
                self.wfile.write(body[: hub.stall[name]])
                self.wfile.flush()
                hub.released.wait(30)
                self.close_connection = True
                return
            self.wfile.write(body)

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running hub with one model, some/model; huggingface_hub in this process talks to it."""
    weights = bytes(range(256)) * 40
    hub = Hub(
        files={
            "config.json": b'{"a": 1}',
            "net/model.safetensors": weights,
            "net/model.bin": b"pickle",
            "README.md": b"x",
        }
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    yield hub
    hub.released.set()
    server.shutdown()
    server.server_close()
    thread.join()
