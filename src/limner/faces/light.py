"""The light on a face: nine spherical harmonics a colour, fitted to its skin (Ramamoorthi and Hanrahan 2001; Basri
and Jacobs 2003).

A matte surface under distant light shows, at a point with the unit normal n, radiance sum_k c_k Y_k(n) with nine
Y_k. Skin is taken to have one colour, so the coefficients hold light times skin colour.
"""

from __future__ import annotations

import numpy as np

from limner.faces.regions import Region
from limner.faces.topology import Topology

SKIN = (Region.SKIN, Region.NOSE)
FACING = 0.2  # cosine of the steepest angle to the camera at which a point still counts
RIDGE = 0.02  # our choice: half of the sphere is never seen, and without it the unseen half would be made up
FEWEST = 40  # skin points; with fewer every facing point counts, whatever the region map says


def harmonics(normals: np.ndarray) -> np.ndarray:
    """Real spherical harmonics up to order 2 at unit normals (N, 3), without their constants. Returns (N, 9).

    The axes are x to the right of the picture, y up, z towards the camera; the order is 1, x, y, z, xy, yz, xz,
    x² - y², 3z² - 1.
    """
    x, y, z = normals[:, 0], -normals[:, 1], -normals[:, 2]  # from the picture's axes: y down, z away
    return np.stack([np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], 1)


def linear(colours: np.ndarray) -> np.ndarray:
    """sRGB 0..255 to linear light 0..1."""
    values = np.asarray(colours, np.float64) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def light_on(picture: np.ndarray, mesh: np.ndarray, regions: np.ndarray, topology: Topology) -> np.ndarray:
    """Coefficients (27,) float32: nine for red, nine for green, nine for blue, in linear light.

    picture: (H, W, 3) uint8. mesh: (468, 3) in its pixels. regions: (H, W) uint8, its region map.
    Mirroring the photo changes the sign of the coefficients of x, xy and xz.
    """
    height, width = regions.shape
    normals = topology.normals(np.asarray(mesh, np.float64))
    columns, rows = np.floor(mesh[:, 0]).astype(int), np.floor(mesh[:, 1]).astype(int)
    inside = (columns >= 1) & (columns < width - 1) & (rows >= 1) & (rows < height - 1)
    columns, rows = columns.clip(1, width - 2), rows.clip(1, height - 2)
    facing = inside & (normals[:, 2] < -FACING)
    chosen = facing & np.isin(regions[rows, columns], SKIN)
    if chosen.sum() < FEWEST:
        chosen = facing
    if not chosen.any():
        return np.zeros(27, np.float32)
    patch = np.mean([picture[rows + i, columns + j] for i in (-1, 0, 1) for j in (-1, 0, 1)], 0)  # (468, 3)
    basis = harmonics(normals[chosen])
    penalty = RIDGE * chosen.sum() * np.diag([0.0] + [1.0] * 8)
    fitted = np.linalg.solve(basis.T @ basis + penalty, basis.T @ linear(patch[chosen]))  # (9, 3)
    return fitted.T.ravel().astype(np.float32)


def light_direction(light: np.ndarray) -> np.ndarray:
    """Where the light comes from: first-order terms over the mean, (3,) to the right, upward, towards the camera."""
    grey = np.asarray(light, np.float64).reshape(3, 9).mean(0)
    return grey[1:4] / max(grey[0], 1e-6)
