"""Attributes as analysers would find them on a face, drawn at random: what captions and questions are tested on."""

from __future__ import annotations

from typing import Any

import numpy as np

from limner.faces.vocabulary import COLOURS


class Found:
    """Stands for `faces.record.Attribute`: the same three fields."""

    def __init__(self, value: Any, confidence: float, by: str = "test") -> None:
        self.value, self.confidence, self.by = value, confidence, by


def make_attributes(rng: np.random.Generator, unsure: float = 0.2) -> dict[str, Any]:
    """A plausible face. `unsure` is the share of attributes whose confidence is below one half."""

    def one(values: str, weights: tuple[float, ...] | None = None) -> str:
        options = values.split("|")
        p = None if weights is None else np.array(weights) / sum(weights)
        return str(rng.choice(options, p=p))

    def yes(p: float) -> bool:
        return bool(rng.random() < p)

    man, age = yes(0.5), float(np.clip(rng.gamma(4, 9), 2, 90))
    group = "child" if age < 18 else "young adult" if age < 35 else "middle-aged" if age < 55 else "older"
    beard = one("none|stubble|full", (5, 2, 3)) if man and age > 20 else "none"
    smile = one("none|slight|broad", (3, 3, 4))
    bald = man and age > 40 and yes(0.2)
    values: dict[str, Any] = {
        "gender_presentation": "man" if man else "woman",
        "age": age,
        "age_group": group,
        "hair_colour": one("black|brown|blond|red|grey|white", (4, 6, 4, 1, 2, 1)),
        "hair_length": "bald" if bald else one("short|medium|long", (8, 1, 1) if man else (2, 4, 6)),
        "hair_texture": one("straight|wavy|curly", (4, 3, 1)),
        "hairline": one("low|medium|high"),
        "bangs": yes(0.25),
        "bald": bald,
        "beard": beard,
        "five_o_clock_shadow": beard == "stubble" and yes(0.5),
        "moustache": beard == "full" and yes(0.8),
        "sideburns": beard == "full" and yes(0.6),
        "goatee": False,
        "glasses": yes(0.2),
        "sunglasses": yes(0.04),
        "hat": yes(0.08),
        "earrings": not man and yes(0.4),
        "necklace": not man and yes(0.2),
        "lipstick": not man and age > 16 and yes(0.5),
        "lip_colour": one("natural|pink|red|dark"),
        "lip_fullness": one("thin|medium|full"),
        "skin_tone": one("very light|light|medium|tan|brown|dark"),
        "skin_texture": one("smooth|average|textured"),
        "rosy_cheeks": yes(0.1),
        "face_shape": one("oval|round|square|long|heart"),
        "jaw": one("narrow|medium|wide"),
        "brow_thickness": one("thin|medium|thick"),
        "brow_shape": one("straight|arched"),
        "brow_colour": one("black|brown|blond"),
        "eye_size": one("small|medium|large"),
        "eye_shape": one("narrow|almond|round"),
        "eye_spacing": one("close|average|wide"),
        "nose_width": one("narrow|medium|wide"),
        "nose_length": one("short|medium|long"),
        "eye_colour": one("brown|blue|green|grey"),
        "eye_bags": yes(0.2),
        "ears_visible": yes(0.5),
        "neck_visible": yes(0.8),
        "smile": smile,
        "laugh": smile == "broad" and yes(0.2),
        "mouth_open": smile == "broad" or yes(0.2),
        "teeth_visible": smile == "broad",
        "eyes": one("open|narrowed|closed", (9, 2, 0.3)),
        "wink": yes(0.02),
        "gaze": one("at the camera|left|right|up|down", (6, 1, 1, 1, 1)),
        "head_turn": one("frontal|left|right|profile left|profile right", (6, 2, 2, 0.3, 0.3)),
        "head_tilt": one("upright|left|right", (5, 1, 1)),
        "head_nod": one("level|up|down", (5, 1, 1)),
        "brows_raised": yes(0.1),
        "frown": smile == "none" and yes(0.2),
        "pout": yes(0.04),
        "emotion": "happy"
        if smile == "broad"
        else one("neutral|happy|sad|angry|surprised|fearful|disgusted", (9, 2, 1, 1, 1, 0.4, 0.4)),
        "background_brightness": one("dark|medium|bright"),
        "background_colour": one(COLOURS.replace(", ", "|")),
        "background_plain": yes(0.5),
        "lighting": one("dim|normal|bright"),
        "light_direction": one("front|left|right|above"),
        "clothing_colour": one(COLOURS.replace(", ", "|")),
        "sharpness": one("sharp|soft|blurred", (6, 2, 1)),
        "picture_colour": one("colour|black and white", (12, 1)),
    }
    return {
        name: Found(value, float(rng.uniform(0.1, 0.5) if yes(unsure) else rng.uniform(0.65, 1.0)))
        for name, value in values.items()
    }
