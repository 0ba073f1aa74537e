"""From measured attributes to the facts that words may state: sure enough, and not at odds with one another.

Analysers measure one thing each, so now and then two disagree (a broad smile on a sad face). A text that states both
reads as false, so of each clashing pair the less certain one stays unsaid.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from limner.words.grammar import Referent, Value

if TYPE_CHECKING:
    import numpy as np

    from limner.faces.record import Attribute

LEAST_CONFIDENCE = 0.6  # our choice: below it the analysers are wrong too often for a sentence that sounds sure
_ADULT = 18.0

# Our choice: what people ask for when they have a face painted, before they come to brows and noses.
SALIENT = frozenset(
    ("gender_presentation", "age_group", "hair_colour", "smile", "glasses", "beard", "background_brightness", "hat")
)

_NEGATIVE_MOODS = {"sad", "angry", "fearful", "disgusted"}
_HAIRED = {"short", "medium", "long"}
_ANY = None  # any value

# Pairs that cannot both be said. Each side: attribute → the values concerned (None: any).
_CLASHES: tuple[tuple[str, Collection[Value] | None, str, Collection[Value] | None], ...] = (
    ("bald", {True}, "hair_length", _HAIRED),
    ("bald", {False}, "hair_length", {"bald"}),
    ("bald", {True}, "bangs", {True}),
    ("gender_presentation", {"woman"}, "bald", {True}),
    ("gender_presentation", {"woman"}, "hair_length", {"bald"}),
    ("age_group", {"child"}, "hair_length", {"bald"}),
    ("hair_length", {"bald"}, "bangs", {True}),
    ("bangs", {True}, "hairline", {"high"}),
    ("beard", {"none"}, "goatee", {True}),
    ("beard", {"full"}, "five_o_clock_shadow", {True}),
    ("beard", {"none"}, "five_o_clock_shadow", {True}),
    ("gender_presentation", {"woman"}, "beard", {"stubble", "full"}),
    ("gender_presentation", {"woman"}, "moustache", {True}),
    ("gender_presentation", {"woman"}, "goatee", {True}),
    ("gender_presentation", {"woman"}, "sideburns", {True}),
    ("gender_presentation", {"woman"}, "five_o_clock_shadow", {True}),
    ("gender_presentation", {"man"}, "lipstick", {True}),
    ("age_group", {"child"}, "beard", {"stubble", "full"}),
    ("age_group", {"child"}, "moustache", {True}),
    ("age_group", {"child"}, "goatee", {True}),
    ("age_group", {"child"}, "sideburns", {True}),
    ("age_group", {"child"}, "five_o_clock_shadow", {True}),
    ("age_group", {"child"}, "lipstick", {True}),
    ("age_group", {"child"}, "bald", {True}),
    ("glasses", {False}, "sunglasses", {True}),
    ("smile", {"none"}, "laugh", {True}),
    ("smile", {"none"}, "emotion", {"happy"}),
    ("smile", {"broad", "slight"}, "emotion", set(_NEGATIVE_MOODS)),
    ("smile", {"broad", "slight"}, "emotion", {"neutral"}),
    ("smile", {"broad"}, "frown", {True}),
    ("smile", {"broad", "slight"}, "pout", {True}),
    ("laugh", {True}, "emotion", {"neutral", *_NEGATIVE_MOODS}),
    ("laugh", {True}, "mouth_open", {False}),
    ("laugh", {True}, "pout", {True}),
    ("frown", {True}, "emotion", {"happy", "neutral", "surprised"}),
    ("frown", {True}, "brows_raised", {True}),
    ("pout", {True}, "mouth_open", {True}),
    ("mouth_open", {False}, "teeth_visible", {True}),
    ("mouth_open", {False}, "emotion", {"surprised"}),
    ("eyes", {"closed"}, "gaze", _ANY),
    ("eyes", {"closed"}, "eye_colour", _ANY),
    ("eyes", {"closed"}, "wink", {True}),
    ("eyes", {"narrowed"}, "eye_size", {"large"}),
    ("eye_size", {"large"}, "eye_shape", {"narrow"}),
    ("eye_shape", {"narrow"}, "eyes", {"narrowed"}),
    ("face_shape", {"round", "square"}, "jaw", {"narrow"}),
    ("face_shape", {"long", "heart"}, "jaw", {"wide"}),
    ("head_turn", {"profile left", "profile right"}, "gaze", {"at the camera"}),
    ("neck_visible", {False}, "necklace", {True}),
    ("ears_visible", {False}, "earrings", {True}),
    ("background_brightness", {"dark"}, "background_colour", {"white", "yellow", "pink"}),
    ("background_brightness", {"bright"}, "background_colour", {"black"}),
    ("lighting", {"dim"}, "background_brightness", {"bright"}),
)

# A fact (attribute, value) that makes others unsayable, whatever their confidence: what is covered or missing has no
# properties.
_HIDES: tuple[tuple[str, Value, tuple[str, ...]], ...] = (
    ("bald", True, ("hair_colour", "hair_texture", "hair_length", "hairline", "bangs")),
    ("hair_length", "bald", ("hair_colour", "hair_texture", "hairline", "bangs")),
    ("hat", True, ("hairline", "bald", "bangs")),
    (
        "sunglasses",
        True,
        ("glasses", "eyes", "eye_colour", "eye_size", "eye_shape", "eye_spacing", "eye_bags", "gaze", "wink"),
    ),
    ("eyes", "closed", ("gaze", "eye_colour", "eye_size", "eye_shape")),
    ("wink", True, ("eyes",)),
    (
        "picture_colour",
        "black and white",
        (
            "hair_colour",
            "brow_colour",
            "eye_colour",
            "lip_colour",
            "skin_tone",
            "rosy_cheeks",
            "clothing_colour",
            "background_colour",
        ),
    ),
    ("head_turn", "profile left", ("face_shape", "jaw", "eye_spacing", "nose_width", "ears_visible")),
    ("head_turn", "profile right", ("face_shape", "jaw", "eye_spacing", "nose_width", "ears_visible")),
)


def choose_facts(attributes: Mapping[str, Attribute], least: float = LEAST_CONFIDENCE) -> dict[str, Value]:
    """The facts that may be stated, attribute → value: confidence ≥ `least` (0..1), none at odds with a surer one."""
    sure = {
        name: found
        for name, found in attributes.items()
        if found.confidence >= least and not (isinstance(found.value, float) and not math.isfinite(found.value))
    }
    for first, these, second, those in _CLASHES:
        if first in sure and second in sure and _among(sure[first].value, these) and _among(sure[second].value, those):
            del sure[first if sure[first].confidence < sure[second].confidence else second]
    facts = {name: found.value for name, found in sure.items()}
    for name, value, hidden in _HIDES:
        if name in facts and facts[name] == value:
            for other in hidden:
                facts.pop(other, None)
    if facts.get("hat") and facts.get("hair_length") == "bald":
        del facts["hair_length"]  # who knows
    if facts.get("earrings") is False and facts.get("ears_visible") is not True:
        del facts["earrings"]  # hair may hide them
    return facts


def salient_facts(attributes: Mapping[str, Attribute]) -> dict[str, Value]:
    """The salient ones of the facts that may be stated."""
    return {name: value for name, value in choose_facts(attributes).items() if name in SALIENT}


def thin_facts(facts: Mapping[str, Value], rng: np.random.Generator, keep: float) -> dict[str, Value]:
    """The salient facts, and each of the others with probability `keep` (0..1)."""
    return {name: value for name, value in facts.items() if name in SALIENT or rng.random() < keep}


def _among(value: Value, values: Collection[Value] | None) -> bool:
    return values is None or value in values


def who(facts: Mapping[str, Value]) -> tuple[Referent, dict[str, Value]]:
    """The person the facts speak of, and the facts that the noun itself states.

    A child is a girl, a boy or a child; with the gender presentation unsure the pronoun is "they". An age that is not
    sure enough to be told leaves "woman" and "man", which do not tell it either.
    """
    gender, group, age = facts.get("gender_presentation"), facts.get("age_group"), facts.get("age")
    child = group == "child" or (group is None and isinstance(age, float | int) and age < _ADULT)
    states: dict[str, Value] = {}
    if gender is not None:
        states["gender_presentation"] = gender
    if child:
        states |= {"age": facts["age"]} if group is None else {"age_group": group}
    noun = {"woman": "girl", "man": "boy"}.get(str(gender), "child") if child else str(gender or "person")
    return Referent(noun, {"woman": "she", "man": "he"}.get(str(gender), "they")), states


def decade(age: float) -> str:
    """The words after "in her": 34 → "mid-thirties", 41 → "early forties". Ages 20 to 99."""
    tens = ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")
    part = ("early ", "early ", "early ", "", "mid-", "mid-", "mid-", "late ", "late ", "late ")[int(age) % 10]
    return part + tens[int(age) // 10 - 2]
