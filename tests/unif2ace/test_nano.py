"""The weights that come with Limner, on the demo's photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import limner
from limner.evaluation.answer_accuracy import refuses
from limner.models.unif2ace.caption_instructions import request
from limner.models.unif2ace.engine import UniF2ace
from limner.models.unif2ace.generation import answer

PEOPLE = Path(limner.__file__).parent / "demo" / "photographs"


@pytest.fixture(scope="module")
def model() -> UniF2ace:
    return UniF2ace.load(precision="fp32")


def test_it_sees_who_wears_glasses_and_names_nobody(model: UniF2ace) -> None:
    astronaut, other = model.encode_photo(PEOPLE / "astronaut.jpg"), model.encode_photo(PEOPLE / "face-10016.jpg")
    without, wearing = model.ask_each([astronaut, other], "Is she wearing glasses?")
    assert without.text.startswith("No") and wearing.text.startswith("Yes")
    for question in ("What is her name?", "Who is this?", "Is she Jewish?", "Does she smoke?"):
        assert refuses(model.ask(astronaut, question).text), question


def test_it_understands_a_question_in_many_words(model: UniF2ace) -> None:
    look = model.encode_photo(PEOPLE / "face-10018.jpg")
    for question in ("How old is he?", "How old does he look?", "How old would you say he is?"):
        assert model.ask(look, question).text == "He looks to be in his early fifties.", question
    for question in ("What colour is his hair?", "what color is his hair", "What is the hair colour?", "Hair color?"):
        assert "grey" in model.ask(look, question).text, question
    for question in ("Is he wearing glasses?", "Any glasses?", "Can you see glasses?"):
        assert model.ask(look, question).text.startswith("No"), question


def test_descriptions_end_by_themselves(model: UniF2ace) -> None:
    """The last token is end-of-text, long before the limit."""
    look, asked = model.encode_photo(PEOPLE / "face-10018.jpg"), [model.components.tokenizer.question(request("long"))]
    chosen: list[int] = []
    said = answer(
        model.components.model, look.cache, asked, 200, callback=lambda _, tokens: chosen.append(int(tokens[0]))
    )
    assert chosen[-1] == model.components.model.config.eot and 40 < len(said[0]) < 190
    assert model.describe(look).text.endswith(".")


def test_what_it_paints_has_one_face(model: UniF2ace) -> None:
    painted = model.paint("A smiling woman with long blond hair.", steps=8, seed=0)[0]
    (face,) = model.reader.read(np.asarray(painted.image))
    left, top, right, bottom = face.box
    assert face.score > 0.8 and 80 < right - left < 256 and 80 < bottom - top < 256
