"""How well the region parser labels photographs it has never seen."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from limner.faces.data_folders import data_root
from limner.faces.parse import RegionParser
from limner.faces.parse_data import read_pair
from limner.faces.parse_task import confusion, figures, reduce, split_pairs
from limner.faces.regions import colourise

BATCH = 8


def evaluate_parser(pairs: str = "celebamask", source: str = "face-parser", test: int = 350) -> dict[str, Any]:
    """Pixel accuracy and F1 per class at 256 px over the last `test` labelled pairs by name, from pooled counts.

    pairs: folder relative to LIMNER_DATA. Also the time for one crop, warm, in seconds (median).
    """
    parser = RegionParser.load(source)
    held_out = split_pairs(data_root() / pairs, 0, test)["test"]
    counts, seconds = np.zeros((19, 19), np.int64), []
    for start in range(0, len(held_out), BATCH):
        labelled = [reduce(*read_pair(*pair)) for pair in held_out[start : start + BATCH]]
        began = time.perf_counter()
        predicted = parser.parse(np.stack([picture for picture, _ in labelled])).ids
        seconds.append((time.perf_counter() - began) / len(labelled))
        for ids, (_, truth) in zip(predicted, labelled, strict=True):
            counts += confusion(ids, truth)
    return {"pairs": len(held_out), **figures(counts), "seconds_per_crop": float(np.median(seconds))}


def parser_sheet(pairs: str = "celebamask", source: str = "face-parser", test: int = 350, shown: int = 8) -> np.ndarray:
    """Photograph, truth and prediction of the first unseen pairs, one below the other: uint8 RGB."""
    parser = RegionParser.load(source)
    held_out = split_pairs(data_root() / pairs, 0, test)["test"][:shown]
    labelled = [reduce(*read_pair(*pair)) for pair in held_out]
    predicted = parser.parse(np.stack([picture for picture, _ in labelled])).ids
    rows = [
        np.concatenate([picture for picture, _ in labelled], 1),
        np.concatenate([colourise(truth) for _, truth in labelled], 1),
        np.concatenate([colourise(ids) for ids in predicted], 1),
    ]
    return np.concatenate(rows, 0)
