"""The doors through which a stranger's picture comes in. A new verb or API is one more function here."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

from limner.cli.app import VERBS, main


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


DOORS: dict[str, Callable[[Path], tuple[int, str]]] = {"read": read, "paint --mask": paint_mask, "verify": verify}

if any(verb.name == "edit" for verb in VERBS):

    def edit(picture: Path) -> tuple[int, str]:
        """`limner edit PHOTO`."""
        with tempfile.TemporaryDirectory() as folder:
            return command("edit", str(picture), "--pose", "yaw=10", "--out", f"{folder}/out.png")

    DOORS["edit"] = edit
