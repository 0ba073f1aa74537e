"""The blocks of a set on disk: which are yet to be made, how one is written whole, and what stands in the manifest.

A block's rows go into one Parquet file a split; a block is done when its marker is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from limner.data.shards import BLOCKS, DATA, ERRORS, FIELDS, MANIFEST, SPLITS, write_shard
from limner.data.stages import Row
from limner.data.storage import Place, Remote, list_files, write
from limner.errors import InputError

Result = tuple[list[Row], list[Mapping[str, str]]]
"""What a batch gave: rows, and what could not be used."""


class Blocks(Sequence[Sequence[Any]]):
    """The items in blocks of `size`; a block is cut out when it is asked for, so that long sources may stay lazy."""

    def __init__(self, items: Sequence[Any], size: int) -> None:
        self.items, self.size = items, size

    def __len__(self) -> int:
        return (len(self.items) + self.size - 1) // self.size

    def __getitem__(self, k):
        if not 0 <= k < len(self):
            raise IndexError(k)
        return self.items[k * self.size : (k + 1) * self.size]


def _marker(folder: Place, block: int) -> Place:
    return folder / BLOCKS / f"{block:05d}.json"


def _shard(folder: Place, split: str, block: int) -> Place:
    return folder / DATA / f"{split}-{block:05d}.parquet"


def _ids_hash(block: Sequence[Any]) -> str:
    return hashlib.sha256("\n".join(item.id for item in block).encode()).hexdigest()[:16]


def pending_blocks(
    folder: Place, blocks: Blocks, made: Mapping[str, Any], rebuild: bool, keep: bool = False
) -> list[int]:
    """The blocks that are yet to be made. Raises InputError when the folder is not this build's."""
    if folder.is_file():
        raise InputError(f"{folder} is a file: give --out a folder")
    if folder.is_dir() and not _empty(folder) and not (folder / MANIFEST).is_file():
        raise InputError(f"{folder} holds other files: give --out a new folder or one that `limner data build` made")
    made = json.loads(json.dumps(made))
    pending = []
    for k, block in enumerate(blocks):
        marker = _read_marker(folder, k)
        if marker is None or marker["ids"] != _ids_hash(block) or not _whole(folder, marker):
            pending.append(k)
        elif marker["made"] != made:
            changed = [name for name in made if marker["made"].get(name) != made[name]]
            if keep and set(changed) <= {"version", "code", "weights"}:
                continue
            if not rebuild:
                raise InputError(
                    f"{folder} was made with other {' and '.join(changed)}: give another --out, or pass --rebuild"
                )
            pending.append(k)
    beyond = [k for path in list_files(folder / BLOCKS, ".json") if (k := int(path.stem)) >= len(blocks)]
    if beyond and not rebuild:
        raise InputError(f"{folder} holds more than these sources give: give another --out, or --rebuild to cut it")
    for k in beyond:
        for path in (_marker(folder, k), *(_shard(folder, split, k) for split in SPLITS)):
            path.unlink(missing_ok=True)
    return pending


def _empty(folder: Place) -> bool:
    return False if isinstance(folder, Remote) else not any(folder.iterdir())


def _read_marker(folder: Place, block: int) -> dict[str, Any] | None:
    try:
        return json.loads(_marker(folder, block).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):  # below a file nothing is; writing there says so
        return None
    except json.JSONDecodeError as error:
        raise InputError(f"{_marker(folder, block)} is damaged: remove it and build again") from error


def _whole(folder: Place, marker: Mapping[str, Any]) -> bool:
    """Whether the files a marker speaks of are there, in their size."""
    paths = {folder / DATA / name: found["bytes"] for name, found in marker["files"].items()}
    return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())


def write_block(
    folder: Place,
    k: int,
    block: Sequence[Any],
    results: list[Result],
    made: Mapping[str, Any],
    fields: Sequence[tuple[str, Any]] = FIELDS,
) -> None:
    """Rows by split into Parquet, then the marker. A block is done when its marker is there."""
    _marker(folder, k).unlink(missing_ok=True)
    rows = [row for rows, _ in results for row in rows]
    files: dict[str, Any] = {}
    for split in SPLITS:
        path = _shard(folder, split, k)
        mine = [row for row in rows if row["split"] == split]
        if not mine:
            path.unlink(missing_ok=True)
            continue
        files[path.name] = write_shard(path, mine, {name: made[name] for name in made if name != "settings"}, fields)
    errors = [dict(error) for _, errors in results for error in errors]
    marker = {"block": k, "items": len(block), "ids": _ids_hash(block), "files": files, "errors": errors, "made": made}
    write_json(_marker(folder, k), marker)


def summarise(folder: Place, blocks: int, made: Mapping[str, Any]) -> dict[str, Any]:
    """errors.jsonl and manifest.json from the markers."""
    markers = [marker for k in range(blocks) if (marker := _read_marker(folder, k)) is not None]
    errors = [error for marker in markers for error in marker["errors"]]
    write(folder / ERRORS, error_lines(errors))
    files = {name: found for marker in markers for name, found in sorted(marker["files"].items())}
    splits = {split: sum(f["rows"] for name, f in files.items() if name.startswith(f"{split}-")) for split in SPLITS}
    manifest = finished(made, markers, splits, errors, files)
    write_json(folder / MANIFEST, manifest)
    return manifest


def error_lines(errors: Sequence[Mapping[str, str]]) -> bytes:
    """What errors.jsonl holds."""
    return "".join(json.dumps(error, ensure_ascii=False) + "\n" for error in errors).encode()


def finished(
    made: Mapping[str, Any],
    markers: Sequence[Mapping[str, Any]],
    splits: Mapping[str, int],
    errors: Sequence[Any],
    files: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest of a whole set. splits: rows of each."""
    return {
        **made,
        "complete": True,
        "items": sum(marker["items"] for marker in markers),
        "rows": sum(splits.values()),
        "splits": splits,
        "errors": len(errors),
        "files": files,
    }


def write_json(place: Place, obj: Any) -> None:
    """Replace the content of `place` by `obj` as JSON, all or nothing."""
    write(place, (json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8"))
