"""Folders and files on this machine or in a store: `faces/`, `s3://bucket/faces`, `gs://…`, `hf://datasets/…`.

A place on this machine is a `pathlib.Path`; one in a store is a `Remote`, which answers the same questions. Amazon S3
(and what speaks like it) and Google Cloud Storage are read by pyarrow; every other scheme goes to fsspec. Keys and
endpoints come from the environment, as those libraries expect them (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, HF_TOKEN, …).
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.fs as fs
import pyarrow.parquet as pq

from limner.errors import InputError
from limner.files import write_bytes_atomic

NATIVE = ("s3", "gs", "gcs", "hdfs", "abfs", "abfss")

MOST_GROUP_BYTES = 1 << 30  # decompressed, of a Parquet row group: 64 rows of about 100 KB in sets that Limner builds


@dataclass(frozen=True)
class Remote:
    """A file or folder in a store, by its address. An object appears whole or not at all, whoever writes it."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> Remote:
        return Remote(f"{self.url.rstrip('/')}/{name}")

    @property
    def scheme(self) -> str:
        """What stands before `://`."""
        return self.url.partition("://")[0]

    @property
    def key(self) -> str:
        """Bucket and path, without the scheme: what the file system knows it by."""
        return self.url.partition("://")[2].rstrip("/")

    @property
    def name(self) -> str:
        """The last part."""
        return posixpath.basename(self.key)

    @property
    def suffix(self) -> str:
        """The last part's ending, with its dot."""
        return posixpath.splitext(self.name)[1]

    @property
    def stem(self) -> str:
        """The last part without its ending."""
        return posixpath.splitext(self.name)[0]

    @property
    def parent(self) -> Remote:
        """The folder it lies in."""
        return Remote(f"{self.scheme}://{posixpath.dirname(self.key)}")

    def resolve(self) -> Remote:
        """Itself: an address is whole already."""
        return self

    def is_absolute(self) -> bool:
        """True: an address is whole already."""
        return True

    def exists(self) -> bool:
        """Whether there is an object of that name, or any below it."""
        return self._info().type != fs.FileType.NotFound

    def is_file(self) -> bool:
        """Whether it is an object."""
        return self._info().type == fs.FileType.File

    def is_dir(self) -> bool:
        """Whether anything lies below it."""
        return self._info().type == fs.FileType.Directory

    def stat(self) -> SimpleNamespace:
        """`st_size` and `st_mtime_ns`, as of a file here."""
        info = self._info()
        if info.type != fs.FileType.File:
            raise FileNotFoundError(f"there is no {self.url}")
        return SimpleNamespace(st_size=info.size, st_mtime_ns=info.mtime_ns or 0)

    def read_bytes(self) -> bytes:
        """The whole object. Raises OSError."""
        with self.system.open_input_stream(self.key) as stream:
            return stream.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole object as text. Raises OSError."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, data: bytes) -> None:
        """Replace the object. Raises InputError when the store refuses."""
        try:
            if self.scheme not in ("s3", "gs", "gcs"):  # stores without folders need none made
                self.system.create_dir(posixpath.dirname(self.key), recursive=True)
            with self.system.open_output_stream(self.key) as stream:
                stream.write(data)
        except OSError as error:
            raise InputError(f"cannot write {self.url}: {str(error).splitlines()[0]}") from error

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        if missing_ok and not self.is_file():
            return
        self.system.delete_file(self.key)

    def files(self, recursive: bool = False) -> list[Remote]:
        """The objects in this folder (and below it), by name."""
        found = self.system.get_file_info(fs.FileSelector(self.key, allow_not_found=True, recursive=recursive))
        keys = sorted(info.path for info in found if info.type == fs.FileType.File)
        return [Remote(f"{self.scheme}://{key.lstrip('/')}") for key in keys]

    def relative_to(self, folder: Remote) -> Path:
        """The part of the address below `folder`."""
        return Path(posixpath.relpath(self.key, folder.key))

    @property
    def system(self) -> fs.FileSystem:
        """The file system it lies in. Raises InputError for a scheme nobody knows."""
        return _system(self.scheme, self.key.partition("/")[0])

    def _info(self) -> fs.FileInfo:
        return self.system.get_file_info(self.key)


Place = Path | Remote


def open_place(address: str | os.PathLike[str] | Remote) -> Place:
    """A path on this machine, or an address with `://` in a store."""
    if isinstance(address, Remote):
        return address
    text = os.fspath(address)
    return Remote(text) if "://" in text else Path(text)


@lru_cache
def _system(scheme: str, bucket: str) -> fs.FileSystem:
    try:
        if scheme in NATIVE:
            return fs.FileSystem.from_uri(f"{scheme}://{bucket}")[0]
        import fsspec

        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))
    except (ValueError, ImportError, OSError) as error:
        raise InputError(f"cannot open {scheme}://{bucket}: {str(error).splitlines()[0]}") from error


def write(place: Place, data: bytes) -> None:
    """Replace the content of a place, all or nothing. Raises InputError."""
    if isinstance(place, Remote):
        place.write_bytes(data)
    else:
        write_bytes_atomic(place, data)


def list_files(folder: Place, suffix: str = "") -> list[Place]:
    """The files of a folder whose names end with `suffix`, by name; none where there is no folder."""
    if isinstance(folder, Remote):
        return [file for file in folder.files() if file.name.endswith(suffix)]
    return [path for path in sorted(folder.glob(f"*{suffix}")) if path.is_file()]


def walk(folder: Place) -> Iterator[Place]:
    """Every file in a folder and below it, by name; hidden files and folders are left out, links not followed."""
    if isinstance(folder, Remote):
        for file in folder.files(recursive=True):
            if not any(part.startswith(".") for part in file.relative_to(folder).parts):
                yield file
        return
    for here, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(here) / name


@contextmanager
def parquet(place: Place) -> Iterator[pq.ParquetFile]:
    """A Parquet file, opened for reading.

    Raises InputError for what cannot be opened, and for what fails while the block reads it: damaged pages, absent
    columns, and row groups that claim more than ``MOST_GROUP_BYTES`` (decompression bombs).
    """
    try:
        source = place.system.open_input_file(place.key) if isinstance(place, Remote) else pa.OSFile(str(place), "rb")
        with pq.ParquetFile(source) as file:
            for number in range(file.num_row_groups):
                size = file.metadata.row_group(number).total_byte_size
                if not 0 <= size <= MOST_GROUP_BYTES:
                    raise InputError(f"{place}: row group {number} claims {size:,} bytes: build the set again")
            yield file
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{place} is not a readable Parquet file ({reason}): build the set again") from error
