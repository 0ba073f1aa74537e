"""The watermark's pattern: plane waves with drawn phases, periodic over the picture.

Coordinates are relative to the picture: four tiles stand along its shorter side, whatever its size, and the pattern is
the same in each. So resizing leaves it as it is, cropping moves it and makes its tiles larger than expected, and a part
of a picture still holds whole tiles.

    m(y, x) = Σ_k cos(2π(k_y·y + k_x·x) + φ_k)        y, x in tiles; k = (k_y, k_x) whole waves per tile

Half of the waves always have the phases φ: they say that the mark is there. Each bit of the message turns the sign of
its share of the other half. Our choice; the idea, spread spectrum, is Cox et al. 1997.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

TILES = 4  # along the shorter side
LOWEST, HIGHEST = 4, 20  # waves per tile: below, faces themselves are strong; above, JPEG forgets
BITS = 16  # of a message
KEY = b"limner watermark 1"  # names the version; no secret, since the source is open


@dataclass(frozen=True)
class Pattern:
    """The waves, indexed alike in every field."""

    waves: np.ndarray  # (K, 2) int: rows, columns per tile; one of each pair k, -k
    phases: np.ndarray  # (K,) radians
    bit: np.ndarray  # (K,) int: the bit of the message that turns this wave; -1 for none

    @property
    def radius(self) -> np.ndarray:
        """|k| of each wave, in waves per tile. (K,)"""
        return np.hypot(self.waves[:, 0], self.waves[:, 1])


def pattern() -> Pattern:
    """The one pattern of this version, drawn from a hash: no library's random numbers can change it."""
    rows, columns = np.mgrid[-HIGHEST : HIGHEST + 1, 0 : HIGHEST + 1].reshape(2, -1)
    radius = np.hypot(rows, columns)
    kept = (radius >= LOWEST) & (radius <= HIGHEST) & ((columns > 0) | (rows > 0))
    waves = np.stack([rows[kept], columns[kept]], 1)  # (K, 2)
    drawn = np.frombuffer(hashlib.shake_256(KEY).digest(8 * len(waves)), "<u4").reshape(2, -1)
    carriers = np.argsort(drawn[1], kind="stable")[: len(waves) // 2]
    bit = np.full(len(waves), -1)
    bit[carriers] = np.arange(len(carriers)) % BITS
    return Pattern(waves, drawn[0] * (2 * np.pi / 2**32), bit)


def row_waves(height: int, tile: float) -> np.ndarray:
    """exp(2πi·k_y·y) at the middles of `height` rows of pixels, for k_y from -HIGHEST to HIGHEST. (height, 41)"""
    powers = _powers(height, tile)
    return np.concatenate([powers[:, :0:-1].conj(), powers], axis=1)


def column_waves(width: int, tile: float) -> np.ndarray:
    """exp(2πi·k_x·x) at the middles of `width` columns of pixels, for k_x from 0 to HIGHEST. (width, 21)"""
    return _powers(width, tile)


def local_mean(values: np.ndarray, radius: int) -> np.ndarray:
    """Mean over the square of 2·radius + 1 pixels around each, the picture mirrored at its borders. (H, W) float64"""
    side = 2 * radius + 1
    for _ in range(2):  # along the rows, then along the columns; each pass transposes
        padded = np.pad(values, ((radius + 1, radius), (0, 0)), mode="symmetric")
        sums = np.cumsum(padded, axis=0, dtype=np.float64)
        values = ((sums[side:] - sums[:-side]) / side).T
    return values


def _powers(count: int, tile: float) -> np.ndarray:
    """exp(2πi·x)^k for k from 0 to HIGHEST, by multiplying: ten times as fast as an exponential each. (count, 21)"""
    powers = np.ones((count, HIGHEST + 1), complex)
    powers[:, 1:] = np.exp(2j * np.pi * (np.arange(count) + 0.5) / tile)[:, None]
    return np.multiply.accumulate(powers, axis=1)
