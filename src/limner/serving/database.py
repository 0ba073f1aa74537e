"""The SQLite file of a server: one owner, whole changes, an end to its size, and a sentence where the disk is full."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from limner.aliases import JOB_COLUMNS
from limner.errors import InputError
from limner.files import make_folder, writing

FILE = "jobs.sqlite"
VERSION = 1  # of the schema: 1 added the tables of references
WAL_KEPT = 4 << 20  # bytes of the write-ahead log that stay on disk between changes
CHECKPOINT = 512  # pages in that log after which a change carries it over: few, so that none takes long
SLICE = 48  # pages given back to the disk in one change
SLACK = 64 << 10  # bytes that a change may take beside what it stores: indexes, pages in part
_FULL = ("database or disk is full", "disk I/O error")
_PICTURE = re.compile(r"pic_[0-9a-f]{20}")


class StoreFull(InputError):
    """Nothing can be written: the disk is full. What was to be changed is as it was."""


class NoRoom(StoreFull):
    """The store has no room for this within its own limit, and nothing old is left to remove."""


class Database:
    """Every method may be called from any thread. Opening raises ``InputError`` if another server uses the folder."""

    def __init__(self, folder: Path, most_bytes: int | None = None) -> None:
        """most_bytes: of the file and its write-ahead log together; None: as the disk allows."""
        self.folder, self.most_bytes = _private(folder), most_bytes
        self._owner = FileLock(folder / "server.lock")
        try:
            self._owner.acquire(timeout=0)
        except Timeout:  # an OSError, too
            raise InputError(f"another server uses {folder}: stop it, or give --folder another place") from None
        except OSError as error:
            raise InputError(f"cannot use {folder}: {error.strerror}; give --folder another place") from error
        self.lock = threading.RLock()
        """Held by whoever uses the file."""
        try:
            self._db = self._open(folder / FILE)
        except BaseException:
            self._owner.release()
            raise

    def _open(self, file: Path) -> sqlite3.Connection:
        with writing(file):
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600))
            file.chmod(0o600)  # of older versions
        db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        with _telling():
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before anything is written, or it is not taken
            db.execute("PRAGMA locking_mode = EXCLUSIVE")  # no shared memory: a file that a full disk would break
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA temp_store = MEMORY")
            db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
            db.execute(f"PRAGMA journal_size_limit = {WAL_KEPT}")
            if db.execute("PRAGMA auto_vacuum").fetchone()[0] == 0:  # a file of an older version
                db.execute("PRAGMA auto_vacuum = INCREMENTAL")
                db.execute("VACUUM")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise InputError(f"{file} is of a later version of Limner: use that, or give --folder another place")
            columns = {row[1] for row in db.execute("PRAGMA table_info(jobs)")}
            for old, new in JOB_COLUMNS.items():
                if old in columns:
                    db.execute(f"ALTER TABLE jobs RENAME COLUMN {old} TO {new}")
            if "likeness" in {row[1] for row in db.execute("PRAGMA table_info(jobs)")}:  # its name before version 1
                db.execute("ALTER TABLE jobs RENAME COLUMN likeness TO batch_key")
            db.executescript(f"BEGIN; {files('limner.serving').joinpath('schema.sql').read_text()} COMMIT;")
            if version < VERSION:
                _note_references(db)
        return db

    def close(self) -> None:
        """Give the folder free."""
        with self.lock:
            self._db.close()
        self._owner.release()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; nests. ``StoreFull`` if the disk is full, and then nothing was changed."""
        with self.lock:
            if self._db.in_transaction:
                yield self._db
                return
            with _telling():
                try:
                    self._db.execute("BEGIN IMMEDIATE")
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:  # SQLite has rolled back itself after some errors
                        self._db.execute("ROLLBACK")
                    raise

    @contextmanager
    def storing(self, size: int, evict: Callable[[], bool]) -> Iterator[sqlite3.Connection]:
        """A change that stores so many bytes, when there is room for them within ``most_bytes``.

        evict: removes something old in a change of its own; False if nothing is left. ``NoRoom`` then.
        """
        while True:
            with self.lock:
                if self._db.in_transaction or self._fits(size):
                    with self.change() as db:
                        yield db
                    if size > WAL_KEPT:
                        self.settle()
                    return
                self.settle()
                shrunk = self._excess(size) > 0 and self._shrink(self._excess(size))
                done = shrunk or self._fits(size)
            if not done and not evict():
                assert self.most_bytes is not None
                raise NoRoom(
                    f"there is no room for this within the {self.most_bytes / 1e6:,.0f} MB that the store may take: "
                    "delete jobs, or start the server with a larger --store-megabytes"
                )

    def _fits(self, size: int) -> bool:
        """Whether file and log stay within ``most_bytes`` while so many bytes are written to the log, then the file."""
        if self.most_bytes is None:
            return True
        page, _, free = self._pages()
        return self._excess(size) + max(0, _with_slack(size) - free * page) <= 0

    def _excess(self, size: int) -> int:
        """Bytes that the file is too large for a log of this size beside it."""
        page, pages, _ = self._pages()
        return pages * page + self._log() + _with_slack(size) - (self.most_bytes or sys.maxsize)

    def size(self) -> int:
        """Bytes in use in the file: those of pages that hold something."""
        with self.lock:
            page, pages, free = self._pages()
        return (pages - free) * page

    def on_disk(self) -> int:
        """Bytes of the file and its log."""
        return self._log() + (self.folder / FILE).stat().st_size

    def _shrink(self, size: int) -> bool:
        """Give free pages back to the disk, of that size but a slice at most; False if there were none."""
        page, _, free = self._pages()
        if not free:
            return False
        with self.change() as db:
            db.execute(f"PRAGMA incremental_vacuum({min(SLICE, 1 + size // page)})").fetchall()
        return self._pages()[2] < free

    def give_back(self, keep: float = 0.25) -> bool:
        """Give a slice of free pages back to the disk, down to a share of the file; False if that is reached."""
        with self.lock:
            page, pages, free = self._pages()
            if free <= max(SLICE, keep * pages) or not self._shrink(SLICE * page):
                return False
            self.settle()
            return True

    def settle(self) -> None:
        """Carry the write-ahead log over into the file, and cut it off."""
        with self.lock, suppress(sqlite3.OperationalError):  # a full disk: the log keeps it until there is room
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _pages(self) -> tuple[int, int, int]:
        """Bytes of a page, pages in all, free ones."""
        page, pages, free = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
        )
        return page, pages, free

    def _log(self) -> int:
        try:
            return (self.folder / f"{FILE}-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with self.lock, _telling():
            return self._db.execute(query, values).fetchall()


def _with_slack(size: int) -> int:
    return size + size // 50 + SLACK


def _private(folder: Path) -> Path:
    """The folder, for its owner's eyes only: people's photos are in it. ``InputError`` if it is somebody else's."""
    make_folder(folder)
    with writing(folder):
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(0o700)
    return folder


@contextmanager
def _telling() -> Iterator[None]:
    """Turn SQLite's words about a full disk into ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if str(error) not in _FULL:
            raise
        raise StoreFull("the server's disk is full, and nothing was changed: try again when there is room") from error


def _note_references(db: sqlite3.Connection) -> None:
    """Fill the tables of references of a file from before there were any."""
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT OR IGNORE INTO unused SELECT id, created FROM pictures WHERE job IS NULL")
    for job, request in db.execute("SELECT id, request FROM jobs").fetchall():
        note_uses(db, job, request)
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


def note_uses(db: sqlite3.Connection, job: str, request: str) -> None:
    """Note the pictures that a job's request names."""
    for picture in set(_PICTURE.findall(request)):
        db.execute("INSERT OR IGNORE INTO uses SELECT ?, id FROM pictures WHERE id = ?", (job, picture))
