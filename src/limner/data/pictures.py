"""A record's picture and regions at the side a model is trained at: made smaller, never larger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.faces.geometry import resize
from limner.faces.picture import read_picture, read_region_map


def fit(row: Mapping[str, Any], size: int, regions: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The picture (size, size, 3) and region map (size, size) of a row; an empty map where none is wanted.

    Raises InputError for a picture that is smaller: enlarged, it would teach blur.
    """
    picture = read_picture(row["image"]["bytes"])
    side = picture.shape[0]
    if side < size:
        raise InputError(
            f"pictures of {side} pixels are not enlarged to {size}: build the set with --size {size}, or prepare with "
            f"--size {side}"
        )
    ids = read_region_map(row["regions"]["bytes"]) if regions else np.empty((0, 0), np.uint8)
    if side != size:
        picture = resize(picture, (size, size))
    if regions and ids.shape[0] != size:
        places = ((np.arange(size) + 0.5) * ids.shape[0] / size).astype(int)
        ids = ids[places][:, places]
    return picture, ids
