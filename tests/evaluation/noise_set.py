"""Built sets whose pictures are noise: for suites that only have to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.shards import DATA, FIELDS, MANIFEST, write_shard
from limner.faces.picture import encode_jpeg, encode_png


def write_noise_set(folder: Path, splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> Path:
    """A built set with these rows in each split; each row needs its ``id``, and says what else it holds."""
    (folder / DATA).mkdir(parents=True)
    (folder / MANIFEST).write_text("{}")
    for seed, (split, given) in enumerate(splits.items()):
        noise = np.random.default_rng(seed).integers(0, 256, (len(given), 256, 256, 3), dtype=np.uint8)
        rows = []
        for picture, fields in zip(noise, given, strict=True):
            row = dict.fromkeys(name for name, _ in FIELDS)
            row |= {"split": split, "image": {"bytes": encode_jpeg(picture, 95), "path": ""}}
            row |= {"regions": {"bytes": encode_png(np.zeros((256, 256), np.uint8)), "path": ""}}
            rows.append({**row, **fields})
        write_shard(folder / DATA / f"{split}-00000.parquet", rows, {})
    return folder
