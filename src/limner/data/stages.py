"""From a picture to a face record: a chain of pure functions on rows.

A row is a dict that grows from stage to stage. No stage keeps state, so the chain runs in this process, on a pool of
processes or as a data pipeline with the same result. In order: `open_item` (item → row with a picture), `find_faces`
(row → one row a face, with its aligned crop), `read_faces` (rows → measured rows; a batch, because networks like
batches), `write_words` (captions and questions), `choose_split`, `finish` (what a shard holds).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np
from PIL import Image

from limner.data.shards import SPLITS, pack_attributes
from limner.data.sources import Item
from limner.errors import InputError, WeightsError
from limner.faces.geometry import warp
from limner.faces.picture import encode_jpeg, encode_png, read_picture
from limner.faces.record import Face
from limner.faces.regions import Region
from limner.words.captions import compose_captions, compose_prompts
from limner.words.questions import write_questions

Row = dict[str, Any]
SIDE = 256  # pixels of a record's picture


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """What decides the content of a record. Two builds with equal settings, code and weights give equal rows."""

    captions: int = 5
    """Long captions a face."""
    prompts: int = 6
    """Short texts a face."""
    questions: int = 10
    """Questions a face."""
    least: float = 0.6
    """Confidence (0..1) from which on a fact may be stated in words."""
    min_score: float = 0.5
    """Detector score (0..1) from which on something is a face."""
    min_size: int = 64
    """Width in pixels under which a face of a photo is left out: enlarged to 256² it would be a blur."""
    quality: int = 95
    """JPEG quality of the pictures, 92 to 95."""
    shares: tuple[int, int, int] = (90, 5, 5)
    """Percent of people in train, validation and test."""
    seed: int = 0
    """Changes the wording, not the facts."""

    def __post_init__(self) -> None:
        if len(self.shares) != 3 or min(self.shares) < 0 or sum(self.shares) != 100:
            raise InputError(f"shares {self.shares} must be three percentages that add up to 100, such as 90/5/5")
        if not 92 <= self.quality <= 95:
            raise InputError(f"quality {self.quality} is outside 92..95: worse harms training, better helps nothing")
        for name in ("captions", "prompts", "questions"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}: choose 0 or more")


class Reader(Protocol):
    """What the stages need of `limner.faces.reader.FaceReader`."""

    def read(self, photo: np.ndarray, min_score: float = 0.5) -> list[Face]:
        """Faces of a photo, largest first."""
        ...

    def read_crops(self, pictures: np.ndarray) -> list[Face | None]:
        """One face each of aligned (B, 256, 256, 3) uint8 pictures; None where there is none."""
        ...


def open_item(item: Item) -> Row:
    """A row with the decoded picture (H, W, 3). Raises InputError or OSError for a bad file."""
    return {
        "id": item.id,
        "source": item.source,
        "licence": item.licence,
        "person": item.person,
        "aligned": item.aligned,
        "w": None if item.w is None else np.asarray(item.w, np.float16),
        "photo": read_picture(item.load(), name=PurePosixPath(item.id).name),
    }


def find_faces(row: Row, reader: Reader, settings: RecordSettings) -> list[Row]:
    """One row for each face, largest first, with its 256² crop. Raises InputError when there is none to use.

    Rows of a photo's second and later faces get "#2", "#3", … after the id. Aligned pictures are taken as they are.
    """
    photo = row["photo"]
    rest = {name: value for name, value in row.items() if name not in ("photo", "aligned")}
    if row["aligned"]:
        height, width = photo.shape[:2]
        if height != width:
            raise InputError(f"an aligned picture is square, this one is {width} × {height}: build without --aligned")
        picture = (
            photo if width == SIDE else np.array(Image.fromarray(photo).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
        )
        scale = SIDE / width
        # pixel centres lie at integers: x' = s·(x + 1/2) − 1/2
        crop = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]], np.float32)
        return [{**rest, "picture": picture, "crop": crop, "box": None, "score": None}]
    faces = reader.read(photo, min_score=settings.min_score)
    if not faces:
        raise InputError("no face found")
    rows = []
    for face in faces:
        if face.box[2] - face.box[0] < settings.min_size:
            continue
        name = row["id"] if not rows else f"{row['id']}#{len(rows) + 1}"
        picture = warp(photo, face.crop, SIDE, border="edge")
        rows.append({**rest, "id": name, "picture": picture, "crop": face.crop, "box": face.box, "score": face.score})
    if not rows:
        widest = max(face.box[2] - face.box[0] for face in faces)
        raise InputError(f"the largest face is {widest:.0f} pixels wide, less than {settings.min_size}")
    return rows


def read_faces(rows: Sequence[Row], reader: Reader) -> list[Row | None]:
    """Everything that is measured on the crops: (row with a face, or None where no face was found on the crop)."""
    if not rows:
        return []
    faces = reader.read_crops(np.stack([row["picture"] for row in rows]))
    return [None if face is None else {**row, "face": face} for row, face in zip(rows, faces)]


def count_parts(regions: np.ndarray) -> dict[str, int]:
    """What can be counted honestly on a region map (H, W): ears that show (more than a sliver of one)."""
    least = regions.size / 2000
    ears = sum(int(np.count_nonzero(regions == ear) > least) for ear in (Region.LEFT_EAR, Region.RIGHT_EAR))
    return {"ears": ears}


def write_words(row: Row, settings: RecordSettings) -> Row:
    """Captions, prompts and questions from the face's attributes; the wording follows from the row's id."""
    rng = np.random.default_rng(
        [settings.seed, *np.frombuffer(hashlib.sha256(row["id"].encode()).digest()[:16], "<u4")]
    )
    face: Face = row["face"]
    captions = compose_captions(face.attributes, rng, settings.captions, settings.least)
    prompts = compose_prompts(face.attributes, rng, settings.prompts, settings.least)
    counts = count_parts(face.regions)
    questions = write_questions(face.attributes, rng, settings.questions, settings.least, counts)
    return {
        **row,
        "captions": [caption.text for caption in captions],
        "prompts": [caption.text for caption in prompts],
        "stated": [{"style": c.style, "facts": json.dumps(c.stated, default=float)} for c in captions + prompts],
        "questions": [vars(question) for question in questions],
    }


def choose_split(person: str, shares: tuple[int, int, int]) -> str:
    """The split of a person: a hash of the name, so it is the same in every build and for all their pictures."""
    point = int.from_bytes(hashlib.sha256(person.encode()).digest()[:8], "big") / 2**64 * 100
    return SPLITS[0] if point < shares[0] else SPLITS[1] if point < shares[0] + shares[1] else SPLITS[2]


def finish(row: Row, settings: RecordSettings) -> Row:
    """The row as a shard holds it: pictures encoded, arrays flat."""
    face: Face = row["face"]
    box = face.box if row["box"] is None else row["box"]
    return {
        **{
            name: row[name]
            for name in ("id", "source", "licence", "person", "captions", "prompts", "stated", "questions")
        },
        "split": choose_split(row["person"], settings.shares),
        "image": {"bytes": encode_jpeg(row["picture"], settings.quality), "path": f"{row['id']}.jpg"},
        "crop": _flat(row["crop"]),
        "box": _flat(box),
        "score": float(face.score if row["score"] is None else row["score"]),
        "regions": {"bytes": encode_png(np.asarray(face.regions, np.uint8)), "path": f"{row['id']}.png"},
        "landmarks": _flat(face.landmarks),
        "pose": _flat([face.pose.yaw, face.pose.pitch, face.pose.roll]),
        "gaze": _flat(face.gaze),
        "expression": _flat(face.expression),
        "light": _flat(face.light),
        "identity": _flat(face.identity),
        "attributes": pack_attributes(face.attributes),
        "w": row["w"],
    }


def _flat(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32).reshape(-1)


def measure_items(
    items: Sequence[Item], reader: Reader, settings: RecordSettings
) -> tuple[list[Row], list[Mapping[str, str]]]:
    """The part of the chain that runs networks: (measured rows, errors as {id, reason}), in the order of the items."""
    found: list[Row] = []
    errors: list[Mapping[str, str]] = []
    for item in items:
        try:
            found += find_faces(open_item(item), reader, settings)
        except WeightsError:
            raise
        except (InputError, OSError) as error:
            errors.append({"id": item.id, "reason": str(error).splitlines()[0]})
    rows: list[Row] = []
    for row, measured in zip(found, read_faces(found, reader)):
        if measured is None:
            errors.append({"id": row["id"], "reason": "no face found on the aligned picture"})
        else:
            rows.append(measured)
    return rows, errors


def finish_rows(rows: Sequence[Row], settings: RecordSettings) -> list[Row]:
    """The part of the chain that needs none: words, split, encoding."""
    return [finish(write_words(row, settings), settings) for row in rows]


def make_records(
    items: Sequence[Item], reader: Reader, settings: RecordSettings
) -> tuple[list[Row], list[Mapping[str, str]]]:
    """The whole chain on a batch of items: (finished rows, errors as {id, reason}). Both in the order of the items."""
    rows, errors = measure_items(items, reader, settings)
    return finish_rows(rows, settings), errors
