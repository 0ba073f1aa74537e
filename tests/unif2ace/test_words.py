"""The tokenizer: ids and texts are inverses, streams never take anything back, learning is the same every time."""

from __future__ import annotations

from pathlib import Path

import pytest

from limner.errors import InputError
from limner.models.unif2ace.caption_instructions import LONG, SHORT, request
from limner.models.unif2ace.config import preset
from limner.models.unif2ace.sequence import question_text
from limner.models.unif2ace.tokenizer import MARKS, TextStream, Tokenizer, learn
from unif2ace.parts import WORDS


@pytest.fixture(scope="module")
def shipped() -> Tokenizer:
    return Tokenizer.load()


def test_ids_give_the_text_back_whatever_it_is(shipped: Tokenizer) -> None:
    for text in ("A smiling woman in her mid-thirties.", "Ζωή wears a 🎩 — naïve?", "  two  spaces\n", ""):
        assert shipped.decode(shipped.encode([text])[0]) == text
    ids = shipped.encode(["A smiling woman, facing the camera, with long hair."])[0]
    assert max(ids) < shipped.size and len(ids) <= 13, "words of the set are single ids"
    assert shipped.decode([0, *ids, 1]) == shipped.decode(ids), "marks leave no text"


def test_marks_are_where_the_nano_preset_expects_them(shipped: Tokenizer) -> None:
    config = preset("nano")
    assert (config.sot, config.eot) == (0, 1) and shipped.size == config.text_vocabulary
    assert all(not {0, 1} & set(ids) for ids in shipped.encode([*MARKS, *WORDS])), "typed marks are no marks"


def test_a_stream_shows_every_character_once_and_whole(shipped: Tokenizer) -> None:
    text = "She wears a 🎩, naïvely."
    stream = TextStream(shipped)
    pieces = [stream.add(token) for token in shipped.encode([text])[0]]
    assert "".join(pieces) == text and "" in pieces and not any("\ufffd" in piece for piece in pieces)


def test_questions_stand_in_their_frame(shipped: Tokenizer) -> None:
    assert shipped.decode(shipped.question("Is she smiling?")) == question_text("Is she smiling?")
    assert request("long") == LONG[0] and request("short") == SHORT[0]
    with pytest.raises(InputError, match="choose long, short or full"):
        request("medium")


def test_learning_is_the_same_every_time(tmp_path: Path) -> None:
    sizes = [learn(WORDS * 3, 320, tmp_path / name) for name in ("one", "other")]
    one, other = (tmp_path / name / "tokenizer.json" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes() and sizes[0] == sizes[1] <= 320
    with pytest.raises(InputError, match="--size 100"):
        learn(WORDS, 100, tmp_path / "small")
    with pytest.raises(InputError, match="holds no tokenizer"):
        Tokenizer.load(tmp_path)
