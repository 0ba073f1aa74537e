"""Face records on disk: one row a face, Parquet files that `datasets` opens, named by split.

A built set is a folder: `data/<split>-<block>.parquet` (rows), `blocks/<block>.json` (what each block was made of;
written last), `errors.jsonl` (pictures that gave no row, and why), `manifest.json` (what the whole was made of and
with).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from limner.data.storage import Place, Remote, list_files, open_place, parquet, write
from limner.errors import InputError
from limner.faces.record import Attribute

SPLITS = ("train", "validation", "test")
MANIFEST = "manifest.json"
DATA, BLOCKS, ERRORS = "data", "blocks", "errors.jsonl"

_picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # what `datasets` takes for an Image


def _vector(size: int, kind: pa.DataType | None = None) -> pa.DataType:
    return pa.list_(kind or pa.float32(), size)


# Lengths and units are those of `limner.faces.record.Face`; points are in
# a frame of 256 units, whatever the picture's side.
FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("id", pa.string()),
    ("source", pa.string()),
    ("licence", pa.string()),
    ("person", pa.string()),  # whose face, as far as the source tells
    ("split", pa.string()),
    ("image", _picture),  # JPEG, 256² or as `--size` says; FFHQ-style alignment
    ("crop", _vector(6)),  # (2, 3) affine, photo → the frame of 256 units, row by row
    ("box", _vector(4)),  # XYXY, pixels of the photo
    ("score", pa.float32()),  # of the detector, 0..1
    ("regions", _picture),  # PNG of the same side, grey values 0..18
    ("landmarks", _vector(468 * 3)),  # (468, 3) row by row
    ("pose", _vector(3)),  # yaw, pitch, roll, degrees
    ("gaze", _vector(2)),  # yaw, pitch, degrees
    ("expression", pa.list_(pa.float32())),  # 0..1, in the order of EXPRESSION_NAMES
    ("light", _vector(27)),  # spherical harmonics, 9 × RGB
    ("identity", _vector(128)),
    ("attributes", pa.list_(pa.struct([
        ("name", pa.string()), ("value", pa.string()), ("confidence", pa.float32()), ("by", pa.string()),
    ]))),
    ("captions", pa.list_(pa.string())),  # 40 to 140 tokens each
    ("prompts", pa.list_(pa.string())),  # at most 30 tokens each, as one types them
    # for each caption, then each prompt: its style, and the facts it states as JSON
    ("stated", pa.list_(pa.struct([("style", pa.string()), ("facts", pa.string())]))),
    ("questions", pa.list_(pa.struct([
        ("question", pa.string()), ("answer", pa.string()), ("kind", pa.string()),
        ("about", pa.string()), ("value", pa.string()),
    ]))),
    ("w", _vector(512, pa.float16())),  # latent of a synthetic face; null for others
)  # fmt: skip
# Columns more of a set of several pictures a person (`limner data pairs`).
PAIR_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    *FIELDS,
    ("variant", pa.int32()),  # 0: the picture the person's others are compared with
    ("identity_distance", pa.float32()),  # Euclidean, of the identity vectors, to variant 0
    ("factors", pa.list_(pa.float32())),  # in the order of `limner.data.pair_factors.FACTORS`; NaN where not measured
    ("moves", pa.list_(pa.struct([("name", pa.string()), ("steps", pa.float32())]))),  # of w; empty for videos
    ("clip", pa.string()),  # the video, or folder of frames, of a person's folder; null for synthetic pictures
    ("seconds", pa.float64()),  # where in the video; null where there is no clock
)
_LISTS = ("expression", "factors")  # numbers whose count may differ between versions
_SHAPES: Mapping[str, tuple[int, ...]] = {"crop": (2, 3), "landmarks": (468, 3)}
_IMAGES = ("image", "regions")


def schema(made: Mapping[str, Any] | None = None, fields: Sequence[tuple[str, pa.DataType]] = FIELDS) -> pa.Schema:
    """The columns of a shard. `made` (code version, weights) goes into the file's own metadata."""
    features = {"info": {"features": {name: {"_type": "Image"} for name in _IMAGES}}}
    metadata = {"huggingface": json.dumps(features), "limner": json.dumps(made or {}, sort_keys=True)}
    return pa.schema([pa.field(name, kind) for name, kind in fields], metadata=metadata)


def write_shard(
    path: Place,
    rows: Sequence[Mapping[str, Any]],
    made: Mapping[str, Any],
    fields: Sequence[tuple[str, pa.DataType]] = FIELDS,
) -> dict[str, Any]:
    """Write rows (column → value; arrays flat, see FIELDS) to one Parquet file, all or nothing.

    The same rows give the same bytes. Returns what there is to know of the file: rows, bytes, sha256. Raises ValueError
    for a row that lacks a column.
    """
    for row in rows:
        if missing := [name for name, _ in fields if name not in row]:
            raise ValueError(f"row {row.get('id')!r} lacks the column {missing[0]!r}")
    columns = [pa.array([row[name] for row in rows], type=kind) for name, kind in fields]
    table = pa.Table.from_arrays(columns, schema=schema(made, fields))
    sink = pa.BufferOutputStream()
    # Pictures do not compress again; small groups let single rows be read.
    pq.write_table(table, sink, compression="zstd", row_group_size=64)
    data = sink.getvalue().to_pybytes()
    write(path, data)
    return {"rows": len(rows), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def is_built(folder: str | os.PathLike[str] | Remote) -> bool:
    """Whether the folder was made by `limner data build`."""
    place = open_place(folder)
    return (place / MANIFEST).is_file() and (place / DATA).is_dir()


def shard_files(folder: str | os.PathLike[str] | Remote, split: str | None = None) -> list[Any]:
    """The Parquet files of a built set, or of one split of it, in order. InputError when it is none."""
    if split is not None and split not in SPLITS:
        raise InputError(f"there is no split {split!r}: choose one of {', '.join(SPLITS)}")
    if not is_built(folder):
        raise InputError(f"{folder} is no built set: make one with `limner data build SOURCE --out {folder}`")
    splits = SPLITS if split is None else (split,)
    files = list_files(open_place(folder) / DATA, ".parquet")
    return [path for name in splits for path in files if path.name.startswith(f"{name}-")]


def read_shards(
    folder: str | os.PathLike[str] | Remote, columns: Sequence[str] | None = None, split: str | None = None
) -> pa.Table:
    """All rows of a built set (or one split) as an Arrow table, only `columns` if given. Raises InputError."""
    files = shard_files(folder, split)
    wanted = list(columns) if columns is not None else [name for name, _ in FIELDS]
    empty = pa.schema([field for field in schema(None, PAIR_FIELDS) if field.name in wanted]).empty_table()
    tables = [_read(path, wanted) for path in files]
    return pa.concat_tables(tables) if tables else empty.select(wanted)


def iterate(
    folder: str | os.PathLike[str] | Remote, split: str | None = None, columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a built set one by one, with numeric columns as arrays in their shape (see `as_arrays`)."""
    wanted = list(columns) if columns is not None else [name for name, _ in FIELDS]
    for path in shard_files(folder, split):
        with parquet(path) as file:
            for batch in file.iter_batches(64, columns=wanted):
                yield from map(as_arrays, batch.to_pylist())


def read_range(path: Place, start: int, stop: int, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows start … stop - 1 of one file, as `iterate` gives them; only the row groups they lie in are read.

    A column the file lacks is left out. Raises InputError for a file that is cut short.
    """
    with parquet(path) as file:
        wanted = [name for name in columns if name in file.schema_arrow.names]
        first = 0
        for number in range(file.num_row_groups):
            count = file.metadata.row_group(number).num_rows
            if first < stop and first + count > start:
                group = file.read_row_group(number, columns=wanted)
                cut = group.slice(max(0, start - first), min(stop, first + count) - max(start, first))
                yield from map(as_arrays, cut.to_pylist())
            first += count


def count_rows(folder: str | os.PathLike[str] | Remote, split: str | None = None) -> int:
    """How many rows a built set has, or one split of it; only the files' ends are read."""
    return sum(map(rows_of, shard_files(folder, split)))


def rows_of(path: Place) -> int:
    """How many rows one file has; only its end is read."""
    with parquet(path) as file:
        return file.metadata.num_rows


def as_arrays(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its numeric columns as arrays: landmarks (468, 3), crop (2, 3), w float16, the others float32."""
    kinds = dict(PAIR_FIELDS)
    result: dict[str, Any] = {}
    for name, value in row.items():
        kind = kinds.get(name)
        if (kind is not None and pa.types.is_fixed_size_list(kind)) or name in _LISTS:
            dtype = np.float16 if name == "w" else np.float32
            try:
                result[name] = None if value is None else np.array(value, dtype).reshape(_SHAPES.get(name, (-1,)))
            except (ValueError, TypeError) as error:
                raise InputError(f"a row has another shape in the column {name!r}: build the set again") from error
        else:
            result[name] = value
    return result


def stack(column: pa.ChunkedArray) -> np.ndarray:
    """A column of number lists, all of one length, as (N, length) float32."""
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.astype(np.float32).reshape(len(column), -1) if len(column) else np.empty((0, 1), np.float32)


def read_rows(path: Place, row: int | None, columns: Sequence[str]) -> Any:
    """Columns of one row of a Parquet file as a dict, or of all rows (row None) as a list of dicts."""
    table = _cached(path, tuple(columns), path.stat().st_mtime_ns)
    return table.to_pylist() if row is None else table.slice(row, 1).to_pylist()[0]


@lru_cache(maxsize=4)
def _cached(path: Place, columns: tuple[str, ...], changed: int) -> pa.Table:
    return _read(path, columns)


def _read(path: Place, columns: Iterable[str]) -> pa.Table:
    with parquet(path) as file:
        return file.read(columns=list(columns))


def made_with(path: Place) -> dict[str, Any]:
    """Code version and weights a shard was made with."""
    with parquet(path) as file:
        metadata = file.schema_arrow.metadata or {}
    return json.loads(metadata.get(b"limner", b"{}"))


def pack_attributes(attributes: Mapping[str, Attribute]) -> list[dict[str, Any]]:
    """Attributes as rows of a shard hold them; values as text (true, false, numbers, words)."""
    return [
        {"name": name, "value": _to_text(found.value), "confidence": float(found.confidence), "by": found.by}
        for name, found in attributes.items()
    ]


def unpack_attributes(stored: Iterable[Mapping[str, Any]]) -> dict[str, Attribute]:
    """The inverse of `pack_attributes` (confidence rounded to float32)."""
    return {entry["name"]: Attribute(_from_text(entry["value"]), entry["confidence"], entry["by"]) for entry in stored}


def _to_text(value: str | bool | float | int) -> str:
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def _from_text(text: str) -> str | bool | float | int:
    if text in ("true", "false"):
        return text == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
