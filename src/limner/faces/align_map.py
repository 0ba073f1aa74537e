"""A region map of a whole photo, brought into the alignment that faces are painted in.

`limner read --regions` writes maps at the photo's size. Painting wants the face where FFHQ's alignment puts it, and a
map holds enough to tell: where its eyes and the corners of its mouth are.
"""

from __future__ import annotations

import numpy as np

from limner.errors import InputError
from limner.faces.geometry import align_ffhq, transform_points, warp
from limner.faces.regions import Region

LIPS = (Region.MOUTH, Region.UPPER_LIP, Region.LOWER_LIP)
FEWEST = 4  # pixels of a region from which its place is worth something
# A square map whose corners would move less than this share of its side is taken as drawn.
ALIGNED = 0.15
LARGEST = 2048  # pixels; what a map has beyond that no picture painted from it can show


def align_map(regions: np.ndarray, side: int) -> np.ndarray:
    """A region map (H, W) uint8 as an aligned map (side, side).

    A square map whose face lies about where alignment would put it is only resized, as is one without eyes or mouth;
    any other is turned, scaled and cut by its eyes and mouth; what lies beyond the map is background. Of a map with
    a side over LARGEST only every second, third, … pixel is looked at, so that memory stays small. Raises InputError
    for a map that is not square and shows no eyes and mouth to align it by.
    """
    given, stride = regions.shape, -(-max(regions.shape) // LARGEST)
    regions = regions[stride // 2 :: stride, stride // 2 :: stride]
    height, width = regions.shape
    plain = np.array([[side / width, 0, 0], [0, side / height, 0]], np.float64)
    points = _five_points(regions)
    if points is None:
        if height != width:
            raise InputError(
                f"the mask is {given[1]} x {given[0]} and shows no eyes and mouth to align it by: give a square map, "
                "or the photo itself with --like"
            )
        return _resized(regions, side)
    aligned = align_ffhq(points, side)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    moved = np.linalg.norm(transform_points(corners, aligned) - transform_points(corners, plain), axis=1)
    if height == width and moved.mean() < ALIGNED * side:
        return _resized(regions, side)
    return warp(regions, aligned, side, nearest=True, border=0)


def _resized(regions: np.ndarray, side: int) -> np.ndarray:
    """A square map at another size, labels unmixed."""
    places = ((np.arange(side) + 0.5) * regions.shape[0] / side).astype(int)
    return np.ascontiguousarray(regions[places][:, places])


def _five_points(regions: np.ndarray) -> np.ndarray | None:
    """Right eye, left eye, a nose that does not count, right and left mouth corner: (5, 2) pixels; None if not there.

    An eye is its region's middle; a mouth's corners are its pixels farthest along the line of the eyes.
    """
    right, left = _middle(regions, Region.RIGHT_EYE), _middle(regions, Region.LEFT_EYE)
    rows, columns = np.nonzero(np.isin(regions, LIPS))
    if right is None or left is None or len(rows) < FEWEST or np.allclose(right, left):
        return None
    mouth = np.stack([columns, rows], 1).astype(np.float64)
    along = mouth @ (left - right)
    corners = mouth[along.argmin()], mouth[along.argmax()]
    return np.stack([right, left, (right + left) / 2, *corners])


def _middle(regions: np.ndarray, region: Region) -> np.ndarray | None:
    rows, columns = np.nonzero(regions == region)
    return np.array([columns.mean(), rows.mean()]) if len(rows) >= FEWEST else None
