"""The attributes of a face: every analyser asked once, and held to the vocabulary."""

from __future__ import annotations

from limner.faces.accessories import worn
from limner.faces.actions import actions
from limner.faces.evidence import Evidence, graded
from limner.faces.features import features
from limner.faces.hair import hair
from limner.faces.occlusion import hidden_attributes
from limner.faces.record import Attribute
from limner.faces.surroundings import surroundings
from limner.faces.vocabulary import VOCABULARY

# Our choice: what is less sure than this is left out rather than guessed. A yes or no is a coin toss at 0.5.
LEAST_CONFIDENCE = 0.4
LEAST_CONFIDENCE_YES_NO = 0.6
AGE_BORDERS = (16, 36, 56)
"""Years up to which somebody is of the first, second and third of the age groups."""


def measure(face: Evidence) -> dict[str, Attribute]:
    """All attributes that can be measured on this face, in the vocabulary's order."""
    found = {**_person(face), **hair(face), **worn(face), **features(face), **actions(face), **surroundings(face)}
    for name, each in found.items():
        assert VOCABULARY[name].allows(each.value), f"{name}: {each.value!r} is not in the vocabulary"
    hidden = hidden_attributes(face)
    return {name: found[name] for name in VOCABULARY if name in found and name not in hidden and _sure(found[name])}


def age_group(years: float, spread: float, by: str) -> Attribute:
    """The group of an age known with this standard deviation."""
    groups = VOCABULARY["age_group"].values
    assert isinstance(groups, tuple)
    return graded(years, AGE_BORDERS, groups, spread, by)


def _sure(each: Attribute) -> bool:
    least = LEAST_CONFIDENCE_YES_NO if isinstance(each.value, bool) else LEAST_CONFIDENCE
    return each.confidence >= least


def _person(face: Evidence) -> dict[str, Attribute]:
    by = "age-gender network"
    spread = max(face.age_spread, 5.0)
    gender = Attribute("woman" if face.woman > 0.5 else "man", max(face.woman, 1 - face.woman), by)
    group = age_group(face.age, spread, by)
    return {
        "gender_presentation": gender,
        "age": Attribute(round(face.age, 1), max(0.0, 1 - spread / 25), by),
        "age_group": group,
    }
