"""From a picture to a face record: a chain of pure functions on rows.

A row is a dict that grows from stage to stage. No stage keeps state, so the chain runs in this process, on a pool of
processes or as a data pipeline with the same result. In order: `open_item` (item → row with a picture), `find_faces`
(row → one row a face, with its aligned crop), `read_faces` (rows → measured rows; a batch, because networks like
batches), `write_words` (captions and questions), `choose_split`, `finish` (what a shard holds).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from PIL import Image

from limner.data.caption_writers import RuleWriter, Subject
from limner.data.shards import SPLITS, pack_attributes
from limner.data.sources import Item
from limner.errors import InputError, WeightsError
from limner.faces.geometry import warp
from limner.faces.picture import encode_jpeg, encode_png, read_picture
from limner.faces.record import Face
from limner.faces.regions import Region

Row = dict[str, Any]
LANCZOS = Image.Resampling.LANCZOS
SIDE = 256  # units of a record's frame, and pixels of the picture that is measured
SIZES = (256, 512, 1024)  # pixels of a record's picture
# CelebAMask-HQ's file names of the parts, in the order of `Region`.
_PARTS = "skin nose eye_g l_eye r_eye l_brow r_brow l_ear r_ear mouth u_lip l_lip hair hat ear_r neck_l neck cloth"
PARTS = {name: Region(k) for k, name in enumerate(_PARTS.split(" "), start=1)}


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
    size: int = 256
    """Side of the pictures in pixels, of SIZES. Above 256 no face is enlarged: those that are smaller are left out."""
    quality: int = 95
    """JPEG quality of the pictures, 92 to 95."""
    shares: tuple[int, int, int] = (90, 5, 5)
    """Percent of people in train, validation and test."""
    seed: int = 0
    """Changes the wording, not the facts."""

    def __post_init__(self) -> None:
        if len(self.shares) != 3 or min(self.shares) < 0 or sum(self.shares) != 100:
            raise InputError(f"shares {self.shares} must be three percentages that add up to 100, such as 90/5/5")
        if self.size not in SIZES:
            raise InputError(f"size {self.size}: choose {', '.join(map(str, SIZES[:-1]))} or {SIZES[-1]}")
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


NOTHING_CARRIED: Mapping[str, Any] = {"captions": (), "questions": (), "drawn": None}
"""What a row holds whose source says nothing of its pictures: neither words nor regions drawn by hand."""


def open_item(item: Item) -> Row:
    """A row with the decoded picture (H, W, 3). Raises InputError or OSError for a bad file."""
    return {
        "id": item.id,
        "source": item.source,
        "licence": item.licence,
        "person": item.person,
        "aligned": item.aligned,
        "w": None if item.w is None else np.asarray(item.w, np.float16),
        "given_split": item.split,
        "captions": list(item.captions),
        "questions": list(item.questions),
        "drawn": read_part_masks(item.masks) if item.masks else None,
        "photo": read_picture(item.load(), name=PurePosixPath(item.id).name),
    }


def read_part_masks(paths: Sequence[Path]) -> np.ndarray:
    """One region map (H, W) uint8 of part masks `<number>_<part>.png` (white where the part is).

    Where parts overlap, the later in the order of `Region` wins, as in the script that comes with CelebAMask-HQ.
    """
    parts = sorted((PARTS[path.stem.partition("_")[2]], path) for path in paths if path.stem.partition("_")[2] in PARTS)
    regions = None
    for region, path in parts:
        mask = read_picture(path)[..., 0] > 127
        regions = np.zeros(mask.shape, np.uint8) if regions is None else regions
        if mask.shape != regions.shape:
            raise InputError(f"{path} is not of the size of the other part masks")
        regions[mask] = region
    if regions is None:
        raise InputError(f"{paths[0].parent} holds no part masks of CelebAMask-HQ")
    return regions


def find_faces(row: Row, reader: Reader, settings: RecordSettings) -> list[Row]:
    """One row for each face, largest first, with its aligned picture. Raises InputError when there is none to use.

    `picture` is size² pixels, `measured` the same at 256² for the networks; `crop` leads to the frame of 256 units that
    landmarks are in, whatever the size. Above 256 a face that would have to be enlarged is not used.

    Rows of a photo's second and later faces get "#2", "#3", … after the id, and nothing of what the source says of the
    photo. Aligned pictures are taken as they are.
    """
    photo = row["photo"]
    rest = {name: value for name, value in row.items() if name not in ("photo", "aligned", "drawn")}
    drawn = row["drawn"]
    if drawn is not None:  # part masks are half as large as their photographs
        drawn = np.array(Image.fromarray(drawn).resize(photo.shape[1::-1], Image.Resampling.NEAREST))
    if row["aligned"]:
        height, width = photo.shape[:2]
        if height != width:
            raise InputError(f"an aligned picture is square, this one is {width} × {height}: build without --aligned")
        if settings.size > SIDE and width < settings.size:
            raise InputError(f"the picture is {width} pixels wide and is not enlarged to {settings.size}")
        scale = SIDE / width
        # pixel centres lie at integers: x' = s·(x + 1/2) − 1/2
        crop = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]], np.float32)
        regions = None if drawn is None else warp(drawn, magnified(crop, settings.size), settings.size, nearest=True)
        pictures = {"picture": _resized(photo, settings.size), "measured": _resized(photo, SIDE)}
        return [{**rest, **pictures, "crop": crop, "box": None, "score": None, "drawn": regions}]
    faces = reader.read(photo, min_score=settings.min_score)
    if not faces:
        raise InputError("no face found")
    rows, widest = [], 0.0
    for face in faces:
        if face.box[2] - face.box[0] < settings.min_size:
            continue
        wide = SIDE / float(
            np.sqrt(abs(np.linalg.det(face.crop[:, :2])))
        )  # photo pixels the picture shows, side by side
        widest = max(widest, wide)
        if settings.size > SIDE and wide < settings.size:
            continue
        name = row["id"] if not rows else f"{row['id']}#{len(rows) + 1}"
        large = magnified(face.crop, settings.size)
        picture = warp(photo, large, settings.size, border="edge")
        measured = picture if settings.size == SIDE else warp(photo, face.crop, SIDE, border="edge")
        shown = None if drawn is None else warp(drawn, large, settings.size, nearest=True, border="edge")
        first = {**rest, "drawn": shown}
        later = {**rest, "captions": [], "questions": [], "drawn": None}
        found = {
            "id": name,
            "picture": picture,
            "measured": measured,
            "crop": face.crop,
            "box": face.box,
            "score": face.score,
        }
        rows.append({**(later if rows else first), **found})
    if not rows and widest:
        raise InputError(f"the largest face spans {widest:.0f} pixels and is not enlarged to {settings.size}")
    if not rows:
        widest = max(face.box[2] - face.box[0] for face in faces)
        raise InputError(f"the largest face is {widest:.0f} pixels wide, less than {settings.min_size}")
    return rows


def magnified(crop: np.ndarray, size: int) -> np.ndarray:
    """The matrix (2, 3) that leads to `size` pixels instead of 256: x' = s·(x + 1/2) − 1/2."""
    scale = size / SIDE
    larger = np.asarray(crop, np.float64) * scale
    larger[:, 2] += (scale - 1) / 2
    return larger


def _resized(photo: np.ndarray, size: int) -> np.ndarray:
    return photo if len(photo) == size else np.array(Image.fromarray(photo).resize((size, size), LANCZOS))


def enlarge_regions(regions: np.ndarray, size: int) -> np.ndarray:
    """A region map (H, H) at the side of its picture: the region with the largest share around each pixel, so that
    outlines stay smooth."""
    if len(regions) == size:
        return regions
    best, ids = np.zeros((size, size), np.uint8), np.zeros((size, size), np.uint8)
    for region in np.unique(regions).tolist():
        here = Image.fromarray((regions == region).astype(np.uint8) * 255)
        share = np.array(here.resize((size, size), Image.Resampling.BILINEAR))
        ids[share > best] = region
        best = np.maximum(best, share)
    return ids


def read_faces(rows: Sequence[Row], reader: Reader) -> list[Row | None]:
    """Everything that is measured on the crops: (row with a face, or None where no face was found on the crop)."""
    if not rows:
        return []
    faces = reader.read_crops(np.stack([row.get("measured", row["picture"]) for row in rows]))
    return [None if face is None else {**row, "face": _with_drawn(face, row)} for row, face in zip(rows, faces)]


def _with_drawn(face: Face, row: Row) -> Face:
    """The face with the regions that were drawn by hand, where there are any: better than the parser's."""
    return face if row["drawn"] is None else replace(face, regions=row["drawn"])


def write_words(row: Row, settings: RecordSettings) -> Row:
    """Captions, prompts and questions from the face's attributes; the wording follows from the row's id."""
    face: Face = row["face"]
    writer = RuleWriter(
        captions=settings.captions,
        prompts=settings.prompts,
        questions=settings.questions,
        least=settings.least,
        seed=settings.seed,
    )
    subject = Subject(row["id"], b"", face.attributes, face.regions, row["captions"], row["questions"])
    return {**row, **writer.write(subject).columns()}


def choose_split(person: str, shares: tuple[int, int, int]) -> str:
    """The split of a person: a hash of the name, so it is the same in every build and for all their pictures."""
    point = int.from_bytes(hashlib.sha256(person.encode()).digest()[:8], "big") / 2**64 * 100
    return SPLITS[0] if point < shares[0] else SPLITS[1] if point < shares[0] + shares[1] else SPLITS[2]


def finish(row: Row, settings: RecordSettings) -> Row:
    """The row as a shard holds it: pictures encoded, arrays flat."""
    face: Face = row["face"]
    box = face.box if row["box"] is None else row["box"]
    regions = enlarge_regions(np.asarray(face.regions, np.uint8), len(row["picture"]))
    return {
        **{
            name: row[name]
            for name in ("id", "source", "licence", "person", "captions", "prompts", "stated", "questions")
        },
        "split": row.get("given_split") or choose_split(row["person"], settings.shares),
        "image": {"bytes": encode_jpeg(row["picture"], settings.quality), "path": f"{row['id']}.jpg"},
        "crop": _flat(row["crop"]),
        "box": _flat(box),
        "score": float(face.score if row["score"] is None else row["score"]),
        "regions": {"bytes": encode_png(regions), "path": f"{row['id']}.png"},
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
