"""The table of jobs: what was asked, what became of it, and every picture, in one SQLite file.

A job and its pictures change in one transaction, so a server that is killed leaves each job as it was before or after a
change. What was running then is ``interrupted`` when the file is opened again, and can be retried.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from limner.errors import InputError
from limner.files import make_folder

State = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
WAITING = ("queued", "running")
"""The states that a job leaves by itself; the others are ends."""


class QueueFull(InputError):
    """No more jobs may wait."""


class NotThere(InputError):
    """No job or picture has this id: it never had, or it was cleaned up."""


class WrongState(InputError):
    """What was asked of this job its state does not allow."""


@dataclass(frozen=True)
class Job:
    """One row. Times are seconds since 1970. likeness: jobs of equal likeness may run as one batch; None: alone."""

    id: str
    number: int
    kind: str
    state: State
    request: dict[str, Any]
    likeness: str | None
    created: float
    started: float | None
    ended: float | None
    error: str | None
    attempts: int


@dataclass(frozen=True)
class Stored:
    """A picture in the table. job: the job that made it; None: it was uploaded. recipe: of one that was made."""

    id: str
    job: str | None
    place: int
    created: float
    mime: str
    width: int
    height: int
    recipe: dict[str, Any] | None


@dataclass(frozen=True)
class Made:
    """A picture to be stored: an encoded file, and what is known of it."""

    data: bytes
    mime: str
    width: int
    height: int
    recipe: dict[str, Any] | None = None


_JOB = "id, number, kind, state, request, likeness, created, started, ended, error, attempts"
_PICTURE = "id, job, place, created, mime, width, height, recipe"


class JobTable:
    """Every method may be called from any thread. Opening raises ``InputError`` if another server uses the folder."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self._owner = FileLock(folder / "server.lock")
        try:
            self._owner.acquire(timeout=0)
        except Timeout:
            raise InputError(f"another server uses {folder}: stop it, or give --folder another place") from None
        self._lock = threading.RLock()
        self._db = sqlite3.connect(folder / "jobs.sqlite", check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._db.executescript(files("limner.serving").joinpath("schema.sql").read_text())
        self.interrupt()

    def close(self) -> None:
        """Give the folder free; running jobs become interrupted."""
        self.interrupt()
        with self._lock:
            self._db.close()
        self._owner.release()

    def interrupt(self) -> None:
        """Whatever is running is running no more."""
        with self._change() as db:
            db.execute("UPDATE jobs SET state = 'interrupted', ended = ? WHERE state = 'running'", (time.time(),))

    def add(self, kind: str, request: dict[str, Any], likeness: str | None, most: int) -> Job:
        """Queue a job; ``QueueFull`` if ``most`` wait already."""
        with self._change() as db:
            self.check_room(most)
            new = f"job_{secrets.token_hex(10)}"
            number = db.execute("SELECT COALESCE(MAX(number), 0) + 1 FROM jobs").fetchone()[0]
            db.execute(
                "INSERT INTO jobs (id, number, kind, state, request, likeness, created)"
                " VALUES (?, ?, ?, 'queued', ?, ?, ?)",
                (new, number, kind, json.dumps(request), likeness, time.time()),
            )
            return self.get(new)

    def check_room(self, most: int) -> None:
        """``QueueFull`` if ``most`` jobs wait already."""
        if self.count("queued") >= most:
            raise QueueFull(f"{most} jobs are waiting already: try again in a while")

    def get(self, job: str) -> Job:
        """The job of that id; ``NotThere``."""
        rows = self._jobs("WHERE id = ?", (job,))
        if not rows:
            raise NotThere(f"there is no job {job[:40]!r}: it never was, or it was cleaned up")
        return rows[0]

    def latest(self, limit: int, state: State | None = None) -> list[Job]:
        """The newest jobs first."""
        if state is None:
            return self._jobs("ORDER BY number DESC LIMIT ?", (limit,))
        return self._jobs("WHERE state = ? ORDER BY number DESC LIMIT ?", (state, limit))

    def count(self, state: State) -> int:
        """How many jobs are in a state."""
        with self._lock:
            return self._db.execute("SELECT COUNT(*) FROM jobs WHERE state = ?", (state,)).fetchone()[0]

    def take(self, most: int) -> list[Job]:
        """Set the oldest waiting job running, and later ones of equal likeness, ``most`` in all; [] if none waits."""
        with self._change() as db:
            first = self._jobs("WHERE state = 'queued' ORDER BY number LIMIT 1", ())
            if not first:
                return []
            group = first
            if first[0].likeness is not None:
                group = self._jobs(
                    "WHERE state = 'queued' AND likeness = ? ORDER BY number LIMIT ?", (first[0].likeness, most)
                )
            now = time.time()
            for job in group:
                db.execute(
                    "UPDATE jobs SET state = 'running', started = ?, attempts = attempts + 1 WHERE id = ?",
                    (now, job.id),
                )
            return [self.get(job.id) for job in group]

    def finish(self, job: str, pictures: Sequence[Made]) -> bool:
        """Store a running job's pictures and call it done; False, and nothing stored, if it is not running any more."""
        with self._change() as db:
            if not self._end(job, "done", None, ("running",)):
                return False
            for place, made in enumerate(pictures):
                self._insert(db, job, place, made)
            return True

    def fail(self, job: str, error: str) -> bool:
        """A running job ends with a sentence that says why."""
        return self._end(job, "failed", error, ("running",))

    def cancel(self, job: str) -> Job:
        """A waiting or running job ends; ``WrongState`` if it has ended already. Its work stops at its next step."""
        with self._change():
            if not self._end(job, "cancelled", None, WAITING):
                raise WrongState(f"this job is {self.get(job).state} already: there is nothing to cancel")
            return self.get(job)

    def retry(self, job: str, most: int) -> Job:
        """Queue an ended job again; ``WrongState`` for one that is done, waits or runs, ``QueueFull``."""
        with self._change() as db:
            found = self.get(job)
            if found.state not in ("failed", "cancelled", "interrupted"):
                raise WrongState(f"this job is {found.state}: only one that failed or was stopped can be retried")
            self.check_room(most)
            db.execute(
                "UPDATE jobs SET state = 'queued', started = NULL, ended = NULL, error = NULL WHERE id = ?", (job,)
            )
            return self.get(job)

    def delete(self, job: str) -> None:
        """Remove an ended job and its pictures; ``WrongState`` while it waits or runs."""
        with self._change() as db:
            state = self.get(job).state
            if state in WAITING:
                raise WrongState(f"this job is {state}: cancel it first")
            db.execute("DELETE FROM jobs WHERE id = ?", (job,))

    def upload(self, made: Made) -> Stored:
        """Store a picture that somebody gave."""
        with self._change() as db:
            return self.picture(self._insert(db, None, 0, made))

    def picture(self, picture: str) -> Stored:
        """The picture of that id; ``NotThere``."""
        rows = self._pictures("WHERE id = ?", (picture,))
        if not rows:
            raise NotThere(f"there is no picture {picture[:40]!r}: it never was, or it was cleaned up")
        return rows[0]

    def data(self, picture: str) -> bytes:
        """The encoded file of a picture; ``NotThere``."""
        with self._lock:
            row = self._db.execute("SELECT data FROM pictures WHERE id = ?", (picture,)).fetchone()
        if row is None:
            raise NotThere(f"there is no picture {picture[:40]!r}: it never was, or it was cleaned up")
        return row[0]

    def pictures(self, job: str) -> list[Stored]:
        """What a job made, in order."""
        return self._pictures("WHERE job = ? ORDER BY place", (job,))

    def gallery(self, limit: int, offset: int = 0) -> list[Stored]:
        """Everything made, newest first."""
        return self._pictures("WHERE job IS NOT NULL ORDER BY created DESC, place LIMIT ? OFFSET ?", (limit, offset))

    def size(self) -> int:
        """Bytes of all pictures."""
        with self._lock:
            return self._db.execute("SELECT COALESCE(SUM(LENGTH(data)), 0) FROM pictures").fetchone()[0]

    def clean(self, before: float, most_bytes: int) -> int:
        """Remove ended jobs and unused uploads from before a time, then the oldest until the size fits.

        Returns how many jobs went.
        """
        used = " AND id NOT IN (SELECT p.id FROM pictures p JOIN jobs j ON instr(j.request, p.id) WHERE p.job IS NULL)"
        ended = "state NOT IN ('queued', 'running')"
        with self._change() as db:
            removed = db.execute(f"DELETE FROM jobs WHERE {ended} AND ended < ?", (before,)).rowcount
            db.execute(f"DELETE FROM pictures WHERE job IS NULL AND created < ?{used}", (before,))
            while self.size() > most_bytes:
                gone = db.execute(
                    f"DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE {ended} ORDER BY ended LIMIT 8)"
                ).rowcount
                removed += gone
                gone += db.execute(
                    "DELETE FROM pictures WHERE id IN (SELECT id FROM pictures WHERE job IS NULL"
                    f"{used} ORDER BY created LIMIT 8)"
                ).rowcount
                if not gone:
                    break
        with self._lock:
            self._db.execute("PRAGMA incremental_vacuum").fetchall()
        return removed

    def _end(self, job: str, state: State, error: str | None, allowed: tuple[str, ...]) -> bool:
        places = ", ".join("?" * len(allowed))
        with self._change() as db:
            self.get(job)
            return (
                db.execute(
                    f"UPDATE jobs SET state = ?, error = ?, ended = ? WHERE id = ? AND state IN ({places})",
                    (state, error, time.time(), job, *allowed),
                ).rowcount
                == 1
            )

    def _insert(self, db: sqlite3.Connection, job: str | None, place: int, made: Made) -> str:
        new = f"pic_{secrets.token_hex(10)}"
        recipe = None if made.recipe is None else json.dumps(made.recipe)
        db.execute(
            f"INSERT INTO pictures ({_PICTURE}, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (new, job, place, time.time(), made.mime, made.width, made.height, recipe, made.data),
        )
        return new

    def _jobs(self, where: str, values: tuple[Any, ...]) -> list[Job]:
        with self._lock:
            rows = self._db.execute(f"SELECT {_JOB} FROM jobs {where}", values).fetchall()
        return [Job(*(json.loads(value) if at == 4 else value for at, value in enumerate(row))) for row in rows]

    def _pictures(self, where: str, values: tuple[Any, ...]) -> list[Stored]:
        with self._lock:
            rows = self._db.execute(f"SELECT {_PICTURE} FROM pictures {where}", values).fetchall()
        return [Stored(*row[:7], recipe=None if row[7] is None else json.loads(row[7])) for row in rows]

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; nests."""
        with self._lock:
            if self._db.in_transaction:
                yield self._db
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
