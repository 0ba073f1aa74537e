"""Every answer that was paid for, on disk before it is used: one JSON line each, appended and synced.

A killed run leaves at most half a line at the end, which the next one cuts off. Answers are found again by a hash of
the request, so the same request is never sent twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from limner.errors import InputError
from limner.files import make_folder, writing


def request_key(body: Mapping[str, Any]) -> str:
    """Hash of a request: equal bodies, equal keys."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def without_pictures(value: Any) -> Any:
    """A request as the journal keeps it: pictures inside data URLs become their hash."""
    if isinstance(value, dict):
        return {name: without_pictures(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_pictures(part) for part in value]
    if isinstance(value, str) and value.startswith("data:"):
        return f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"
    return value


class Journal:
    """A JSONL file of one writer at a time. Lines with a "key" are answers; others are notes.

    Raises InputError when another process writes it, and for a line that is damaged anywhere but at the end.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        make_folder(self.path.parent)
        self._guard = FileLock(f"{self.path}.lock")
        try:
            self._guard.acquire(timeout=0)
        except Timeout as error:
            raise InputError(f"{self.path} is being written by another run: wait for it, or stop it") from error
        with writing(self.path):
            self._file = open(self.path, "a+b")  # noqa: SIM115 — stays open; `close` closes it
        self._lock = threading.Lock()
        self._places: dict[str, int] = {}
        try:
            self._end = self._read_through()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def close(self) -> None:
        """Let another run write."""
        self._file.close()
        self._guard.release()

    def add(self, record: Mapping[str, Any]) -> None:
        """Append one record and see it safely on disk. InputError when it cannot be written."""
        line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
        with self._lock, writing(self.path):
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
            if "key" in record:
                self._places[record["key"]] = self._end
            self._end += len(line)

    def get(self, key: str) -> dict[str, Any] | None:
        """The last record with this key."""
        with self._lock:
            if key not in self._places:
                return None
            self._file.seek(self._places[key])
            return json.loads(self._file.readline())

    def records(self) -> Iterator[dict[str, Any]]:
        """All records, in the order they were written."""
        with open(self.path, "rb") as lines:
            for line in lines:
                yield json.loads(line)

    def _read_through(self) -> int:
        """Remember where answers stand; cut off half a line at the end. Returns the length in bytes."""
        self._file.seek(0)
        place = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                self._file.truncate(place)
                break
            try:
                record = json.loads(line)
            except ValueError as error:
                raise InputError(f"{self.path}, line {number} is damaged: remove that line and run it again") from error
            if "key" in record:
                self._places[record["key"]] = place
            place += len(line)
        return place
