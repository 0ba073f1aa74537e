"""Finding the watermark again, without the unmarked picture.

1. Even out: subtract the local mean and divide by the local spread, so no part of the picture speaks loudest.
2. For each way the picture may have been cut or stretched, take its Fourier coefficients F_k at the pattern's waves:
   two small matrix products. Keep their phases only.
3. Turn them back by the pattern's own phases. If the mark is there, what is left is the phase of one shift, the same
   for all waves; an inverse transform tries 64 x 64 shifts at once:

       z(shift) = √(2/K) Σ_k Re[ F_k/|F_k| · exp(-iφ_k) · exp(2πi k·shift) ]

   On any unmarked picture each term is a cosine of a phase that the pattern drew at random, so z is standard normal
   whatever the picture shows, and the chance of the best of N tries to reach z is at most N·Q(z).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from limner.faces.geometry import resize
from limner.provenance.pattern import BITS, HIGHEST, TILES, Pattern, column_waves, local_mean, pattern, row_waves
from limner.provenance.watermark import LUMA

CHANCE = 1e-4  # a find is what unmarked pictures give more rarely than this; ten times stricter than promised
WORKING_SIDE = 256  # pixels; larger pictures are made smaller first
SHIFTS = 64  # per tile and axis
SURE = 11.0  # score at which no other size is tried any more; misses of it cost time only
CLEAR = 2.0  # standard deviations of an unmarked picture's vote, from which a bit counts
FEWEST = 60  # waves, below which a picture is too small to say anything

# Size of a tile against what an uncut picture would have, per axis (rows, columns). Even cuts down to one half of the
# shorter side (a picture out of a sheet of four, too); uneven ones up to 8 % (cut at the edges, then made square).
EVEN = tuple((size, size) for size in np.exp(np.arange(-0.02, 0.74, 0.009)).tolist())
_SLIGHT = np.exp(np.arange(0.0, 0.095, 0.0125)).tolist()
LIKELIEST = 14  # the first of EVEN: cut by up to 10 %
UNEVEN = tuple((rows, columns) for columns in _SLIGHT for rows in _SLIGHT if rows != columns)


@dataclass(frozen=True)
class Found:
    """What the detector says about a picture."""

    found: bool
    score: float
    """z of the best try; standard deviations."""
    chance: float
    """At most this share of unmarked pictures scores as high."""
    message: int | None
    """The bits that came with the mark; None if it is not there."""
    mirrored: bool
    clear: int = 0
    """1 for each bit of the message that was read clearly; a faint mark leaves some open."""

    def says(self, bits: int, count: int, shift: int = 0) -> bool | None:
        """Are these the ``count`` bits from ``shift`` on, as far as they are clear? None if less than half are."""
        clear = self.clear >> shift & (2**count - 1)
        if self.message is None or 2 * clear.bit_count() < count:
            return None
        return (self.message >> shift ^ bits) & clear == 0


@dataclass(frozen=True)
class _Try:
    score: float
    sizes: tuple[float, float]
    mirrored: bool
    shift: tuple[float, float]  # in tiles
    turned: np.ndarray  # (K,) complex: unit phases, turned back by the pattern's


def detect(picture: np.ndarray) -> Found:
    """Look for the mark in a picture (H, W, 3) uint8 of any size.

    It survives resizing, cuts, JPEG, brightness and mirroring, in any mixture within reason; not rotation.
    """
    field = _evened(picture)
    waves = pattern()
    tries = [(sizes, mirrored) for mirrored in (False, True) for sizes in EVEN]
    tries += [(sizes, False) for sizes in UNEVEN]
    best = max(_search(field, waves, tries[:LIKELIEST]), key=lambda one: one.score, default=None)
    if best is None:
        return Found(False, 0.0, 1.0, None, False)
    if best.score < SURE:
        best = max([best, *_search(field, waves, tries[LIKELIEST:])], key=lambda one: one.score)
    chance = min(1.0, len(tries) * SHIFTS**2 * math.erfc(best.score / math.sqrt(2)) / 2)
    if chance > CHANCE:
        return Found(False, best.score, chance, None, False)
    around = [
        ((best.sizes[0] * rows, best.sizes[1] * columns), best.mirrored)
        for rows in (0.995, 1.0, 1.005)
        for columns in (0.995, 1.0, 1.005)
    ]
    nearest = max(_search(field, waves, around, 2 * SHIFTS), key=lambda one: one.score)
    message, clear = _message(waves, nearest)
    return Found(True, best.score, chance, message, best.mirrored, clear)


def detect_any(pictures: Sequence[np.ndarray]) -> Found:
    """Look for one mark in several pictures that may bear it (frames of a film): the surest of what they say.

    The chance is that of so many pictures, so a find is no more often an error than in one.
    """
    best = max((detect(picture) for picture in pictures), key=lambda found: found.score)
    chance = min(1.0, len(pictures) * best.chance)
    return replace(best, chance=chance) if chance <= CHANCE else Found(False, best.score, chance, None, False)


def _evened(picture: np.ndarray) -> np.ndarray:
    """Brightness without its local mean, at local spread 1. (H, W) float32"""
    height, width = picture.shape[:2]
    shrink = WORKING_SIDE / min(height, width)
    if shrink < 1:
        picture = resize(picture, (round(width * shrink), round(height * shrink)))
    luma = picture @ LUMA
    radius = max(2, round(min(luma.shape) / 64))
    rest = luma - local_mean(luma, radius)
    # 2 grey levels: below that it is noise of rounding, which should not be blown up
    return (rest / (np.sqrt(local_mean(rest**2, radius)) + 2)).astype(np.float32)


def _search(
    field: np.ndarray, waves: Pattern, tries: list[tuple[tuple[float, float], bool]], shifts: int = SHIFTS
) -> Iterator[_Try]:
    """The best shift of each try; nothing where too few waves fit."""
    tile = min(field.shape) / TILES
    fixed, radius = waves.bit < 0, waves.radius
    rows, columns = waves.waves.T
    back = np.exp(-1j * waves.phases).astype(np.complex64)
    downs: dict[float, np.ndarray] = {}  # what tries have in common
    halves: dict[float, np.ndarray] = {}
    for (row_size, column_size), mirrored in tries:
        held = radius < 0.49 * tile * min(row_size, column_size)
        if (held & fixed).sum() < FEWEST:
            continue
        if column_size not in halves:
            across = column_waves(field.shape[1], tile * column_size).conj().astype(np.complex64)
            halves[column_size] = (field @ across.view(np.float32)).view(np.complex64)  # (H, 21)
        if row_size not in downs:
            downs[row_size] = row_waves(field.shape[0], tile * row_size).conj().astype(np.complex64).T
        spectrum = downs[row_size] @ halves[column_size]  # (41, 21)
        values = spectrum[HIGHEST - rows, columns].conj() if mirrored else spectrum[HIGHEST + rows, columns]
        turned = held * values / np.maximum(np.abs(values), 1e-12) * back  # (K,)
        grid = np.zeros((shifts, shifts // 2 + 1), np.complex64)
        grid[rows[fixed], columns[fixed]] = turned[fixed] * np.where(columns[fixed] == 0, 2, 1)
        scores = np.fft.irfft2(grid, (shifts, shifts)) * (shifts**2 / 2 / math.sqrt((held & fixed).sum() / 2))
        place = int(scores.argmax())
        shift = (place // shifts / shifts, place % shifts / shifts)
        yield _Try(float(scores.flat[place]), (row_size, column_size), mirrored, shift, turned)


def _message(waves: Pattern, best: _Try) -> tuple[int, int]:
    """Each bit by the vote of its waves, and which votes were clear."""
    votes = np.real(best.turned * np.exp(2j * np.pi * (waves.waves @ np.array(best.shift))))  # (K,)
    message = clear = 0
    for bit in range(BITS):
        of_bit = votes[waves.bit == bit]
        message |= int(of_bit.sum() < 0) << bit
        clear |= int(abs(of_bit.sum()) > CLEAR * math.sqrt(max(1, np.count_nonzero(of_bit)) / 2)) << bit
    return message, clear
