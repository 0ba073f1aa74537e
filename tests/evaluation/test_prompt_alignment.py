"""Prompts with known wishes: what they say they state, they state; and only measured attributes grant them."""

from __future__ import annotations

import numpy as np

from limner.evaluation.prompt_alignment import JUDGED, aligned_attributes, draw_prompt, sample_targets
from limner.faces.record import Attribute
from limner.words.claims import read_claims


class Measured:
    """A face record as far as the judge looks at it."""

    def __init__(self, **values: object) -> None:
        self.attributes = {name: Attribute(value=value, confidence=1.0, by="test") for name, value in values.items()}  # type: ignore[arg-type]


def test_prompts_are_functions_of_the_seed() -> None:
    assert draw_prompt(3) == draw_prompt(3)
    assert len({draw_prompt(seed)[0] for seed in range(50)}) > 45


def test_stated_wishes_can_be_read_from_the_prompt() -> None:
    """An independent reader finds in the words what the prompt says it states."""
    agree = total = 0
    for seed in range(80):
        text, stated = draw_prompt(seed)
        claims = {name: value for name, value in read_claims(text).items() if name in stated}
        for name, values in claims.items():
            total += 1
            agree += stated[name] in {JUDGED[name].get(value) for value in values}
    assert total > 100 and agree / total > 0.97


def test_wishes_go_together() -> None:
    for seed in range(200):
        wishes = sample_targets(np.random.default_rng(seed))
        assert set(wishes) <= set(JUDGED)
        assert not ("beard" in wishes and wishes["gender_presentation"].value == "woman")


def test_granting() -> None:
    stated = {"smile": "smile", "beard": "no beard", "glasses": "glasses"}
    face = Measured(smile="slight", beard="full")
    assert aligned_attributes(stated, face) == {"smile": True, "beard": False, "glasses": False}  # type: ignore[arg-type]
    assert aligned_attributes(stated, None) == dict.fromkeys(stated, False)
