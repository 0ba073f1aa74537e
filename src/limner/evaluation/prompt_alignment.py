"""Prompt alignment: prompts with known target attributes, and whether a generated face shows them.

A target is an attribute with the value that the prompt states. Values that a word does not distinguish are one class: a
broad smile counts as "smiling", stubble does not count as "full beard".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from limner.faces.record import Attribute, Face
from limner.words.captions import compose_prompts

# attribute → value → class it is judged as
JUDGED: dict[str, dict[Any, str]] = {
    "gender_presentation": {"woman": "woman", "man": "man"},
    "age_group": {"young adult": "young adult", "middle-aged": "middle-aged", "older": "older"},
    "hair_colour": {name: name for name in ("black", "brown", "blond", "red", "grey")} | {"white": "grey"},
    "smile": {"none": "no smile", "slight": "smile", "broad": "smile"},
    "glasses": {True: "glasses", False: "no glasses"},
    "beard": {"none": "no beard", "stubble": "beard", "full": "beard"},
    "background_brightness": {"dark": "dark", "medium": "medium", "bright": "bright"},
}


def sample_targets(random: np.random.Generator) -> dict[str, Attribute]:
    """Attributes of an imagined adult, every value about equally often, except what does not go together.

    Our choice: a woman is not asked for with a beard, nor a young adult with grey hair: such prompts would measure how
    odd a face a model dares, not whether it follows words.
    """
    woman = random.random() < 0.5
    age = str(random.choice(["young adult", "middle-aged", "older"]))
    colours = {"young adult": ["black", "brown", "blond", "red"], "older": ["grey", "white", "brown"]}
    facts: dict[str, str | bool] = {
        "gender_presentation": "woman" if woman else "man",
        "age_group": age,
        "hair_colour": str(random.choice(colours.get(age, ["black", "brown", "blond", "grey"]))),
        "smile": str(random.choice(["none", "broad"])),
        "glasses": bool(random.random() < 0.4),
        "background_brightness": str(random.choice(["dark", "bright"])),
    }
    if not woman:
        facts["beard"] = str(random.choice(["none", "full"]))
    return {name: Attribute(value=value, confidence=1.0, by="asked for") for name, value in facts.items()}


def draw_prompt(seed: int) -> tuple[str, dict[str, str]]:
    """A prompt and its target attributes, attribute → class. At least one target; deterministic in ``seed``."""
    random = np.random.default_rng([seed, 71])
    while True:
        wishes = sample_targets(random)
        caption = compose_prompts(wishes, random, 3)[int(random.integers(3))]
        stated = {name: JUDGED[name][value] for name, value in caption.stated.items() if name in JUDGED}
        if stated:
            return caption.text, stated


def judged(face: Face | None) -> dict[str, str]:
    """Attribute → the class it is judged as, of those measured of a face; of no face nothing."""
    found = {} if face is None else {name: face.attributes[name].value for name in JUDGED if name in face.attributes}
    return {name: JUDGED[name][value] for name, value in found.items() if value in JUDGED[name]}


def aligned_attributes(stated: Mapping[str, str], face: Face | None) -> dict[str, bool]:
    """Attribute → whether the face shows the target. False without a face, or if the attribute was not measured."""
    found = judged(face)
    return {name: found.get(name) == wanted for name, wanted in stated.items()}
