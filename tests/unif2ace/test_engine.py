"""The engine and its verbs, from photographs to words and from words to pictures, on a tiny random model."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import limner
from limner.cli.app import main
from limner.errors import InputError
from limner.models.unif2ace.answers import left_to_right, name_positions
from limner.models.unif2ace.caption_instructions import SHORT
from limner.models.unif2ace.engine import UniF2ace
from limner.models.unif2ace.generation import SamplingParams
from limner.models.unif2ace.loading import is_unif2ace
from limner.provenance.recipe import read_recipe
from limner.weights.tensors import load_tensors, save_tensors
from unif2ace.parts import portraits, save

DRAWN = SamplingParams(temperature=1.5)


@pytest.fixture(scope="module")
def other_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two others."""
    return save(tmp_path_factory.mktemp("pair") / "two.png", np.concatenate(portraits()[3:1:-1], 1))


def test_one_face_has_one_answer_and_streaming_shows_the_same_words(engine: UniF2ace, photo: Path) -> None:
    pieces: list[tuple[int, str]] = []
    look = engine.encode_photo(photo)
    found = engine.ask(
        look, "Is she smiling?", limit=12, sampling=DRAWN, seed=3, stream=lambda *piece: pieces.append(piece)
    )
    assert len(found.faces) == 1 and found.faces[0].position == "" and str(found) == found.text == found.faces[0].text
    assert len(pieces) > 3 and {face for face, _ in pieces} == {0}
    whole = "".join(text for _, text in pieces)
    assert whole.strip() == found.text or "\ufffd" in found.text
    again = engine.ask(photo, "Is she smiling?", limit=12, sampling=DRAWN, seed=3)
    assert again == found and engine.ask(photo, "Is he smiling?", limit=12, sampling=DRAWN, seed=3) != found
    assert engine.ask(photo, "Is she smiling?", limit=12, sampling=DRAWN, seed=4) != found


def test_several_faces_are_named_from_left_to_right(engine: UniF2ace, pair: Path) -> None:
    found = engine.describe(pair, "short", limit=6, sampling=DRAWN)
    left, right = found.faces
    assert (left.position, right.position) == ("left face", "right face") and left.box[2] < right.box[0]
    assert found.question == SHORT[0]
    assert found.text.splitlines()[0].startswith("left face: ")
    assert found.to_dict()["faces"][1]["position"] == "right face"
    assert name_positions(5)[3] == "face 4 of 5 from the left"
    assert left_to_right(np.array([[50, 0, 60, 9], [0, 0, 10, 9], [20, 0, 30, 9]])).tolist() == [1, 2, 0]


def test_photos_asked_together_answer_as_each_alone(engine: UniF2ace, photo: Path, pair: Path) -> None:
    looks = [engine.encode_photo(pair), engine.encode_photo(photo)]
    together = engine.ask_each(looks, "Is she smiling?", limit=6)
    assert together == [engine.ask(look, "Is she smiling?", limit=6) for look in looks]
    assert [len(answer.faces) for answer in together] == [2, 1]


@pytest.mark.parametrize("seed", [3, 4])
def test_drawn_answers_do_not_depend_on_company(engine: UniF2ace, pair: Path, other_pair: Path, seed: int) -> None:
    """Two photos of two faces, in one batch, one by one, and face by face."""
    looks, settings = [engine.encode_photo(pair), engine.encode_photo(other_pair)], {"limit": 12, "sampling": DRAWN}
    alone = [engine.ask(look, "Is she smiling?", seed=seed, **settings) for look in looks]
    assert engine.ask_each(looks, "Is she smiling?", seed=seed, **settings) == alone
    assert engine.ask_each(looks[::-1], "Is she smiling?", seed=[seed, 9], **settings)[0] == alone[1]
    for look, answer in zip(looks, alone):
        for k, face in enumerate(look.split()):
            assert engine.ask(face, "Is she smiling?", seed=seed + k, **settings).faces[0] == answer.faces[k]
        assert answer.faces[0].text != answer.faces[1].text


def test_a_chat_reads_what_was_said_and_reads_it_once(engine: UniF2ace, photo: Path, monkeypatch) -> None:
    talk, counts = engine.chat(photo, limit=5), []
    forward = engine.components.model.forward
    monkeypatch.setattr(
        engine.components.model,
        "forward",
        lambda tokens, *a, **k: counts.append(tokens.shape[1]) or forward(tokens, *a, **k),
    )
    first, second = talk.ask("Is she smiling?"), talk.ask("Is she smiling?")
    assert talk.turns == [first, second]
    prompt = 1 + len(engine.components.tokenizer.question("Is she smiling?"))
    assert counts[0] == prompt and prompt < counts[1] <= prompt + 2, "the second question, and the end of the answer"
    assert first == engine.ask(photo, "Is she smiling?", limit=5)


def test_a_chat_goes_on_from_its_text(engine: UniF2ace, photo: Path, pair: Path) -> None:
    """Another conversation with the same turns before it, and each face remembers what was said of it."""
    tokenizer, config = engine.components.tokenizer, engine.components.model.config
    state = engine.chat(pair, before=[("Who?", "left face: A man.\nright face: A woman.")], limit=5)._state
    for face, text in zip(state[0].unread, ("A man.", "A woman."), strict=True):
        assert face == [config.sot, *tokenizer.question("Who?"), *tokenizer.encode([text])[0], config.eot]
    answer = "She smiles, and her hair is long."
    later, look = engine.chat(photo, before=[("What do you see?", answer)], limit=5), engine.encode_photo(photo)
    state = engine.begin(look, [engine.turn("What do you see?", answer)])
    alone, _ = engine.answer_faces(look, ["And her eyes?"], limit=5, state=state)
    assert later.ask("And her eyes?").faces[0].text == alone[0]
    assert engine.chat(photo, limit=5)._state[0].unread == [[]]


def test_paintings_carry_a_recipe_that_paints_them_again(engine: UniF2ace) -> None:
    steps: list[tuple[int, int]] = []
    pictures = engine.paint("a smiling woman", n=2, steps=3, seed=5, callback=lambda *done: steps.append(done))
    assert steps == [(1, 3), (2, 3), (3, 3)] and pictures[0].image.size == (256, 256)
    alone = engine.paint("a smiling woman", steps=3, seed=6)[0]
    assert np.array_equal(np.asarray(alone.image), np.asarray(pictures[1].image))
    again = engine.replay(pictures[1].recipe)
    assert np.array_equal(np.asarray(again.image), np.asarray(pictures[1].image)) and again.recipe == pictures[1].recipe
    other = engine.paint("grey hair", steps=3, seed=6, sampler="leap")[0]
    assert not np.array_equal(np.asarray(other.image), np.asarray(alone.image))
    assert (alone.recipe["guidance"], alone.recipe["temperature"], other.recipe["temperature"]) == (2.0, 3.0, 1.0)
    with pytest.raises(InputError, match="loaded weights or precision differ"):
        engine.replay({**alone.recipe, "weights": {"transformer": "0"}})
    with pytest.raises(InputError, match="invalid UniF²ace recipe"):
        engine.replay({"text": "a"})
    for wrong, what in (({"text": " "}, "nothing to generate"), ({"n": 0}, "n=0"), ({"sampler": "euler"}, "leap"),
                        ({"guidance": float("nan")}, "guidance"),
                        ({"sampler": "leap", "temperature": 0}, "divides")):  # fmt: skip
        with pytest.raises(InputError, match=what):
            engine.paint(**{"text": "a", **wrong})  # type: ignore[arg-type]


def test_the_best_of_several_paintings_is_the_one_the_words_are_read_from_best(engine: UniF2ace) -> None:
    done: list[tuple[int, int]] = []
    kept = engine.paint("a smiling woman", n=2, best=3, steps=2, seed=5, callback=lambda *now: done.append(now))
    every = engine.paint("a smiling woman", n=6, steps=2, seed=5)
    fits = engine.reads(np.stack([np.asarray(each.image) for each in every]), "a smiling woman")
    assert len(set(fits.tolist())) == 6 and done[-1] == (2, 2)
    chosen = [int(fits[:3].argmax()), 3 + int(fits[3:].argmax())]
    for picture, index in zip(kept, chosen, strict=True):
        assert np.array_equal(np.asarray(picture.image), np.asarray(every[index].image))
        assert picture.recipe == {**every[index].recipe, "best_of": 3}
        assert np.array_equal(np.asarray(engine.replay(picture.recipe).image), np.asarray(picture.image))
    with pytest.raises(InputError, match="best=0"):
        engine.paint("a", best=0)


def test_what_is_missing_or_another_is_said_in_one_line(folder: Path, tmp_path: Path, capsys) -> None:
    tensors, header = load_tensors(folder / "model.safetensors")
    for change, what in (({"tokenizer_hash": "0"}, "another tokenizer"), ({"codec_hash": "0"}, "another encoder")):
        save_tensors(folder / "changed.safetensors", tensors, {**header, **change})
        with pytest.raises(InputError, match=what):
            UniF2ace.load(folder / "changed.safetensors")
    with pytest.raises(InputError, match="is missing"):
        UniF2ace.load(tmp_path)
    assert is_unif2ace(folder) and is_unif2ace("unif2ace") and not is_unif2ace(tmp_path)
    with pytest.raises(InputError, match="no face was found"):
        UniF2ace.load(folder).ask(np.full((64, 64, 3), 128, np.uint8), "Is she smiling?")


def test_verbs_say_that_nano_is_not_there_yet(photo: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("limner.models.unif2ace.loading.registry", dict)
    for words in (["describe", str(photo)], ["ask", str(photo), "Hm?"], ["chat", str(photo)],
                  ["paint", "a woman", "--engine", "unif2ace"]):  # fmt: skip
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: weights 'unif2ace-nano' are not part of this") and said.count("\n") == 1


def test_the_toolkit_has_the_same_verbs(folder: Path, photo: Path) -> None:
    model = limner.load(folder)
    assert model.ask(photo, "Is she smiling?", limit=4).text == str(
        model.answerer.ask(photo, "Is she smiling?", limit=4)
    )
    assert model.describe(photo, limit=4).question.startswith("Describe")
    assert model.chat(photo, limit=4).ask("Hm?").faces
    assert model.paint("a woman", steps=1)[0].recipe["engine"] == "unif2ace"
    with pytest.raises(InputError, match="words alone"):
        model.paint("a woman", np.zeros((64, 64), np.uint8))


def test_describe_ask_and_chat_at_the_command_line(folder: Path, photo: Path, pair: Path, capsys, monkeypatch) -> None:
    chosen = ["--engine", str(folder), "--limit", "4", "--precision", "fp32"]
    assert main(["ask", str(photo), "Is she smiling?", *chosen]) == 0
    plain = capsys.readouterr().out
    assert main(["ask", str(photo), "Is she smiling?", "--stream", *chosen]) == 0
    assert capsys.readouterr().out.strip() == plain.strip()
    assert main(["ask", str(photo), "Is she smiling?", "Hm?", "--json", *chosen]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["question"] for each in listed["answers"]] == ["Is she smiling?", "Hm?"]
    assert listed["answers"][0]["faces"][0]["answer"] == plain.strip()
    bad = photo.parent / "bad.png"
    bad.write_bytes(b"no picture")
    assert main(["describe", str(photo.parent), str(pair), "--length", "short", "--csv", *chosen]) == 2
    captured = capsys.readouterr()
    bad.unlink()
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    assert [row["position"] for row in rows] == ["", "left face", "right face"]
    assert captured.err.count("error: ") == 1 and "bad.png" in captured.err
    for file, faces in ((photo, [""]), (pair, ["left face: ", "right face: "])):
        told = {}
        for way in ("--stream", "--no-stream", "--json"):
            monkeypatch.setattr("sys.stdin", io.StringIO("Is she smiling?\nHm?\n\nnever asked\n"))
            assert main(["chat", str(file), way, "--temperature", "1", "--seed", "3", *chosen]) == 0
            told[way] = capsys.readouterr().out
        assert told["--stream"].split() == told["--no-stream"].split() and len(told["--stream"].splitlines()) > 1
        turns = [json.loads(line) for line in told["--json"].splitlines()]
        assert [turn["question"] for turn in turns] == ["Is she smiling?", "Hm?"]
        lines = [name + face["answer"] for turn in turns for name, face in zip(faces, turn["faces"], strict=True)]
        assert "\n".join(lines) == told["--no-stream"].strip()
    assert main(["describe", str(photo), "--length", "medium", *chosen]) == 2
    assert main(["ask", str(photo), "Hm?", "--json", "--csv", *chosen]) == 2


def test_json_of_a_folder_is_a_line_a_photo_there_before_the_next_is_read(
    folder: Path, photo: Path, pair: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes((photo, pair)[number].read_bytes())
    chosen = ["--json", "--engine", str(folder), "--limit", "4", "--precision", "fp32", "--temperature", "1"]
    monkeypatch.setattr("limner.cli.describe.AT_ONCE", 1)
    looked, look = [], UniF2ace.encode_photo
    monkeypatch.setattr(
        UniF2ace, "encode_photo", lambda self, file: looked.append(capsys.readouterr().out) or look(self, file)
    )
    assert main(["ask", str(tmp_path), "Is she smiling?", *chosen]) == 0
    lines = [looked[1], capsys.readouterr().out]
    assert looked[0] == "" and all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    objects = [json.loads(line) for line in lines]
    monkeypatch.undo()
    for number, found in enumerate(objects):
        assert main(["ask", str(tmp_path / f"{number}.png"), "Is she smiling?", *chosen]) == 0
        alone = capsys.readouterr().out
        assert json.loads(alone) == found and len(found["answers"][0]["faces"]) == number + 1
        assert alone.count("\n") > 5, "for people to read"
    (tmp_path / "1.png").unlink()
    assert main(["describe", str(tmp_path), *chosen]) == 0
    assert capsys.readouterr().out.count("\n") == 1, "a folder has lines, whatever is in it"
    assert main(["describe", str(tmp_path / "none.png"), *chosen]) == 2
    assert capsys.readouterr().out == ""


def test_several_faces_streamed_draw_as_they_do_together(folder: Path, pair: Path, capsys) -> None:
    asked = ["ask", str(pair), "Is she smiling?", "--engine", str(folder), "--limit", "9", "--precision", "fp32"]
    said = []
    for way in ("--stream", "--no-stream"):
        assert main([*asked, way, "--temperature", "1.5", "--seed", "3"]) == 0
        said.append(capsys.readouterr().out.split())
    assert said[0] == said[1]


def test_words_that_find_no_room_are_named(engine: UniF2ace, folder: Path, tmp_path: Path, capsys) -> None:
    text = "A smiling woman with grey hair. " * 4 + "Is she smiling?"
    room = engine.components.model.config.text_length - 2
    ids = engine.components.tokenizer.encode([text])[0]
    rest = engine.unread(text)
    read = engine.components.tokenizer.decode(ids[:room])
    assert rest and text.endswith(rest) and (read + rest).replace(" ", "") == text.replace(" ", "")
    assert engine.unread("A smiling woman") == ""
    chosen = ["--engine", str(folder), "--steps", "1", "--overwrite", "--out", str(tmp_path / "p.png")]
    for words, said in (
        (text, f'the prompt is longer than this model reads; ignored: "{rest}"\n'),
        ("A smiling woman", ""),
    ):
        assert main(["paint", words, *chosen]) == 0
        assert capsys.readouterr().err == said


def test_paint_and_replay_at_the_command_line(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "p.png"
    assert main(["paint", "a woman", "--engine", str(folder), "--steps", "2", "--out", str(out)]) == 0
    assert read_recipe(out)["engine"] == "unif2ace" and read_recipe(out)["sampler"] == "confidence"
    assert main(["replay", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "identical"
    capsys.readouterr()
    cool = ["paint", "a woman", "--engine", str(folder), "--steps", "2", "--temperature", "0.5", "--json"]
    assert main([*cool, "--out", str(out.with_name("cool.png"))]) == 0
    assert json.loads(capsys.readouterr().out)[0]["recipe"]["temperature"] == 0.5
    assert main([*cool, "--best", "2", "--overwrite", "--out", str(out)]) == 0
    assert json.loads(capsys.readouterr().out)[0]["recipe"]["best_of"] == 2
    assert main(["paint", "a woman", "--best", "2", "--overwrite", "--out", str(out)]) == 2
    assert "--best works only with UniF²ace" in capsys.readouterr().err
    assert main(["paint", "a woman", "--temperature", "0.5", "--overwrite", "--out", str(out)]) == 2
    assert "--engine unif2ace" in capsys.readouterr().err
    assert (
        main(["paint", "a woman", "--engine", str(folder), "--merge", "regions", "--overwrite", "--out", str(out)]) == 2
    )
    assert "remove --merge" in capsys.readouterr().err
