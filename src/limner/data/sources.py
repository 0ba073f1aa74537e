"""Where faces come from: folders of photos, lists, synthetic sets, sets that were built before.

A source is opened once and yields items in a fixed order. An item knows its id, its licence and whose face it is, and
loads its bytes only when asked, so items travel cheaply to worker processes.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.releases import LAYOUTS, open_release, recognise
from limner.data.shards import is_built, read_rows
from limner.data.storage import Place, Remote, open_place, walk
from limner.data.synthetic import read_info, read_vectors
from limner.data.video_frame import read_frame
from limner.errors import InputError
from limner.faces.picture import SUFFIXES
from limner.json_lines import parse_object

UNKNOWN_LICENCE = "unknown"
PEOPLE = ("auto", "file", "folder")
_LISTS = (".txt", ".csv", ".jsonl")


@dataclass(frozen=True)
class Item:
    """One picture of a source.

    id: unique in the source and the same on every machine. person: whose face it is, as far as the source tells; all
    rows of one person go into the same split. aligned: the picture is an FFHQ-aligned face already. w: the latent
    (512,) float16 of a synthetic face. stored: the row, when the bytes lie in column `column` of a Parquet file.
    frame: where in a video (0..1). captions, questions: what the source says of the picture. masks: part masks drawn by
    hand, named as in CelebAMask-HQ. split: the published one, where there is one.
    """

    id: str
    source: str
    licence: str
    person: str
    path: Place
    aligned: bool = False
    w: np.ndarray | None = field(default=None, compare=False)
    stored: int | None = None
    column: str = "image"
    frame: float | None = None
    captions: tuple[str, ...] = ()
    questions: tuple[tuple[str, str], ...] = ()
    masks: tuple[Path, ...] = ()
    split: str | None = None

    def load(self) -> bytes:
        """The encoded picture. Raises OSError or InputError when it cannot be read."""
        if self.frame is not None:
            if isinstance(self.path, Remote):
                raise InputError(f"{self.path} is a video in a store: copy it here first")
            return read_frame(self.path, self.frame)
        if self.stored is None:
            return self.path.read_bytes()
        return read_rows(self.path, self.stored, [self.column])[self.column]["bytes"]


def open_sources(
    places: Iterable[str | os.PathLike[str] | Remote],
    licence: str | None = None,
    people: str = "auto",
    aligned: bool = False,
    layout: str = "auto",
    columns: Mapping[str, str] | None = None,
) -> list[Item]:
    """All items of some sources, in the order given; an id that comes twice is kept once.

    places: here or in a store (`s3://…`): folders (searched through, in name order), single pictures, lists, sets
    built by `limner data build`; here also synthetic sets (folder with synth.json or w.npz). licence: of pictures
    that do not say theirs. people: "folder" if each sub-folder is a person, "file" if each file is, "auto" for file
    at the top of a source and folder below it. aligned: plain pictures are FFHQ-aligned already. layout: what the
    folders are, of `releases.LAYOUTS` (here, not in a store); "auto" to look, "photos" for plain folders even if they
    look like a public data set. columns: of a release of UniF²aceD-1M (`releases.parse_columns`). Raises InputError for
    a place that is none of these, or is empty.
    """
    if people not in PEOPLE:
        raise InputError(f"people is {people!r}: choose one of {', '.join(PEOPLE)}")
    if layout not in LAYOUTS:
        raise InputError(f"layout is {layout!r}: choose one of {', '.join(LAYOUTS)}")
    items: dict[str, Item] = {}
    names: dict[str, int] = {}
    for place in map(open_place, places):
        name = place.resolve().stem if place.is_file() else place.resolve().name
        names[name] = names.get(name, 0) + 1
        label = name if names[name] == 1 else f"{name}-{names[name]}"
        found = 0
        for item in _open(place, label, licence or UNKNOWN_LICENCE, people, aligned, layout, columns):
            items.setdefault(item.id, item)
            found += 1
        if not found:
            raise InputError(
                f"{place} holds no pictures: give a folder with {', '.join(SUFFIXES[:4])} … in it or below"
            )
    if not items:
        raise InputError("no sources given: name a folder of photos, a list or a synthetic set")
    return list(items.values())


def _open(
    place: Place,
    label: str,
    licence: str,
    people: str,
    aligned: bool,
    layout: str = "auto",
    columns: Mapping[str, str] | None = None,
) -> Iterator[Item]:
    if not place.exists():
        raise InputError(f"there is no file or folder {place}")
    if place.is_file() and place.suffix.lower() in _LISTS:
        return _from_list(place, label, licence, aligned)
    if place.is_file():
        return iter([Item(f"{label}/{place.name}", label, licence, f"{label}/{place.name}", place, aligned)])
    if isinstance(place, Remote) and layout not in ("auto", "photos"):
        raise InputError(f"the layout {layout} is read from folders here, not from {place}: copy it first")
    if not isinstance(place, Remote) and layout not in ("auto", "photos"):
        return open_release(layout, place, label, columns)
    if is_built(place):
        return _from_built(place)
    if isinstance(place, Remote):
        return _from_folder(place, label, licence, people, aligned)
    info, vectors = read_info(place), _vectors_of(place)
    if info is not None or vectors:
        return _from_synthetic(place, label, (info or {}).get("licence", licence), vectors)
    if layout == "auto" and (found := recognise(place)) is not None:
        return open_release(found, place, label, columns)
    return _from_folder(place, label, licence, people, aligned)


def _pictures(folder: Place) -> Iterator[Place]:
    """Every picture in a folder and below it, by name; hidden files and folders are left out, links not followed."""
    return (file for file in walk(folder) if file.name.lower().endswith(SUFFIXES))


def _from_folder(place: Place, label: str, licence: str, people: str, aligned: bool) -> Iterator[Item]:
    for path in _pictures(place):
        relative = path.relative_to(place)  # pyright: ignore[reportArgumentType]
        by_folder = people == "folder" or (people == "auto" and len(relative.parts) > 1)
        person = relative.parent.as_posix() if by_folder else relative.as_posix()
        yield Item(f"{label}/{relative.as_posix()}", label, licence, f"{label}/{person}", path, aligned)


def _vectors_of(place: Path) -> dict[str, np.ndarray]:
    """w vectors in a synthetic set, or in a file beside it called after it."""
    beside = place.resolve().with_name(f"{place.resolve().name}_w.npz")
    return read_vectors(place) or read_vectors(beside.parent, beside.name)


def _from_synthetic(place: Path, label: str, licence: str, vectors: Mapping[str, np.ndarray]) -> Iterator[Item]:
    for path in _pictures(place):
        name = f"{label}/{path.stem}"
        yield Item(name, label, licence, name, path, aligned=True, w=vectors.get(path.stem))


def _from_built(place: Place) -> Iterator[Item]:
    """Rows of a built set again: same picture, person, w and carried captions; what is measured is measured anew."""
    from limner.data.shards import shard_files

    columns = ["id", "source", "licence", "person", "w", "captions", "stated"]
    for path in shard_files(place):
        for k, row in enumerate(read_rows(path, None, columns)):
            w = None if row["w"] is None else np.array(row["w"], np.float16)
            styles = zip(row["captions"] or (), row["stated"] or ())
            captions = tuple(text for text, stated in styles if stated["style"] == "carried")
            yield Item(
                row["id"],
                row["source"],
                row["licence"],
                row["person"],
                path,
                aligned=True,
                w=w,
                stored=k,
                captions=captions,
            )


def _from_list(place: Place, label: str, licence: str, aligned: bool) -> Iterator[Item]:
    """A list of pictures: .txt has a path a line, .csv and .jsonl have path and, if known, licence and person."""
    for number, entry in _entries(place):
        if not entry.get("path"):
            raise InputError(f"{place}, line {number}: no path; each line needs one")
        path = _beside(place, str(entry["path"]))
        name = f"{label}/{entry['path']}"
        person = f"{label}/{entry['person']}" if entry.get("person") else name
        yield Item(name, label, str(entry.get("licence") or licence), person, path, aligned)


def _beside(place: Place, path: str) -> Place:
    return open_place(path) if "://" in path else place.parent / path


def _entries(place: Place) -> Iterator[tuple[int, Mapping[str, Any]]]:
    suffix = place.suffix.lower()
    with io.StringIO(place.read_text("utf-8"), newline="") as lines:
        if suffix == ".csv":
            yield from enumerate(csv.DictReader(lines), start=2)
            return
        for number, line in enumerate(lines, start=1):
            if line.strip():
                whole = suffix == ".jsonl"
                yield number, parse_object(line, f"{place}, line {number}") if whole else {"path": line.strip()}
