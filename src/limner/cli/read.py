"""`limner read PHOTO…`: what is in a photograph."""

from __future__ import annotations

import csv
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli.input_photos import Refused, named_photos, refuse_shared_names
from limner.cli.outputs import Overwrite, refuse_existing
from limner.cli.progress_bar import each
from limner.cli.terminal import console
from limner.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from limner.faces.reader import FaceReader
    from limner.faces.record import Face


def read(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO…", help="Photographs, or folders of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per photo.")] = False,
    as_jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print JSON lines, one per photo, as they are read.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV, one row per face, attributes with confidence.")
    ] = False,
    parquet: Annotated[
        Path | None,
        typer.Option(help="Write a Parquet file with the rows of --csv, landmarks and identity embeddings."),
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Draw the results on the photo: a .png file, or a folder for several photos.")
    ] = None,
    regions: Annotated[
        Path | None, typer.Option(help="Folder for region maps, one per face: NAME.0.png is the largest face of NAME.")
    ] = None,
    overwrite: Overwrite = False,
    min_score: Annotated[float, typer.Option(min=0.1, max=1, help="Minimum detection score.")] = 0.5,
) -> None:
    """Read the faces in photographs: box, pose, gaze, expression, regions and attributes, largest face first.

    A photo without a face is not an error. Unusable files are reported on standard error, the others are processed,
    and the exit code is 2.
    """
    if sum((as_json, as_jsonl, as_csv)) > 1:
        raise InputError("--json, --jsonl and --csv are alternatives: choose one")
    if parquet is not None and parquet.suffix.lower() != ".parquet":
        raise InputError(f"--parquet {parquet}: name it .parquet")
    names = named_photos(photos)
    files = list(names)
    if overlay is not None and len(files) > 1 and overlay.suffix:
        raise InputError(f"--overlay {overlay} is one file, but there are {len(files)} photos: give a folder")
    if overlay is not None and overlay.suffix.lower() not in ("", ".png"):
        raise InputError(f"--overlay {overlay}: name it .png")
    if overlay is not None or regions is not None:
        refuse_shared_names(names)
    for name in names.values():
        if overlay is not None:
            refuse_existing(_overlay_file(overlay, name), overwrite)
        if regions is not None:
            refuse_existing(_regions_file(regions, name, 0), overwrite)
    if parquet is not None:
        refuse_existing(parquet, overwrite)
        import pyarrow  # noqa: F401 (missing, it is missed before anything is read)

    from limner.cli.read_rows import COLUMNS, rows, write_parquet
    from limner.faces.reader import FaceReader

    reader = FaceReader.load()
    refused = Refused()
    objects: list[dict[str, Any]] = []
    kept: list[tuple[Path, list[Face]]] = []
    table = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    if as_csv:
        table.writeheader()
    for file in each(files, "reading", shown=not as_json):
        found = refused.unless(file, partial(_read, reader, file, min_score))
        if found is None:
            continue
        photo, faces = found
        if overlay is not None:
            _write_overlay(_overlay_file(overlay, names[file]), photo, faces)
        if regions is not None:
            _write_regions(regions, names[file], faces)
        if parquet is not None:
            kept.append((file, faces))
        if as_json:
            objects.append(_object(file, faces))
        elif as_jsonl:
            print(json.dumps(_object(file, faces), ensure_ascii=False), flush=True)
        elif as_csv:
            table.writerows(rows(file, faces))
            sys.stdout.flush()
        elif parquet is None:
            _print(file, photo, faces)
    if parquet is not None:
        write_parquet(parquet, kept)
    if as_json:
        print(json.dumps(objects if len(files) > 1 else objects[0] if objects else [], indent=2))
    refused.finish()


def _object(file: Path, faces: list[Face]) -> dict[str, Any]:
    return {"file": str(file), "faces": [face.to_dict() for face in faces]}


def _read(reader: FaceReader, file: Path, min_score: float) -> tuple[np.ndarray, list[Face]]:
    from limner.faces.picture import read_picture

    photo = read_picture(file)
    return photo, reader.read(photo, min_score=min_score)


def _write_overlay(path: Path, photo: np.ndarray, faces: list[Face]) -> None:
    from limner.faces.overlay import draw_overlay
    from limner.faces.picture import save_png

    save_png(path, draw_overlay(photo, faces))


def _write_regions(folder: Path, name: str, faces: list[Face]) -> None:
    from limner.faces.picture import save_png

    for number, face in enumerate(faces):
        save_png(_regions_file(folder, name, number), face.regions)


def _overlay_file(overlay: Path, name: str) -> Path:
    return overlay if overlay.suffix else overlay / f"{name}.png"


def _regions_file(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name}.{number}.png"


def _print(file: Path, photo: np.ndarray, faces: list[Face]) -> None:
    """A table for people: one column a face."""
    from rich.table import Table

    out = console()
    height, width = photo.shape[:2]
    if not faces:
        out.print(f"{file} ({width}×{height}): no face found")
        return
    table = Table(title=f"{file} ({width}×{height})", title_justify="left", title_style="bold", header_style="bold")
    table.add_column("")
    for number in range(len(faces)):
        table.add_column(f"face {number + 1}", overflow="fold")
    for name, values in _rows(faces):
        table.add_row(name, *values)
    out.print(table)


def _rows(faces: list[Face]) -> list[tuple[str, list[str]]]:
    from limner.faces.expression import EXPRESSION_NAMES
    from limner.faces.vocabulary import VOCABULARY

    def strongest(face: Face) -> str:
        pairs = sorted(zip(EXPRESSION_NAMES, face.expression.tolist(), strict=True), key=lambda pair: -pair[1])
        return ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in pairs[:3] if value > 0.1) or "–"

    rows = [
        ("box", [" ".join(f"{edge:.0f}" for edge in face.box) for face in faces]),
        ("score", [f"{face.score:.2f}" for face in faces]),
        ("yaw pitch roll", [f"{f.pose.yaw:+.0f}° {f.pose.pitch:+.0f}° {f.pose.roll:+.0f}°" for f in faces]),
        ("gaze", [f"{face.gaze[0]:+.0f}° {face.gaze[1]:+.0f}°" for face in faces]),
        ("expression", [strongest(face) for face in faces]),
    ]
    for name in VOCABULARY:
        found = [face.attributes.get(name) for face in faces]
        if any(attribute is not None for attribute in found):
            rows.append((name.replace("_", " "), [_said(attribute) for attribute in found]))
    return rows


def _said(attribute: Any) -> str:
    if attribute is None:
        return "–"
    value = attribute.value
    shown = (
        ("yes" if value else "no") if isinstance(value, bool) else f"{value:.0f}" if isinstance(value, float) else value
    )
    return f"{shown} ({attribute.confidence:.2f})"
