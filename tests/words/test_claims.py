"""Reading claims back from text: what the writer says it states is what an independent reader finds."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from limner.words.captions import compose_captions, compose_prompts
from limner.words.claims import read_claims

sys.path.insert(0, str(Path(__file__).parent))
from made_up import make_attributes


def test_captions_claim_what_they_state() -> None:
    rng = np.random.default_rng(11)
    right: Counter[str] = Counter()
    stated = 0
    for _ in range(60):
        face = make_attributes(rng)
        for caption in compose_captions(face, rng, 3) + compose_prompts(face, rng, 3):
            claims = read_claims(caption.text)
            for name, values in claims.items():
                if name in caption.stated:
                    assert caption.stated[name] in values, (name, values, caption)
                    right[name] += 1
                elif name not in ("age_group", "bald", "hair_length"):  # a girl of 8, a bald head: one fact for two
                    right["more than stated"] += 1
            stated += len(set(caption.stated) - {"age"})
    assert right["more than stated"] < 0.01 * stated
    assert sum(right.values()) > 0.97 * stated
    assert len(right) > 40


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("blond woman, glasses, smiling", {"hair_colour": "blond", "glasses": True, "gender_presentation": "woman"}),
        (
            "Her eyes, large and brown, are wide-set.",
            {"eye_size": "large", "eye_colour": "brown", "eye_spacing": "wide"},
        ),
        ("thin lips, long straight hair", {"lip_fullness": "thin", "hair_length": "long", "hair_texture": "straight"}),
        ("He wears neither glasses nor a hat.", {"glasses": False, "hat": False, "gender_presentation": "man"}),
        ("a clean-shaven man in a red top", {"beard": "none", "moustache": False, "clothing_colour": "red"}),
        ("Seen in profile, facing his left.", {"head_turn": "profile left"}),
        ("A black and white photo, grey hair", {"picture_colour": "black and white", "hair_colour": "grey"}),
        ("His nose is of medium width and long.", {"nose_width": "medium", "nose_length": "long"}),
        ("She has no bangs, beard or goatee.", {"bangs": False, "beard": "none", "goatee": False}),
        ("She is not laughing, winking or pouting.", {"laugh": False, "wink": False, "pout": False}),
        ("woman, no lipstick, bangs", {"lipstick": False, "bangs": True}),
        ("against a light blue background", {"background_brightness": "bright", "background_colour": "blue"}),
    ],
)
def test_turns_of_phrase(text: str, claims: dict) -> None:
    found = read_claims(text)
    assert {name: found.get(name) for name in claims} == {name: (value,) for name, value in claims.items()}


def test_what_is_vague_fits_several_values() -> None:
    claims = read_claims("a dark-haired, smiling, fair-skinned man")
    assert claims["hair_colour"] == ("black", "brown") and claims["smile"] == ("slight", "broad")
    assert claims["skin_tone"] == ("light", "very light")


def test_no_claims_in_a_text_about_something_else() -> None:
    assert read_claims("Two boats on a lake at dawn.") == {}
