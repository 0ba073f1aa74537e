"""The terminal: text is shown as it is, whatever brackets, colons or bytes a file's name has."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console(stderr: bool = False) -> Console:
    """A console that reads neither markup (``[bold]``) nor emoji codes (``:smile:``) in what it prints."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def print_any_name() -> None:
    """Let standard output and error print names that are no valid text (on POSIX, bytes that are not UTF-8)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")
