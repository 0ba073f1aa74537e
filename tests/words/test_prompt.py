"""What is painted for what people type: negation, several people, other languages, symbols, nonsense."""

from __future__ import annotations

import re

import numpy as np
import pytest

from limner.errors import InputError
from limner.words.captions import write_captions
from limner.words.negation import positive
from limner.words.prompt import language_of, recorded, understood
from words.made_up import make_attributes


@pytest.mark.parametrize(
    ("asked", "painted"),
    [
        ("a man without a beard", "a clean-shaven man"),
        ("a man with no moustache", "a clean-shaven man"),
        ("a man who doesn't have a beard", "a clean-shaven man"),
        ("a young man with neither beard nor moustache", "a young clean-shaven man"),
        ("beardless old man", "an old clean-shaven man"),
        ("an old man with grey hair, no beard and no glasses", "an old clean-shaven man with grey hair"),
        ("a man with a beard but no moustache", "a man with a beard"),
        ("a bearded man without glasses and with blue eyes", "a bearded man with blue eyes"),
        ("a woman who is not smiling", "an unsmiling woman"),
        ("a woman not smiling, no makeup", "an unsmiling woman"),
        ("portrait of a non-smiling man", "portrait of an unsmiling man"),
        ("a man who isn't wearing glasses", "a man"),
        ("a girl without glasses or a hat", "a girl"),
        ("a woman without a beard", "a woman"),
        ("a man who is not bald", "a short-haired man"),
        ("a person with no hair", "a bald person"),
        ("a woman with eyes not closed", "a woman with eyes open"),
        ("a not very old man", "a young man"),
        ("a woman, no visible teeth", "a woman, mouth closed"),
        ("a man without tattoos on his face", "a man"),
    ],
)
def test_negation_is_turned_into_what_is_there(asked: str, painted: str) -> None:
    prompt = understood(asked)
    assert prompt.text == painted and prompt.asked == asked
    assert recorded(prompt)["asked"] == asked


@pytest.mark.parametrize(
    ("asked", "painted"),
    [
        ("two women", "a woman"),
        ("three men", "a man"),
        ("a group of people", "a person"),
        ("two young women with red hair", "a young woman with red hair"),
        ("a man and a woman", "a man"),
        ("a man and a woman with red hair", "a man with red hair"),
        ("a man with short hair and a woman with red hair", "a man with short hair"),
        ("a woman with her daughter", "a woman"),
        ("a couple hugging each other", "a person"),
    ],
)
def test_several_people_become_one(asked: str, painted: str) -> None:
    prompt = understood(asked)
    assert prompt.text == painted
    assert any("one face" in note for note in prompt.notes)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("eine lachende Frau mit grauen Haaren", "look German"),
        ("una donna con gli occhiali", "look Italian"),
        ("une femme souriante avec des lunettes", "look French"),
        ("mujer", "look Spanish"),
        ("kobieta w okularach", "look Polish"),
        ("женщина с седыми волосами", "another script (Cyrillic)"),
        ("笑っている女性", "another script"),
        ("😀🎉", "describes a face"),
        ("12345 !!", "describes a face"),
        ("asdf qwer zxcv", "describe no face"),
        ("a red car", "describe no face"),
    ],
)
def test_what_is_not_understood_is_refused_in_one_line(asked: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        understood(asked)
    assert said in str(refused.value) and "in English" in str(refused.value) and "\n" not in str(refused.value)


def test_what_else_is_put_right() -> None:
    assert understood("man").text == "a man"
    assert understood("smiling, grey hair").text == "a person, smiling, grey hair"
    smiley = understood("a smiling woman 😀")
    assert smiley.text == "a smiling woman" and smiley.notes == ("symbols are left out",)
    fantasy = understood("a cyberpunk samurai woman riding a dragon through neon tokyo")
    assert fantasy.text == "a woman" and "dragon" in fantasy.notes[0]
    assert recorded(understood("a laughing woman with grey hair")) == {"text": "a laughing woman with grey hair"}
    assert language_of("a man with an old hat") is None


def test_the_words_that_painters_were_trained_on_stay_as_they_are() -> None:
    """But for what they deny."""
    denial = re.compile(r"\b(?:no|not|without|none|never|neither|nor)\b|n't", re.I)
    seen = 0
    for number in range(30):
        random = np.random.default_rng(number)
        for caption in write_captions(make_attributes(random), random, 5):
            prompt = understood(caption)  # never refused
            if not denial.search(caption):
                seen += 1
                assert prompt.text.rstrip(".").lower() == caption.rstrip(".").lower()
                assert not prompt.notes
    assert seen > 20


def test_denials_are_gone_from_captions() -> None:
    for text in ("she wears no hat and no glasses.", "he has no beard", "her mouth is not open"):
        assert not re.search(r"\b(?:no|not)\b", positive(text)[0])


def test_marks_go_with_the_words_that_are_left_out() -> None:
    found = understood('a woman <img src=x onerror="window.ran=1"><svg onload="window.ran=1"></svg>')
    assert found.text == "a woman" and "svg" in found.notes[-1]
