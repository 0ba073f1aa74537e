"""The table of jobs: what was asked, what became of it, and every picture, in one SQLite file (``database``).

A job and its pictures change in one transaction, so a server that is killed leaves each job as it was before or after a
change. What was running then is ``interrupted`` when the file is opened again, and can be retried.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from limner.errors import InputError
from limner.serving.database import SLACK, Database, note_uses

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
    """One row. Times are seconds since 1970. batch_key: jobs of equal batch_key may run as one batch; None: alone."""

    id: str
    number: int
    kind: str
    state: State
    request: dict[str, Any]
    batch_key: str | None
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


_JOB = "id, number, kind, state, request, batch_key, created, started, ended, error, attempts"
_ENDED = """SELECT id, ended FROM jobs WHERE ended < ? AND NOT EXISTS (
    SELECT 1 FROM pictures JOIN uses ON uses.picture = pictures.id JOIN jobs AS user ON user.id = uses.job
    WHERE pictures.job = jobs.id AND user.ended IS NULL
) ORDER BY ended LIMIT ?"""
_PICTURE = "id, job, place, created, mime, width, height, recipe"


def new_id(prefix: str) -> str:
    """A new id: 11 hex digits of milliseconds since 1970, 9 at random. Ids that grow keep what is of one age close
    together in the indexes, so that removing it touches few pages (as UUIDs of version 7 do)."""
    return f"{prefix}_{int(time.time() * 1000) & 0xFFFFFFFFFFF:011x}{secrets.randbits(36):09x}"


class JobStore:
    """Every method may be called from any thread. Opening raises ``InputError`` if another server uses the folder.

    What changes the table raises ``StoreFull`` where the disk is full, and ``NoRoom`` where ``most_bytes`` are taken.
    """

    def __init__(self, folder: Path, most_bytes: int | None = None) -> None:
        self.database = Database(folder, most_bytes)
        self.version = 0
        """Grows when a job changes: who follows one need not look until then."""
        self.queued = self.running = 0
        """How many jobs wait and run, as of the last change: to be read without waiting for the table."""
        self.interrupt()

    def close(self) -> None:
        """Give the folder free."""
        self.database.close()

    def interrupt(self) -> None:
        """Whatever is running is running no more."""
        with self.database.change() as db:
            db.execute("UPDATE jobs SET state = 'interrupted', ended = ? WHERE state = 'running'", (time.time(),))
        self._count()

    def _count(self) -> None:
        with self.database.lock:
            self.queued, self.running = self.count("queued"), self.count("running")
            self.version += 1

    def add(self, kind: str, request: dict[str, Any], batch_key: str | None, most: int) -> Job:
        """Queue a job; ``QueueFull`` if ``most`` wait already."""
        text, new = json.dumps(request), new_id("job")
        with self.database.storing(len(text), self._evict) as db:
            self.check_room(most)
            number = db.execute("SELECT COALESCE(MAX(number), 0) + 1 FROM jobs").fetchone()[0]
            db.execute(
                "INSERT INTO jobs (id, number, kind, state, request, batch_key, created)"
                " VALUES (?, ?, ?, 'queued', ?, ?, ?)",
                (new, number, kind, text, batch_key, time.time()),
            )
            note_uses(db, new, text)
            job = self.get(new)
        self._count()
        return job

    def _evict(self) -> bool:
        return self.remove_oldest() > 0

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
        return self.database.rows("SELECT COUNT(*) FROM jobs WHERE state = ?", (state,))[0][0]

    def take(self, most: int) -> list[Job]:
        """Set the oldest waiting job running, and later ones of equal batch_key, ``most`` in all; [] if none waits."""
        if not self.queued:
            return []
        with self.database.change() as db:
            first = self._jobs("WHERE state = 'queued' ORDER BY number LIMIT 1", ())
            if not first:
                return []
            group = first
            if first[0].batch_key is not None:
                group = self._jobs(
                    "WHERE state = 'queued' AND batch_key = ? ORDER BY number LIMIT ?", (first[0].batch_key, most)
                )
            now = time.time()
            for job in group:
                db.execute(
                    "UPDATE jobs SET state = 'running', started = ?, attempts = attempts + 1 WHERE id = ?",
                    (now, job.id),
                )
            taken = [self.get(job.id) for job in group]
        self._count()
        return taken

    def finish(self, job: str, pictures: Sequence[Made]) -> bool:
        """Store a running job's pictures and call it done; False, and nothing stored, if it is not running any more."""
        size = sum(len(made.data) + SLACK // 8 for made in pictures)
        with self.database.storing(size, self._evict) as db:
            found = self._end(db, job, "done", None, ("running",))
            for place, made in enumerate(pictures if found else ()):
                self._insert(db, job, place, made)
        self._count()
        return found

    def fail(self, job: str, error: str) -> bool:
        """A running job ends with a sentence that says why."""
        with self.database.change() as db:
            found = self._end(db, job, "failed", error, ("running",))
        self._count()
        return found

    def cancel(self, job: str) -> Job:
        """A waiting or running job ends; ``WrongState`` if it has ended already. Its work stops at its next step."""
        with self.database.change() as db:
            if not self._end(db, job, "cancelled", None, WAITING):
                raise WrongState(f"this job is {self.get(job).state} already: there is nothing to cancel")
            ended = self.get(job)
        self._count()
        return ended

    def retry(self, job: str, most: int) -> Job:
        """Queue an ended job again; ``WrongState`` for one that is done, waits or runs, ``QueueFull``."""
        with self.database.change() as db:
            found = self.get(job)
            if found.state not in ("failed", "cancelled", "interrupted"):
                raise WrongState(f"this job is {found.state}: only one that failed or was stopped can be retried")
            self.check_room(most)
            db.execute(
                "UPDATE jobs SET state = 'queued', started = NULL, ended = NULL, error = NULL WHERE id = ?", (job,)
            )
            again = self.get(job)
        self._count()
        return again

    def delete(self, job: str) -> None:
        """Remove an ended job and its pictures; ``WrongState`` while it waits or runs."""
        with self.database.change() as db:
            state = self.get(job).state
            if state in WAITING:
                raise WrongState(f"this job is {state}: cancel it first")
            db.execute("DELETE FROM jobs WHERE id = ?", (job,))
        self.version += 1

    def upload(self, made: Made) -> Stored:
        """Store a picture that somebody gave."""
        with self.database.storing(len(made.data), self._evict) as db:
            return self.picture(self._insert(db, None, 0, made))

    def picture(self, picture: str) -> Stored:
        """The picture of that id; ``NotThere``."""
        rows = self._pictures("WHERE id = ?", (picture,))
        if not rows:
            raise NotThere(f"there is no picture {picture[:40]!r}: it never was, or it was cleaned up")
        return rows[0]

    def data(self, picture: str) -> bytes:
        """The encoded file of a picture; ``NotThere``."""
        rows = self.database.rows("SELECT data FROM pictures WHERE id = ?", (picture,))
        if not rows:
            raise NotThere(f"there is no picture {picture[:40]!r}: it never was, or it was cleaned up")
        return rows[0][0]

    def pictures(self, job: str) -> list[Stored]:
        """What a job made, in order."""
        return self._pictures("WHERE job = ? ORDER BY place", (job,))

    def gallery(self, limit: int, offset: int = 0) -> list[Stored]:
        """Everything made, newest first."""
        return self._pictures("WHERE job IS NOT NULL ORDER BY created DESC, place LIMIT ? OFFSET ?", (limit, offset))

    def remove_oldest(self, before: float | None = None, most: int = 1) -> int:
        """Remove the jobs that ended longest ago, and the oldest uploads that no job names, in one change.

        before: only what is older. What a waiting or running job needs stays. Returns how many jobs and uploads went.
        """
        until = time.time() + 1e9 if before is None else before
        with self.database.change() as db:
            ended = db.execute(_ENDED, (until, most)).fetchall()
            unused = db.execute("SELECT picture, created FROM unused WHERE created < ? ORDER BY created LIMIT ?",
                                (until, most)).fetchall()  # fmt: skip
            oldest = sorted([(when, "jobs", job) for job, when in ended] + [(at, "pictures", p) for p, at in unused])
            for _, table, gone in oldest[:most]:
                db.execute(f"DELETE FROM {table} WHERE id = ?", (gone,))
        if oldest:
            self.version += 1
        return len(oldest[:most])

    def _end(self, db: sqlite3.Connection, job: str, state: State, error: str | None, allowed: tuple[str, ...]) -> bool:
        self.get(job)
        places = ", ".join("?" * len(allowed))
        changed = db.execute(
            f"UPDATE jobs SET state = ?, error = ?, ended = ? WHERE id = ? AND state IN ({places})",
            (state, error, time.time(), job, *allowed),
        )
        return changed.rowcount == 1

    def _insert(self, db: sqlite3.Connection, job: str | None, place: int, made: Made) -> str:
        new = new_id("pic")
        recipe = None if made.recipe is None else json.dumps(made.recipe)
        db.execute(
            f"INSERT INTO pictures ({_PICTURE}, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (new, job, place, time.time(), made.mime, made.width, made.height, recipe, made.data),
        )
        return new

    def _jobs(self, where: str, values: tuple[Any, ...]) -> list[Job]:
        rows = self.database.rows(f"SELECT {_JOB} FROM jobs {where}", values)
        return [Job(*(json.loads(value) if at == 4 else value for at, value in enumerate(row))) for row in rows]

    def _pictures(self, where: str, values: tuple[Any, ...]) -> list[Stored]:
        rows = self.database.rows(f"SELECT {_PICTURE} FROM pictures {where}", values)
        return [Stored(*row[:7], recipe=None if row[7] is None else json.loads(row[7])) for row in rows]
