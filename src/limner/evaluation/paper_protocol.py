"""The tables of the papers: paint a published test split once, and measure the paintings with the papers' own judges.

Paintings lie in a folder (`pictures/000000.png`, `regions/000000.png`, `pairs.jsonl`, `painted.json`); a run that was
stopped paints what is missing. Pictures are read one at a time, so memory does not grow with the split. A judge whose
weights are not given is left out of the table; none is replaced by another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.shards import iterate
from limner.data.texts import COLUMNS, missing, texts_of
from limner.errors import InputError
from limner.evaluation.cmmd import ClipEmbedder, cmmd
from limner.evaluation.external_parser import ExternalParser, mask_figures
from limner.evaluation.frechet import frechet_distance, kid
from limner.evaluation.image_text_pairs import read_pairs
from limner.evaluation.inception import PROTOCOL, Inception, inception_features
from limner.faces.geometry import resize
from limner.faces.parse_task import confusion
from limner.faces.picture import read_picture, read_region_map, save_png
from limner.files import write_bytes_atomic, write_json_atomic
from limner.progress import ProgressCallback

PAIRS, PAINTED = "pairs.jsonl", "painted.json"
Painter = Callable[[str, np.ndarray, int], np.ndarray]
"""(words, region map, number of the face) → painting (H, W, 3) uint8."""


@dataclass(frozen=True)
class Subject:
    """A face of the split: its id, words and region map."""

    id: str
    words: str
    regions: np.ndarray


def subjects(folder: Path, split: str, texts: str, limit: int | None = None) -> Iterator[Subject]:
    """Faces of a built set, one at a time. The text of face k is its text k modulo their number."""
    for index, row in enumerate(islice(iterate(folder, split, ["id", "regions", *COLUMNS]), limit)):
        said = texts_of(row, texts).prompts
        if not said:
            raise missing(texts, folder, ("captions",) if texts == "carried" else ("prompts",))
        yield Subject(row["id"], said[index % len(said)], read_region_map(row["regions"]["bytes"]))


def paint_split(
    faces: Iterator[Subject],
    total: int,
    paint: Painter,
    out: Path,
    settings: dict[str, Any],
    progress: ProgressCallback,
) -> Path:
    """Paint every face that has no painting yet. settings: what decides the paintings; another folder holds others.

    Raises InputError for a folder painted with other settings, and for a split without faces.
    """
    stored = out / PAINTED
    if stored.is_file() and json.loads(stored.read_text("utf-8")) != json.loads(json.dumps(settings)):
        raise InputError(f"{out} was painted with other settings: give another --paintings, or remove it")
    write_json_atomic(stored, settings)
    lines = []
    for number, face in enumerate(faces):
        name = f"pictures/{number:06d}.png"
        if not (out / name).is_file():
            save_png(out / "regions" / f"{number:06d}.png", face.regions)
            save_png(out / name, paint(face.words, face.regions, number))
        lines.append({"id": face.id, "image": name, "text": face.words})
        progress(number + 1, total)
    if not lines:
        raise InputError("this split has no faces to paint after")
    write_bytes_atomic(out / PAIRS, "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines).encode("utf-8"))
    return out


@dataclass(frozen=True)
class Judges:
    """Places of the judges' weights; None: not measured. parser_order: of the parser's labels."""

    inception: Path | None = None
    clip: Path | None = None
    cmmd: Path | None = None
    parser: Path | None = None
    parser_order: str = "celebamask"
    vqa: Path | None = None


def paintings(folder: Path) -> Iterator[np.ndarray]:
    """The paintings of a folder, in order, one at a time."""
    for file in sorted((folder / "pictures").glob("*.png")):
        yield read_picture(file)


def real_pictures(folder: Path, split: str, limit: int | None = None) -> Iterator[np.ndarray]:
    """The pictures of a split of a built set, one at a time."""
    for row in islice(iterate(folder, split, ["image"]), limit):
        yield read_picture(row["image"]["bytes"])


def measure(
    painted: Path,
    real: Callable[[], Iterator[np.ndarray]],
    judges: Judges,
    masks: bool,
    seed: int,
    progress: ProgressCallback,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Figures by the names the papers use, and what they were measured with. masks: whether paintings follow maps."""
    figures: dict[str, float] = {}
    used: dict[str, Any] = {"paintings": sum(1 for _ in (painted / "pictures").glob("*.png"))}
    if judges.inception is not None:
        network = Inception.load(judges.inception)
        ours, theirs = (inception_features(source, network) for source in (paintings(painted), real()))
        mean, deviation = kid(ours, theirs, seed=seed)
        figures |= {"FID": frechet_distance(ours, theirs), "KID×1000": 1000 * mean}
        used |= {"features": PROTOCOL, "real": len(theirs), "kid_deviation_times_1000": 1000 * deviation}
    if judges.cmmd is not None:
        embedder = ClipEmbedder.load(judges.cmmd)
        figures["CMMD"] = cmmd(embedder.embed(paintings(painted)), embedder.embed(real()))
        used["cmmd"] = judges.cmmd.name
    if judges.clip is not None:
        from limner.evaluation.clip_score import ClipScorer

        scores = ClipScorer.load(judges.clip).score(read_pairs(painted / PAIRS), progress)
        figures["CLIP"] = float(np.mean(scores))
        used["clip"] = judges.clip.name
    if judges.parser is not None and masks:
        parser = ExternalParser(judges.parser, judges.parser_order)
        figures |= mask_figures(_agreement(painted, parser))
        used["parser"] = f"{parser.name}, labels as {judges.parser_order}"
    if judges.vqa is not None:
        from limner.evaluation.vqascore import load_vqa_model, vqa_scores

        found = vqa_scores(load_vqa_model(judges.vqa), read_pairs(painted / PAIRS), progress)
        figures["VQAscore-CF5"] = float(np.mean(found))
        used["vqa"] = judges.vqa.name
    return figures, used


def _agreement(painted: Path, parser: ExternalParser) -> np.ndarray:
    """Pixel counts (19, 19) of the maps that were given against the paintings parsed again, at the map's side."""
    counts = np.zeros((19, 19), np.int64)
    for file in sorted((painted / "pictures").glob("*.png")):
        given = read_region_map((painted / "regions" / file.name).read_bytes())
        picture = read_picture(file)
        if picture.shape[:2] != given.shape:
            picture = resize(picture, given.shape[::-1])
        counts += confusion(parser.parse(picture), given)
    return counts


def table(measured: dict[str, dict[str, float]], published: dict[str, dict[str, float]]) -> list[list[str]]:
    """Rows of the printed table: a header, then ours, then the published ones; a column a metric."""
    metrics = list(dict.fromkeys(name for row in (*measured.values(), *published.values()) for name in row))
    named = [*measured.items(), *((f"{name} (published)", row) for name, row in published.items())]
    return [
        ["", *metrics],
        *([name, *(f"{row[m]:.5g}" if m in row else "–" for m in metrics)] for name, row in named),
    ]
