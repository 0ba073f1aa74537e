"""Synthetic faces whose looks are spread evenly: the generator's own faces, moved along directions.

Most faces of the generator are of young people, one in nine wears glasses and one in ten has a beard, since the
photographs it learned from are so. A painter that saw so few of the others hardly follows a prompt that asks for one.
Face i is the plain face i, the same person, with these steps: a function of i alone.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from limner.data.directions import Directions
from limner.data.synthetic import FaceGenerator

AGES = (18.0, 85.0)
"""Years wished for, evenly; nobody is made younger than they are."""
OLDEST = 3.5
"""Standard deviations that a face is aged at most."""
GLASSES, BEARD = 0.35, 0.4
"""How likely a face, and a man's face, is given them."""
STRENGTH = {"glasses": (2.0, 3.0), "beard": (1.5, 3.0)}
"""Standard deviations. Our choice, by eye: below them nothing grows, above them hats and sunglasses do."""


class BalancedGenerator(FaceGenerator):
    """A generator whose face i is the plain face i, aged, and with glasses and a beard more often."""

    varied = True

    @cached_property
    def directions(self) -> Directions:
        """The shipped directions."""
        return Directions.load()

    def w_of(self, index: int) -> np.ndarray:
        """The moved w (512,) float32 of face `index` ≥ 0."""
        w = super().w_of(index)
        steps = draw_steps(self.directions, w, np.random.default_rng([index, 83]))
        return self.directions.move(w, steps)[0]  # these directions act on all layers alike


def draw_steps(directions: Directions, w: np.ndarray, random: np.random.Generator) -> dict[str, float]:
    """Direction → steps in its standard deviations for the face of w (512,)."""
    expected = dict(zip(directions.names, directions.expect(w).tolist(), strict=True))
    spread = dict(zip(directions.names, directions.spreads.tolist(), strict=True))
    steps = {"age": float(np.clip((random.uniform(*AGES) - expected["age"]) / spread["age"], 0, OLDEST))}
    chances = {"glasses": GLASSES, "beard": BEARD if expected["woman"] < 0.5 else 0.0}
    for name, chance in chances.items():
        drawn, strength = random.random(), float(random.uniform(*STRENGTH[name]))
        if drawn < chance:
            steps[name] = strength
    return steps
