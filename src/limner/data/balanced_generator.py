"""Synthetic faces whose looks are spread evenly: chosen among many draws of the generator, and moved where that is not
enough.

Most faces of the generator are of young white people, one in nine wears glasses and one in ten has a beard, since the
photographs it learned from are so. A painter that saw so few of the others hardly follows a prompt that asks for one.
So each face has target looks, drawn from distributions that people's words need. Of CANDIDATES draws of the generator
the one is taken that linear probes expect to be nearest to them, and what is still missing of age, glasses and a beard
is added by a step along the embedded directions. Face i is a function of i alone.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from limner.codecs.truncation import PSI
from limner.data.directions import Directions
from limner.data.look_probes import LookProbes
from limner.data.synthetic import WIDTH, FaceGenerator

CANDIDATES = 160
"""Draws of w that a face is chosen from. Our choice: more give little more, and each costs a tenth of a millisecond."""
TONES = 6
"""Skin tones, darkest to lightest, equally frequent targets; in standard deviations from −2.2 to 1.2."""
AGES = ((18.0, 40.0), (40.0, 82.0))
"""Target ages in years: half of the faces get one from each range. Nobody is made younger than they are."""
CHILDREN = 1 / 12
"""Share of faces that are taken as they come, children among them."""
OLDEST = 3.5
"""Standard deviations that a face is aged at most."""
STRENGTH = {"glasses": (2.0, 3.0), "beard": (1.5, 3.0)}
"""Standard deviations. Our choice, by eye: below them nothing grows, above them hats and sunglasses do."""

# Look → how many of the faces have it as a target. Of the hair colours one is drawn.
HAIR = {"black_hair": 0.22, "brown_hair": 0.22, "blond_hair": 0.22, "red_hair": 0.12, "grey_hair": 0.12, "bald": 0.10}
OTHER = {"glasses": 0.25, "sunglasses": 0.07, "hat": 0.12, "bangs": 0.15, "earrings": 0.15}
WOMAN = {"lipstick": 0.25}
MAN = {"beard": 0.45, "moustache": 0.12}
SOUGHT = 2.0
"""Standard deviations above the mean that count as having a look."""
WEIGHT = {"skin": 3.0, "woman": 1.5}
"""How much more some looks count in the choice; those not named: 1."""


class BalancedGenerator(FaceGenerator):
    """A generator whose face i is chosen, and moved, so that all looks are frequent."""

    varied = True

    @cached_property
    def directions(self) -> Directions:
        """The shipped directions."""
        return Directions.load()

    @cached_property
    def probes(self) -> LookProbes:
        """The shipped probes."""
        return LookProbes.load()

    def w_of(self, index: int) -> np.ndarray:
        """The w (512,) float32 of face `index` ≥ 0."""
        random = np.random.default_rng([index, 83])
        targets, years = sample_targets(random), None
        if random.random() > CHILDREN:
            years = float(random.uniform(*AGES[random.integers(len(AGES))]))
            targets["age"] = self.probes.standardise("age", years)
        w = self._choose(targets, random)
        steps = draw_steps(self.directions, w, targets, years, random)
        return self.directions.move(w, steps)[0]  # these directions act on all layers alike

    def _choose(self, targets: dict[str, float], random: np.random.Generator) -> np.ndarray:
        """Of CANDIDATES styles the one whose expected looks are nearest to the targets."""
        psi = random.uniform(*PSI, (CANDIDATES, 1))
        w = self.map_all(random.standard_normal((CANDIDATES, WIDTH)))
        w = (self.mean + psi * (w - self.mean)).astype(np.float32)
        columns = [self.probes.names.index(name) for name in targets]
        expected = self.probes.score(w)[:, columns]
        # A probe that explains little is listened to little; looks that one has or has not may be exceeded.
        missing = np.array(list(targets.values())) - expected
        missing[:, [name in _AT_LEAST for name in targets]] = missing[:, [name in _AT_LEAST for name in targets]].clip(
            0
        )
        weight = self.probes.r2[columns].clip(0.05) * [WEIGHT.get(name, 1.0) for name in targets]
        return w[int((missing**2 * weight).sum(1).argmin())]


_AT_LEAST = frozenset((*HAIR, *OTHER, *WOMAN, *MAN))


def sample_targets(random: np.random.Generator) -> dict[str, float]:
    """Target looks of one face, but for its age, in standard deviations of the probes."""
    woman = random.random() < 0.5
    targets = {"woman": 1.0 if woman else -1.0, "skin": float(np.linspace(-2.2, 1.2, TONES)[random.integers(TONES)])}
    targets["smile"] = float(random.choice([-1.2, 0.0, 1.0]))
    targets["background"] = float(random.uniform(-1.5, 1.5))
    names, chances = list(HAIR), np.array(list(HAIR.values()))
    hair = str(random.choice(names, p=chances / chances.sum()))
    if woman and hair == "bald":
        hair = "brown_hair"
    targets[hair] = SOUGHT
    if hair != "bald":
        targets["hair_length"] = float(random.uniform(-1.2, 1.2))
    for name, chance in {**OTHER, **(WOMAN if woman else MAN)}.items():
        if random.random() < chance:
            targets[name] = SOUGHT
    if "sunglasses" in targets:
        targets.pop("glasses", None)
    return targets


def draw_steps(
    directions: Directions, w: np.ndarray, targets: dict[str, float], years: float | None, random: np.random.Generator
) -> dict[str, float]:
    """Direction → steps in its standard deviations for the face of w (512,): what it still lacks of its targets."""
    expected = dict(zip(directions.names, directions.expect(w).tolist(), strict=True))
    steps: dict[str, float] = {}
    if years is not None:
        spread = float(directions.spreads[directions.index("age")])
        steps["age"] = float(np.clip((years - expected["age"]) / spread, 0, OLDEST))
    for name, bounds in STRENGTH.items():
        strength = float(random.uniform(*bounds))
        if name in targets and expected[name] < 0.5:
            steps[name] = strength
    return steps
