"""The doors through which a stranger's picture comes in. A new verb or API is one more function here."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from limner.cli.app import main

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from facex.tiny import write_editor


def command(*words: str) -> tuple[int, str]:
    """A command line in this process: its status, and what it said on standard error."""
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        status = main(list(words))
    return status, errors.getvalue()


def read(picture: Path) -> tuple[int, str]:
    """`limner read PHOTO`."""
    return command("read", str(picture), "--json")


def paint_mask(picture: Path) -> tuple[int, str]:
    """`limner paint --mask MAP`, one step."""
    with tempfile.TemporaryDirectory() as folder:
        return command(
            "paint", "a face", "--mask", str(picture), "--steps", "1", "--out", f"{folder}/out.png", "--json"
        )


def verify(picture: Path) -> tuple[int, str]:
    """`limner verify PICTURE`."""
    return command("verify", str(picture))


@cache
def server() -> Any:
    """The application `limner serve` runs, in this process, behind a client that speaks to it without a socket."""
    from starlette.testclient import TestClient

    from limner.serving.app import create_app
    from limner.serving.limits import Limits

    client = TestClient(create_app(Limits(folder=Path(tempfile.mkdtemp()))), base_url="http://127.0.0.1")
    return client.__enter__()


def api(picture: Path) -> tuple[int, str]:
    """`POST /v1/uploads`, then `POST /v1/faces` with what was taken. Statuses from 500 on are crashes.

    Folders and queues have no bytes that a client could send.
    """
    if not picture.is_file():
        return 2, "error: no file to send\n"
    answer = server().post("/v1/uploads", files={"file": (picture.name, picture.read_bytes())})
    if answer.status_code == 201:
        answer = server().post("/v1/faces", json={"photo": answer.json()["id"]})
    if answer.status_code >= 500:
        return -1, answer.text
    return (2, f"error: {answer.json()['error']['message']}\n") if answer.status_code >= 400 else (0, "")


@cache
def editor() -> Path:
    """A random editor small enough to be made here, in the files that real ones have."""
    return write_editor(Path(tempfile.mkdtemp()))


def edit(picture: Path) -> tuple[int, str]:
    """`limner edit PHOTO`, one step."""
    with tempfile.TemporaryDirectory() as folder:
        return command(
            "edit", str(picture), "--yaw", "10", "--steps", "1", "--engine", str(editor()), "--out", f"{folder}/out.png"
        )


DOORS: dict[str, Callable[[Path], tuple[int, str]]] = {
    "read": read, "paint --mask": paint_mask, "verify": verify, "edit": edit, "api": api,
}  # fmt: skip
