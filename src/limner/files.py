"""Writing files so that a reader, or a crash, never sees half of one."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from limner.errors import InputError

_FILE_IN_THE_WAY = "a file stands where a folder should be; give another place"
_NO_PERMISSION = "no permission; give another place"
_DISK_FULL = "the disk is full; make room and run it again"
_REASONS = {
    errno.ENOENT: "no folder can be made there; give another place",
    errno.ENOTDIR: _FILE_IN_THE_WAY,
    errno.EEXIST: _FILE_IN_THE_WAY,
    errno.EISDIR: "a folder has that name; give another name",
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.EROFS: "it is read-only there; give another place",
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: _DISK_FULL,
    errno.ENAMETOOLONG: "the name is too long; give a shorter one",
}


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an OSError in the block into an InputError: one line that says `path` could not be written, and why.

    This, and not the command line, is where a failed write becomes the user's to mend, because only here is it known
    that the system refused to write: an OSError from anywhere else is a bug and shows as one.
    """
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0) or f"{error.strerror or error}; give another place"
        raise InputError(f"cannot write {path}: {reason}") from error


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder and its parents where they are missing, and return it. Raises InputError as `writing` does."""
    folder = Path(path)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`; when the block ends well it is flushed to disk and takes the name `path`.

    Missing parent folders are made. When the block raises, `path` is as it was before and the temporary file is gone.
    The temporary name keeps the suffix, so writers that choose a format by it work. The block writes a regular file;
    two writers never share a temporary name, and the last one to finish wins. Raises InputError as `writing` does,
    for the block as well: it should do nothing but write.
    """
    target = Path(path)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}-{secrets.token_hex(4)}.partial{target.suffix}")
    try:
        with writing(target):
            yield temporary
            assert temporary.exists(), f"nothing was written to {temporary}"
            with open(temporary, "rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, target)
            _sync_folder(target.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def write_bytes_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Replace the content of `path` by `data`, all or nothing."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def write_json_atomic(path: str | os.PathLike[str], obj: Any) -> None:
    """Replace the content of `path` by `obj` as indented UTF-8 JSON, all or nothing.

    Raises ValueError for NaN and infinities, which JSON does not have.
    """
    text = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes_atomic(path, text.encode("utf-8"))


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable; only POSIX systems can open a folder for this."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
