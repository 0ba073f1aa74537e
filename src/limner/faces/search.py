"""The faces most like a given one in a folder of photographs, from an index that is brought up to date when asked.

The index is one Parquet file: a row a face, and a row without a face for a photo that shows none, so that it is not
read again. A photo is read again when its size or its time of change differ, and the whole index when the identity
network or the least score of a detection do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limner.errors import InputError
from limner.faces.compare import distances
from limner.faces.data_folders import photos_in
from limner.faces.identity import SAME_PERSON
from limner.files import atomic_write
from limner.weights.registry import find_entry

if TYPE_CHECKING:
    import pyarrow as pa

    from limner.faces.reader import FaceReader
    from limner.faces.record import Face
    from limner.progress import ProgressCallback

INDEX = "limner-faces.parquet"
"""Name of a folder's index, in that folder."""
VECTOR = 128
SAVE_EVERY = 256  # photos read between two writes: an interrupted run keeps what came before


@dataclass(frozen=True)
class Match:
    """A face found in a folder. path: the photo; face: its number there, from 1, largest first; box: (4,) XYXY pixels.

    distance and threshold: as in ``Comparison``; ``same`` is whether it counts as the same person.
    """

    path: Path
    face: int
    box: np.ndarray
    distance: float
    threshold: float = SAME_PERSON

    @property
    def same(self) -> bool:
        """Whether it counts as the person that was looked for."""
        return self.distance < self.threshold

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "file": str(self.path),
            "face": self.face,
            "box": np.round(self.box.astype(float), 1).tolist(),
            "distance": round(self.distance, 4),
            "same": self.same,
        }


@dataclass(frozen=True)
class FaceIndex:
    """The faces of a folder. errors: photos that could not be read, and why; they are tried again the next time."""

    folder: Path
    table: pa.Table
    errors: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of faces."""
        return int(np.count_nonzero(self.table["face"].to_numpy()))

    def nearest(self, face: Face, top_k: int | None = None) -> list[Match]:
        """The faces nearest to a face that was read, nearest first; ``top_k`` of them, or all for None."""
        if np.isnan(face.identity).any():
            raise InputError("this face has no identity vector: read it with recognise=True")
        rows = self.table.filter(self.table["face"].to_numpy() > 0) if len(self.table) else self.table
        if not len(rows):
            return []
        found = distances(face.identity, _matrix(rows, "identity"))
        boxes, files, numbers = _matrix(rows, "box"), rows["file"].to_pylist(), rows["face"].to_pylist()
        order = np.argsort(found, kind="stable")[:top_k]
        return [Match(self.folder / files[k], numbers[k], boxes[k], float(found[k])) for k in order]


def update_index(
    folder: str | os.PathLike[str],
    reader: FaceReader,
    index: str | os.PathLike[str] | None = None,
    min_score: float = 0.5,
    progress: ProgressCallback | None = None,
) -> FaceIndex:
    """The index of a folder's photos, those in folders below it too, brought up to date and written.

    index: its file; None: ``limner-faces.parquet`` in the folder. progress: called with photos read and to be read.
    Raises ``InputError`` for what is no folder, and for a file in the index's place that is something else.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"{place} is not a folder: give the folder whose photos to search")
    file = place / INDEX if index is None else Path(index)
    if file.suffix.lower() != ".parquet":
        raise InputError(f"the index {file}: name it .parquet")
    photos = {photo.relative_to(place).as_posix(): photo for photo in photos_in(place)}
    facts = {name: (stat.st_size, stat.st_mtime_ns) for name, photo in photos.items() if (stat := photo.stat())}
    settings = _settings(min_score)
    table = before = _read(file, settings)
    current = [facts.get(name) == (size, modified) for name, size, modified in _facts(table)]
    table = table.filter(np.array(current, bool))
    known = set(table["file"].to_pylist())
    unread = [name for name in photos if name not in known]
    rows: list[dict[str, Any]] = []
    errors: list[str] = []
    results = reader.read_many((photos[name] for name in unread), min_score, on_error="yield")
    for done, (name, result) in enumerate(zip(unread, results, strict=True), 1):
        if result.error is None:
            rows += _rows(name, facts[name], result.faces)
        else:
            errors.append(str(result.error) if name in str(result.error) else f"{name}: {result.error}")
        if done % SAVE_EVERY == 0:
            table, rows = _joined(table, rows), []
            _write(file, table)
        if progress is not None:
            progress(done, len(unread))
    table = _joined(table, rows).sort_by([("file", "ascending"), ("face", "ascending")])
    if not file.is_file() or not table.equals(before):
        _write(file, table)
    return FaceIndex(place, table, tuple(errors))


def _settings(min_score: float) -> dict[str, str]:
    """What the rows depend on besides the photos."""
    network = ",".join(file.sha256 for file in find_entry("face-identity").files)
    return {"limner.index": "1", "limner.identity": network, "limner.min_score": repr(float(min_score))}


def _schema(settings: dict[str, str]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("file", pa.string()),  # from the folder, with forward slashes
            ("size", pa.int64()),  # bytes
            ("modified", pa.int64()),  # nanoseconds
            ("face", pa.int32()),  # 1 is the largest; 0: this photo shows none
            ("score", pa.float32()),
            ("box", pa.list_(pa.float32(), 4)),
            ("identity", pa.list_(pa.float32(), VECTOR)),
        ],
        metadata=settings,
    )


def _rows(name: str, facts: tuple[int, int], faces: Sequence[Face]) -> list[dict[str, Any]]:
    photo = {"file": name, "size": facts[0], "modified": facts[1]}
    if not faces:
        return [{**photo, "face": 0, "score": None, "box": None, "identity": None}]
    return [
        {**photo, "face": number, "score": face.score, "box": face.box, "identity": face.identity}
        for number, face in enumerate(faces, 1)
    ]


def _read(file: Path, settings: dict[str, str]) -> pa.Table:
    """The index in a file; an empty one where there is none, or it was made with other settings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(settings)
    if not file.exists():
        return schema.empty_table()
    try:
        table = pq.read_table(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{file} is no Parquet file, or damaged: remove it, or name another with --index") from error
    if b"limner.index" not in (table.schema.metadata or {}):
        raise InputError(f"{file} is not an index of Limner's: name another with --index")
    current = table.schema.equals(schema) and table.schema.metadata == schema.metadata
    return table.cast(schema) if current else schema.empty_table()  # cast: lists name their elements otherwise


def _facts(table: pa.Table) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change of every row's photo."""
    return zip(*(table[name].to_pylist() for name in ("file", "size", "modified")), strict=True)


def _joined(table: pa.Table, rows: Sequence[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables([table, pa.Table.from_pylist(rows, schema=table.schema)])


def _write(file: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    with atomic_write(file) as temporary:
        pq.write_table(table, temporary)


def _matrix(rows: pa.Table, name: str) -> np.ndarray:
    """A column of vectors of one length: (N, D) float32."""
    flat = rows[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(rows), -1).astype(np.float32)
