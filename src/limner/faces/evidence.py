"""Everything known about an aligned face before attributes are read off it, and the few ways in which they are read.

All of it lives in the aligned 256 x 256 picture: points in its pixels, areas as boolean maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import erf, sqrt

import numpy as np

from limner.faces.colour import to_lab
from limner.faces.motion import HeadPose, in_head_axes
from limner.faces.record import Attribute
from limner.faces.regions import Region
from limner.faces.topology import Topology

SIZE = 256


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One aligned face.

    picture: (256, 256, 3) uint8. inside: (256, 256) bool, where the photo is (not its continued border). regions: (256,
    256) uint8. mesh: (468, 3). irises: (2, 5, 2). pose: of the head in the aligned picture, so roll is near 0;
    photo_roll: degrees in the photo. gaze: (2,) degrees. expression: name to 0..1. emotion: (7,) probabilities. age,
    age_spread: years. woman: probability. light: (27,). scores: name to probability, from the trained heads.
    enlarged: how many times the photo's pixels were enlarged (below 1: it was shrunk).
    """

    picture: np.ndarray
    inside: np.ndarray
    regions: np.ndarray
    mesh: np.ndarray
    irises: np.ndarray
    pose: HeadPose
    photo_roll: float
    gaze: np.ndarray
    expression: Mapping[str, float]
    emotion: np.ndarray
    age: float
    age_spread: float
    woman: float
    light: np.ndarray
    scores: Mapping[str, Mapping[str, float]]
    enlarged: float
    topology: Topology

    @cached_property
    def lab(self) -> np.ndarray:
        """The picture in CIELAB, (256, 256, 3) float32."""
        return to_lab(self.picture)

    @cached_property
    def head(self) -> np.ndarray:
        """The mesh seen from the front, (468, 3) centimetres."""
        return in_head_axes(self.mesh.astype(np.float64), self.pose)

    @property
    def frontal(self) -> bool:
        """Whether shapes can be measured: the head is turned by less than 25 degrees either way."""
        return abs(self.pose.yaw) < 25 and abs(self.pose.pitch) < 25

    def area(self, *regions: Region) -> np.ndarray:
        """Where the photo shows these regions, (256, 256) bool."""
        return np.isin(self.regions, regions) & self.inside

    def share(self, *regions: Region) -> float:
        """Share of the aligned picture that these regions cover."""
        return float(self.area(*regions).mean())

    def colours(self, area: np.ndarray) -> np.ndarray:
        """CIELAB of the pixels of an area, (N, 3)."""
        return self.lab[area]

    def patch(self, point: int, radius: float, *regions: Region) -> np.ndarray:
        """CIELAB (N, 3) of the disc around a mesh point, only where these regions are (all, when none is named)."""
        x, y = self.mesh[point, :2]
        rows, columns = np.ogrid[:SIZE, :SIZE]
        disc = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2
        disc &= self.area(*regions) if regions else self.inside
        return self.lab[disc]

    @property
    def hidden_eyes(self) -> bool:
        """Whether dark glasses hide the eyes."""
        return self.scores["eyewear"]["sunglasses"] > 0.5

    @cached_property
    def skin(self) -> np.ndarray | None:
        """Median CIELAB (3,) of the cheeks and the forehead; None when too little skin shows."""
        patches = [self.patch(point, 9, Region.SKIN, Region.NOSE) for point in (50, 280, 205, 425, 151, 9, 4)]
        pixels = np.concatenate(patches)
        return np.median(pixels, 0) if len(pixels) >= 80 else None


def eroded(area: np.ndarray, steps: int) -> np.ndarray:
    """The area without its rim of `steps` pixels."""
    for _ in range(steps):
        inner = area.copy()
        inner[1:] &= area[:-1]
        inner[:-1] &= area[1:]
        inner[:, 1:] &= area[:, :-1]
        inner[:, :-1] &= area[:, 1:]
        inner[0] = inner[-1] = False
        inner[:, 0] = inner[:, -1] = False
        area = inner
    return area


def graded(value: float, borders: tuple[float, ...], names: tuple[str, ...], noise: float, by: str) -> Attribute:
    """The grade a measurement falls into. Confidence is the probability of that grade if the measurement has Gaussian
    noise of this standard deviation. borders: ascending, one fewer than names."""
    edges = (-np.inf, *borders, np.inf)
    grade = int(np.searchsorted(borders, value))

    def below(edge: float) -> float:
        return 0.5 * (1 + erf((edge - value) / (noise * sqrt(2)))) if np.isfinite(edge) else float(edge > 0)

    return Attribute(names[grade], below(edges[grade + 1]) - below(edges[grade]), by)


def yes_or_no(value: float, border: float, noise: float, by: str) -> Attribute:
    """Whether a measurement exceeds a border; confidence as in `graded`."""
    probability = 0.5 * (1 + erf((value - border) / (noise * sqrt(2))))
    return Attribute(value > border, max(probability, 1 - probability), by)
