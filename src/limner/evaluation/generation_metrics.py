"""How well a painter follows masks and words, and whether what it paints looks like faces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from limner.evaluation.prompt_alignment import aligned_attributes, draw_prompt
from limner.faces.data_folders import data_root
from limner.faces.parse import RegionParser
from limner.faces.parse_data import read_pair
from limner.faces.parse_task import confusion, figures, reduce, split_pairs
from limner.faces.reader import FaceReader
from limner.faces.regions import colourise
from limner.models.mditface.engine import MDiTFace
from limner.models.unif2ace.engine import UniF2ace
from limner.progress import ProgressCallback
from limner.words.captions import compose_prompts


def follow_masks(
    painter: MDiTFace, pairs: str, count: int, words: bool, steps: int, seed: int, progress: ProgressCallback
) -> tuple[dict[str, Any], np.ndarray]:
    """Repaint hand-drawn maps of unseen photographs and parse the paintings.

    pairs: folder of labelled faces relative to LIMNER_DATA; its last `count` pairs by name. words: also give a caption
    written from the photograph's measured attributes. Returns pixel accuracy and F1 from pooled counts, and a sheet.
    The parser that judges also drew the maps the painter was trained on; the maps judged here were drawn by hand.
    """
    parser, reader = RegionParser.load(), FaceReader.load() if words else None
    held_out = split_pairs(data_root() / pairs, 0, 350)["test"][:count]
    counts, columns = np.zeros((19, 19), np.int64), []
    for index, pair in enumerate(held_out):
        photo, regions = reduce(*read_pair(*pair))
        text = None
        if reader is not None:
            face = reader.read_crops(photo[None])[0]
            attributes = {} if face is None else face.attributes
            text = compose_prompts(attributes, np.random.default_rng([seed, index]), 3)[2].text if attributes else None
        painted = np.asarray(painter.paint(text, regions, steps=steps, seed=seed + index)[0].image)
        predicted = parser.parse(painted[None]).ids[0]
        counts += confusion(predicted, regions)
        if len(columns) < 8:
            columns.append(np.concatenate([photo, colourise(regions), painted, colourise(predicted)], 0))
        progress(index + 1, len(held_out))
    return {"maps": len(held_out), "words": words, **figures(counts)}, np.concatenate(columns, 1)


def follow_words(
    painter: MDiTFace | UniF2ace,
    count: int,
    seed: int,
    settings: dict[str, Any],
    progress: ProgressCallback,
    keep: Callable[[str, np.ndarray], None] | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Prompt alignment: generate from prompts with known targets, without a mask, and measure the targets.

    settings: of ``painter.paint``. keep: called with every prompt and its painting. Returns the share of
    matching attributes, in total and by attribute and class, and every prompt with its result.
    """
    reader = FaceReader.load()
    verdicts: dict[str, list[bool]] = defaultdict(list)
    log = []
    for index in range(count):
        text, stated = draw_prompt(seed + index)
        painted = np.asarray(painter.paint(text, seed=seed + index, **settings)[0].image)
        found = aligned_attributes(stated, reader.read_crops(painted[None])[0])
        for name, ok in found.items():
            verdicts["all"].append(ok)
            verdicts[name].append(ok)
            verdicts[f"{name}: {stated[name]}"].append(ok)
        log.append({"prompt": text, "wishes": stated, "alignment": found})
        if keep is not None:
            keep(text, painted)
        progress(index + 1, count)
    shares = {name: float(np.mean(verdicts[name])) for name in sorted(verdicts)}
    return {"prompts": count, "wishes": len(verdicts["all"]), "alignment": shares}, log


def sample_sheet(painter: MDiTFace, count: int, steps: int, seed: int, progress: ProgressCallback) -> np.ndarray:
    """Uncurated pictures of drawn prompts, seeds one after the other, in rows of eight: uint8 RGB."""
    painted = []
    for index in range(count):
        text, _ = draw_prompt(seed + index)
        painted.append(np.asarray(painter.paint(text, steps=steps, seed=seed + index)[0].image))
        progress(index + 1, count)
    rows = [np.concatenate(painted[i : i + 8], 1) for i in range(0, count - count % 8, 8)]
    return np.concatenate(rows, 0)
