"""A built set written anew: the same pictures and measurements, other words.

The new set is a built set too (`shards`), file for file like the old one. A file is done when its marker is written;
answers of models are in `answers.jsonl` before they are used, so a run that was killed goes on without paying twice.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import limner
from limner.chat.session import Refused
from limner.data.blocks import error_lines, finished
from limner.data.caption_writers import CARRIED, Subject, Writer
from limner.data.shards import (
    BLOCKS,
    DATA,
    ERRORS,
    FIELDS,
    MANIFEST,
    SPLITS,
    made_with,
    read_rows,
    shard_files,
    unpack_attributes,
    write_shard,
)
from limner.errors import InputError
from limner.faces.picture import read_region_map
from limner.files import make_folder, write_bytes_atomic, write_json_atomic
from limner.weights.registry import hash_file

ANSWERS = "answers.jsonl"
Row = dict[str, Any]


@dataclass(frozen=True)
class RecaptionProgress:
    """Rows done (`kept` of them in files of an earlier run) of `total`, and how many a writer had no words for."""

    done: int
    kept: int
    total: int
    refused: int


def subject_of(row: Row) -> Subject:
    """What a writer sees of a stored row."""
    styles = [entry["style"] for entry in row["stated"]]
    return Subject(
        id=row["id"],
        picture=row["image"]["bytes"],
        attributes=unpack_attributes(row["attributes"]),
        regions=read_region_map(row["regions"]["bytes"]),
        captions=[text for text, style in zip(row["captions"], styles) if style == CARRIED],
    )


def read_set(folder: str | os.PathLike[str], limit: int | None = None) -> Iterator[tuple[Path, Row]]:
    """The rows of a built set with the file each is in, the first `limit` of them."""
    left = limit
    for path in shard_files(folder):
        for row in read_rows(path, None, [name for name, _ in FIELDS]):
            if left is not None and left <= 0:
                return
            yield path, row
            left = None if left is None else left - 1


def write_set(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    writer: Writer,
    made: Mapping[str, Any],
    threads: int = 1,
    limit: int | None = None,
    progress: Callable[[RecaptionProgress], None] | None = None,
    stop: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Write every row of `source` into `out` with words by `writer`, and return the manifest.

    made: what decides the words (writer, models, prompts, settings), for the manifest; a set is not continued with
    another. A row the writer has no words for is left out and stands in errors.jsonl with the reason. An error in one
    row ends the run: `stop` is called, so that the writer's threads give up waiting, and they are waited for.
    Raises InputError for folders that do not fit.
    """
    folder = Path(out)
    if folder.resolve() == Path(source).resolve():
        raise InputError(f"--out {folder} is the set itself: give another folder, the old words are kept")
    files = shard_files(source)
    counts = {path: len(read_rows(path, None, ["id"])) for path in files}
    total = min(sum(counts.values()), limit if limit is not None else sum(counts.values()))
    made = json.loads(json.dumps({"version": limner.__version__, "written": made, "limit": limit}))
    prepare_folder(folder, made)
    write_json_atomic(folder / MANIFEST, {**made, "complete": False})
    make_folder(folder / DATA)
    done = {path: marker for path in files if (marker := _marker(folder, path)) is not None}
    kept = sum(marker["items"] for marker in done.values())
    refused = sum(len(marker["errors"]) for marker in done.values())
    state = [kept, refused]

    def report() -> None:
        if progress is not None:
            progress(RecaptionProgress(state[0], kept, total, state[1]))

    report()
    gathered: dict[Path, list[tuple[Row, str | None]]] = {}
    wanted = _wanted(counts, total)
    rows = ((path, row) for path, row in read_set(source, limit) if path not in done)
    with closing(_written(rows, writer, threads, stop)) as written:
        for path, row, words, reason in written:
            gathered.setdefault(path, []).append(({**row, **(words or {})}, reason))
            state[0] += 1
            state[1] += reason is not None
            if len(gathered[path]) == wanted[path]:
                _write_file(folder, path, gathered.pop(path))
            report()
    return _summarise(folder, files, made)


def prepare_folder(folder: Path, made: Mapping[str, Any]) -> None:
    """Raise InputError unless the folder is new, empty, or holds a set that was begun in just this way."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give --out a folder")
    manifest = folder / MANIFEST
    if not manifest.is_file():
        if folder.is_dir() and any(path.name not in (ANSWERS, f"{ANSWERS}.lock") for path in folder.iterdir()):
            raise InputError(f"{folder} holds other files: give --out a new folder")
        return
    found = json.loads(manifest.read_text("utf-8"))
    if "written" not in found:
        raise InputError(f"{folder} was made by `limner data build`: give --out a new folder")
    if changed := [name for name in ("written", "limit") if found.get(name) != made[name]]:
        what = "--limit" if changed == ["limit"] else "writer, models, prompts, source or settings"
        raise InputError(f"{folder} was begun with another {what}: give another --out (answers.jsonl may be copied)")


def _wanted(counts: Mapping[Path, int], total: int) -> dict[Path, int]:
    """How many rows of each file are to be written."""
    wanted: dict[Path, int] = {}
    for path, count in counts.items():
        wanted[path] = min(count, total)
        total -= wanted[path]
    return wanted


def _written(
    rows: Iterator[tuple[Path, Row]], writer: Writer, threads: int, stop: Callable[[], None]
) -> Generator[tuple[Path, Row, dict[str, Any] | None, str | None], None, None]:
    """(file, row, columns, reason it has none) in order, with a few rows ahead of every thread."""

    def write(row: Row) -> tuple[dict[str, Any] | None, str | None]:
        try:
            return writer.write(subject_of(row)).columns(), None
        except Refused as error:
            return None, str(error)

    waiting: deque[tuple[Path, Row, Future[tuple[dict[str, Any] | None, str | None]]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for path, row in rows:
            waiting.append((path, row, pool.submit(write, row)))
            if len(waiting) >= 4 * threads:
                first, old, future = waiting.popleft()
                yield first, old, *future.result()
        while waiting:
            first, old, future = waiting.popleft()
            yield first, old, *future.result()
    except BaseException:
        stop()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _marker_path(folder: Path, path: Path) -> Path:
    return folder / BLOCKS / f"{path.stem}.json"


def _marker(folder: Path, path: Path) -> dict[str, Any] | None:
    """The marker of a file that is there and whole. InputError when it was written from another source file."""
    place = _marker_path(folder, path)
    if not place.is_file():
        return None
    marker = json.loads(place.read_text("utf-8"))
    if marker["source"] != hash_file(path):
        raise InputError(f"{path} is not what {folder} was written from any more: give another --out")
    shard = folder / DATA / path.name
    whole = marker["bytes"] == (shard.stat().st_size if shard.is_file() else 0)
    return marker if whole else None


def _write_file(folder: Path, path: Path, rows: list[tuple[Row, str | None]]) -> None:
    shard = folder / DATA / path.name
    good = [row for row, reason in rows if reason is None]
    if good:
        write_shard(shard, good, made_with(path))
    marker = {
        "file": path.name,
        "source": hash_file(path),
        "items": len(rows),
        "rows": len(good),
        "bytes": shard.stat().st_size if good else 0,
        "sha256": hash_file(shard) if good else "",
        "errors": [{"id": row["id"], "reason": reason} for row, reason in rows if reason is not None],
    }
    write_json_atomic(_marker_path(folder, path), marker)


def _summarise(folder: Path, files: list[Path], made: Mapping[str, Any]) -> dict[str, Any]:
    markers = [marker for path in files if (marker := _marker(folder, path)) is not None]
    errors = [error for marker in markers for error in marker["errors"]]
    write_bytes_atomic(folder / ERRORS, error_lines(errors))
    rows = {marker["file"]: marker["rows"] for marker in markers}
    splits = {split: sum(n for name, n in rows.items() if name.startswith(f"{split}-")) for split in SPLITS}
    shards = {m["file"]: {"rows": m["rows"], "bytes": m["bytes"], "sha256": m["sha256"]} for m in markers if m["rows"]}
    manifest = finished(made, markers, splits, errors, shards)
    write_json_atomic(folder / MANIFEST, manifest)
    return manifest
