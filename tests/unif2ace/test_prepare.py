"""From a built set to a prepared set: codes and words of faces and their mirror images, and going on after a stop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import limner
from limner.codecs.discrete import LFQCodec
from limner.data.preparing import Portion
from limner.data.shards import FIELDS, pack_attributes, write_shard
from limner.errors import InputError
from limner.faces.image_tensors import to_model
from limner.faces.picture import encode_png, read_picture
from limner.faces.reader import FaceReader
from limner.faces.record import Attribute
from limner.models.unif2ace.prepare import Face, PrepareModels, make_part, prepare, read_faces
from limner.models.unif2ace.prepared import ABSENT, FOILS, SHOWN, TEXTS, PreparedConversations, unpad, unpad_turns
from limner.models.unif2ace.tokenizer import Tokenizer
from limner.weights.registry import hash_file
from limner.words.claims import read_claims
from limner.words.mirror import mirror_words
from unif2ace.parts import write_codec

PEOPLE = Path(limner.__file__).parent / "demo" / "photographs"


class Means:
    """Features small enough to check by hand: mean colours of the halves, as two tokens."""

    width = 3

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.stack([half.mean((2, 3)) for half in pictures.chunk(2, dim=3)], 1)


@pytest.fixture(scope="module")
def makers(tmp_path_factory: pytest.TempPathFactory) -> PrepareModels:
    codec = write_codec(tmp_path_factory.mktemp("codec"))
    return PrepareModels(codec, Means(), Means(), Tokenizer.load())


def face(seed: int, validation: bool = False) -> Face:
    picture = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    picture[:, :32] //= 8
    questions = (("Does she look left?", "Yes."), ("How old is she?", "That cannot be seen."))[: 1 + seed % 2]
    return Face(picture, ("The light comes from her left.",), ("a woman", "a tall woman"), questions, validation, {})


def test_mirrored_faces_have_mirrored_pictures_and_words(makers: PrepareModels) -> None:
    one = face(1)
    part = make_part([one, one.mirrored()], makers, batch=1)
    codes = makers.codec.encode(to_model(one.picture[None, :, ::-1]))
    assert torch.equal(part["codes"][1].long(), codes[0]) and not torch.equal(part["codes"][0], part["codes"][1])
    assert torch.allclose(part["clip"][0], part["clip"][1].flip(0), atol=1e-2)
    words = [[i for i in text.tolist() if i != ABSENT] for text in part["captions"][:, 0]]
    assert makers.tokenizer.decode(words[1]) == "The light comes from her right."
    asked = [i for i in part["questions"][1, 0].tolist() if i != ABSENT]
    assert "look right?" in makers.tokenizer.decode(asked) and one.mirrored().mirrored().captions == one.captions


def test_many_questions_are_asked_in_other_words(makers: PrepareModels) -> None:
    faces = [replace(face(1), questions=(("What colour is her hair?", "Brown."),) * 8, seed=seed) for seed in (1, 2)]
    part = make_part([*faces, faces[1].mirrored()], makers)["questions"]
    said = [[makers.tokenizer.decode([i for i in ids if i != ABSENT]) for ids in some] for some in part.tolist()]
    assert all("hair" in each.lower() for some in said for each in some)
    assert len({each for some in said for each in some}) > 8 and said[0] != said[1] != said[2]
    assert any("What colour is her hair?" in each for each in said[0])


def test_parts_are_made_once_and_again_only_when_something_changed(makers: PrepareModels, tmp_path: Path) -> None:
    files = []
    for name in ("train-00000", "train-00001", "validation-00000"):
        files.append(tmp_path / f"{name}.parquet")
        files[-1].write_text(name)
    made: list[str] = []

    def read(file: Path):
        made.append(file.stem)
        if file.stem == stop:
            raise KeyboardInterrupt
        seed = int(file.stem[-1])
        looks = {"glasses": file.stem == "train-00001"}
        faces = [face(seed, file.stem.startswith("validation")), face(seed + 1)][: 2 - seed]
        return [replace(each, looks=looks) for each in faces]

    def cut() -> list[Portion[Face]]:
        return [Portion(lambda file=file: read(file), 0, {"of": hash_file(file)}) for file in files]

    stop, out, facts = "train-00001", tmp_path / "out", {"codec": "c"}
    with pytest.raises(KeyboardInterrupt):
        prepare(cut(), out, makers, facts)
    with pytest.raises(InputError, match="not a prepared set"):
        PreparedConversations.open(out)
    stop, said = "", []
    first = prepare(cut(), out, makers, facts, report=lambda *progress: said.append(progress))
    assert made == ["train-00000", "train-00001", "train-00001", "validation-00000"]
    assert said == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert first is not None and len(first.stored) == 5 and first.rows(validation=True).tolist() == [3]
    assert first.header["model"] == {
        "text_vocabulary": makers.tokenizer.size, "codebook": 16, "image_tokens": 16, "clip_width": 3, "face_width": 3,
    }  # fmt: skip
    again = PreparedConversations.open(out)
    rows = again.rows(validation=False)
    batch = again.batch(rows, np.random.default_rng(0), long=False, turns=2)
    assert batch["questions"].shape[:2] == (4, 2)
    rare = again.weighted(
        rows
    ).chances  # the third face is the only one with glasses, and the fourth of these rows is not it
    assert rare[2] == pytest.approx(2 * rare[0]) and rare.sum() == pytest.approx(1)
    made.clear()
    prepare(cut(), out, makers, {"codec": "another"})
    assert len(made) == 3
    files[1].write_text("changed")
    made.clear()
    prepare(cut(), out, makers, {"codec": "another"})
    assert made == ["train-00001"]
    with pytest.raises(InputError, match="no faces"):
        prepare([], out, makers, facts)


def test_new_prompts_keep_to_the_salient_facts_and_looks_say_which(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    found = {"gender_presentation": "woman", "glasses": True, "hair_colour": "red", "mouth": "closed"}
    attributes = pack_attributes({name: Attribute(value, 1.0, "test") for name, value in found.items()})
    question = {"question": "Is she happy?", "answer": "Yes.", "kind": "yes_no", "about": "smile", "value": "broad"}
    words = {"captions": ["a long one"], "prompts": ["the set's own"], "questions": [question]}
    row = {**dict.fromkeys(name for name, _ in FIELDS), "id": "one", "attributes": attributes, **words}
    row["image"] = {"bytes": encode_png(picture), "path": None}
    for split in ("train", "validation"):
        write_shard(tmp_path / f"{split}-00000.parquet", [row], {})
    file = tmp_path / "train-00000.parquet"
    one, mirror = read_faces(file, "train", 0, 9, True, salient=3, size=64)
    assert one.prompts[3:] == mirror.prompts[3:] == ("the set's own",) and len(set(one.prompts)) == 4
    assert any("glasses" in prompt for prompt in one.prompts[:3])
    assert [face.prompts for face in read_faces(file, "train", 0, 9, False, size=64)] == [("the set's own",)]
    salient = {"gender_presentation": "woman", "glasses": True, "hair_colour": "red"}
    assert one.looks == mirror.looks == salient and (one.mirror, mirror.mirror) == (False, True)
    (unseen,) = read_faces(tmp_path / "validation-00000.parquet", "validation", 0, 9, True, size=64)
    assert unseen.validation and unseen.looks == salient


def test_words_to_paint_by_are_about_what_the_codes_show(tmp_path: Path) -> None:
    reader = FaceReader.load()
    photo = reader.align(read_picture(PEOPLE / "face-10016.jpg"))[0][0]
    false = Face(photo, ("A bald man.",), ("a bald man",), (("Is he bald?", "Yes."),), False, {"glasses": False})
    blank = replace(false, picture=np.full_like(photo, 90))
    makers = PrepareModels(LFQCodec.load("lfq-codec-nano"), Means(), Means(), Tokenizer.load(), reader)
    part = make_part([false, false.mirrored(), blank], makers, salient=8)

    def words(name: str, row: int) -> list[str]:
        return [makers.tokenizer.decode([i for i in ids if i != ABSENT]) for ids in part[name][row].tolist()]

    assert words("captions", 0)[0] == "A bald man."  # what it is asked about stays the set's
    told, mirrored = words("shown_prompts", 0), words("shown_prompts", 1)
    assert len(told) == 12 and any("glasses" in text for text in told) and not any("bald" in text for text in told)
    assert mirrored == [mirror_words(text) for text in told] != told  # he looks to a side
    captions = words("shown_captions", 0)
    assert words("shown_captions", 1) == [mirror_words(text) for text in captions]
    assert len(captions) == 4 and "A bald man." not in captions
    assert words("shown_prompts", 2)[0] == "a bald man"  # no face in it: the set's own
    pairs = [pair for pair in zip(words("foiled", 0), words("foils", 0), strict=True) if all(pair)]
    assert len(pairs) >= 3 and words("foils", 0) == words("foils", 1)
    assert all("glasses" in foil and "no glasses" not in foil for foil in words("foils", 2))
    for true, foil in pairs:
        claims, wrong = read_claims(true), read_claims(foil)
        (name,) = [name for name in claims if not set(claims[name]) & set(wrong[name])]
        assert any(set(claims[name]) & set(read_claims(text).get(name, ())) for text in [*told, *captions]), name
    assert torch.equal(part["looks"][0], part["looks"][1]) and not torch.equal(part["looks"][0], part["looks"][2])
    texts = [*TEXTS, *SHOWN, *FOILS, "codes", "clip", "face", "validation"]
    tensors = {name: part[name] for name in texts} | {
        "ask_long": part["questions"][0],
        "ask_short": part["questions"][0],
    }
    drawn = PreparedConversations.write(tmp_path / "set", tensors, {}, size=2).batch(
        np.array([0, 0]), np.random.default_rng(0), long=False
    )
    assert set(map(tuple, unpad(drawn["texts"]))) <= set(map(tuple, unpad(part["shown_prompts"][0])))


def test_texts_of_the_source_or_of_the_grammar(makers: PrepareModels, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mine = {"question": "Is she happy?", "answer": "Yes.", "kind": "yes/no", "about": "smile", "value": "yes"}
    theirs = {"question": "What is shown?", "answer": "A woman.", "kind": "open", "about": "", "value": ""}
    unknown = {**theirs, "question": "What is her name?", "answer": "I cannot tell.", "kind": "cannot be seen"}
    words: dict[str, Any] = {"captions": ["the source's own", "the grammar's"], "prompts": ["a prompt"]}
    words["questions"] = [theirs, mine, unknown]
    words["stated"] = [{"style": style, "facts": "{}"} for style in ("carried", "plain", "short")]
    row = {**dict.fromkeys(name for name, _ in FIELDS), "id": "one", "attributes": [], **words}
    row["image"] = {"bytes": encode_png(picture), "path": None}
    file = tmp_path / "train-00000.parquet"
    write_shard(file, [row, {**row, "questions": [mine]}], {})

    def read(texts: str, start: int = 0) -> Face:
        (found,) = read_faces(file, "train", start, start + 1, False, salient=4, texts=texts, size=64)
        return found

    carried, grammar, both = (read(texts) for texts in ("carried", "grammar", "both"))
    assert carried.captions == carried.prompts == ("the source's own",)
    assert carried.questions == (("What is shown?", "A woman."),)
    assert grammar.captions == ("the grammar's",) and grammar.prompts[-1] == "a prompt"
    assert [question for question, _ in grammar.questions] == ["Is she happy?", "What is her name?"]
    assert set(both.captions) == {"the source's own", "the grammar's"} and len(both.questions) == 3
    assert "the source's own" in both.prompts and "a prompt" in both.prompts
    silent = read("carried", 1)
    assert silent.questions == () and silent.captions == ("the source's own",)
    data = prepare([Portion(lambda: [carried, silent], 0, {"of": 1})], tmp_path / "out", makers, {})
    assert data is not None
    batch = data.batch(np.array([0, 1]), np.random.default_rng(0), long=False)
    talks = unpad_turns(batch["questions"], batch["answers"])
    assert len(talks[1]) == 1, "a face without questions is asked for its text"
    assert makers.tokenizer.decode(talks[1][0][1]) == "the source's own"
    write_shard(file, [{**row, "stated": [{**row["stated"][1]}] * 3}], {})
    with pytest.raises(InputError, match="brought no captions along: use --texts both, or grammar"):
        read("carried")
