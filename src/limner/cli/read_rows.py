"""What `read` writes for programs besides JSON: one row a face, as CSV and as Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.faces.vocabulary import VOCABULARY

if TYPE_CHECKING:
    from limner.faces.record import Face

MEASURES = ("x1", "y1", "x2", "y2", "score", "yaw", "pitch", "roll", "gaze_yaw", "gaze_pitch")
COLUMNS = (
    "file", "face", *MEASURES, *(column for name in VOCABULARY for column in (name, f"{name}_confidence"))
)  # fmt: skip
"""Columns of CSV. file; face: its number in the photo, from 1, largest first; box in pixels; angles in degrees; every
attribute and how sure it is. A cell is empty where an attribute could not be measured."""


def rows(file: Path, faces: Sequence[Face]) -> Iterator[dict[str, Any]]:
    """A row a face, by column."""
    for number, face in enumerate(faces, 1):
        pose, gaze = face.pose, face.gaze
        measures = (*face.box, face.score, pose.yaw, pose.pitch, pose.roll, gaze[0], gaze[1])
        row: dict[str, Any] = {"file": str(file), "face": number}
        row |= {name: round(float(value), 3) for name, value in zip(MEASURES, measures, strict=True)}
        for name, attribute in face.attributes.items():
            value = attribute.value
            row[name] = round(value, 1) if isinstance(value, float) else value
            row[f"{name}_confidence"] = round(float(attribute.confidence), 3)
        yield row


def write_parquet(path: Path, found: Sequence[tuple[Path, Sequence[Face]]]) -> None:
    """One row a face: the columns of CSV, and key points, landmarks, expression and identity as lists of numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from limner.faces.expression import EXPRESSION_NAMES
    from limner.files import atomic_write

    fields: list[tuple[str, Any]] = [("file", pa.string()), ("face", pa.int32())]
    fields += [(name, pa.float32()) for name in MEASURES]
    for name, term in VOCABULARY.items():
        kind = pa.bool_() if term.values is None else pa.float32() if term.values == "number" else pa.string()
        fields += [(name, kind), (f"{name}_confidence", pa.float32())]
    lists = {
        "kps": lambda face: face.kps,  # (5, 2) row by row
        "landmarks": lambda face: face.landmarks,  # (468, 3) row by row
        "expression": lambda face: face.expression,
        "identity": lambda face: face.identity,
    }
    fields += [(name, pa.list_(pa.float32())) for name in lists]
    schema = pa.schema(fields, metadata={"expression": ",".join(EXPRESSION_NAMES)})
    table = [
        {**row, **{name: of(face).astype("float32").ravel() for name, of in lists.items()}}
        for file, faces in found
        for row, face in zip(rows(file, faces), faces)
    ]
    with atomic_write(path) as temporary:
        pq.write_table(pa.Table.from_pylist(table, schema=schema), temporary)
