"""Verbs `compare` and `find`: face verification and face search."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from limner.errors import InputError


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A photograph.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another photograph.")],
    face_a: Annotated[int | None, typer.Option(min=1, help="Which face of A, from 1, largest first.")] = None,
    face_b: Annotated[int | None, typer.Option(min=1, help="Which face of B, from 1, largest first.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Decide whether the largest faces of two photographs show the same person.

    Exit code 0: same person. 1: different people.
    """
    import limner

    found = limner.load().compare(a, b, face_a, face_b)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        verdict = "the same person" if found.same else "different people"
        print(f"{verdict}: distance {found.distance:.3f} (same below {found.threshold:g})")
    if not found.same:
        raise typer.Exit(1)


def find(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="Photograph of the person to search for.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to search, including subfolders.")],
    top: Annotated[int, typer.Option(min=1, help="Number of faces to list.")] = 10,
    face: Annotated[int | None, typer.Option(min=1, help="Which face of PHOTO, from 1, largest first.")] = None,
    index: Annotated[
        Path | None, typer.Option(help="The index, a .parquet file. Default: limner-faces.parquet in FOLDER.")
    ] = None,
    min_score: Annotated[float, typer.Option(min=0.1, max=1, help="Minimum detection score.")] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: file, face, box, distance, same.")] = False,
) -> None:
    """List the faces in a folder by similarity to the face in a photograph.

    Results are stored in an index, so that later searches read only new and changed photographs. Unreadable files are
    reported on standard error, and the exit code is 2.
    """
    if as_json and as_csv:
        raise InputError("--json and --csv are alternatives: choose one")
    from limner.cli.progress_bar import bar
    from limner.faces.reader import FaceReader
    from limner.faces.record import choose_face
    from limner.faces.search import update_index

    reader = FaceReader.load()
    wanted = choose_face(reader.read(photo), face, photo.name)
    with bar("indexing", shown=not as_json and not as_csv) as show:
        found = update_index(folder, reader, index, min_score, show)
    matches = found.nearest(wanted, top)
    if as_json:
        print(json.dumps([match.to_dict() for match in matches], indent=2))
    elif as_csv:
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(["file", "face", "x1", "y1", "x2", "y2", "distance", "same"])
        for match in matches:
            box = [round(float(edge), 1) for edge in match.box]
            table.writerow([str(match.path), match.face, *box, round(match.distance, 4), match.same])
    else:
        for match in matches:
            number = f" (face {match.face})" if match.face > 1 else ""
            print(f"{match.distance:.3f}  {'same' if match.same else '    '}  {match.path}{number}")
        if not matches:
            print(f"no face was found in {folder}")
    for error in found.errors:
        typer.echo(f"error: {error}", err=True)
    if found.errors:
        raise typer.Exit(2)
