"""Judges of answers and captions against cases by hand; experts and ablations on a tiny prepared set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.noise_set import write_noise_set
from limner.cli.app import main
from limner.data.build import DATA
from limner.errors import InputError
from limner.evaluation.ablation import FIGURES, VARIANTS
from limner.evaluation.answers import (
    claims_right,
    commonest_right,
    distinct,
    is_right,
    refuses,
    short_answer,
    summarise_answers,
)
from limner.evaluation.cells import choose, markdown, summarise
from limner.evaluation.experts import load_model, measure_experts
from limner.models.unif2ace.prepared import ABSENT, Prepared, pad_texts
from limner.models.unif2ace.sequence_experts import EXPERTS
from limner.models.unif2ace.task import UniF2aceTask
from limner.training.loop import train
from limner.training.recipe import Recipe
from limner.weights.tensors import save_tensors
from limner.words.questions import write_questions
from unif2ace.parts import write_tiny
from unif2ace.tiny import TINY, dense, draw_codes, draw_features, random_model


def asked(kind: str, value: str, about: str = "", question: str = "?") -> dict[str, str]:
    return {"question": question, "answer": "", "kind": kind, "about": about, "value": value}


@pytest.mark.parametrize(
    ("kind", "about", "answer", "value"),
    [
        ("yes/no", "smile", "Yes, she is smiling.", "yes"),
        ("yes/no", "smile", "No.", "no"),
        ("yes/no", "smile", "She is smiling.", ""),
        ("count", "", "There are none.", "0"),
        ("count", "ears", "Two.", "2"),
        ("count", "ears", "3.", "3"),
        ("choice", "skin_tone", "Her skin is very light.", "very light"),
        ("choice", "skin_tone", "Her skin is light.", "light"),
        ("open", "hair_length", "Her hair is of medium length.", "medium"),
        ("choice", "hair_colour", "It is brown or red.", ""),
        ("open", "hair_colour", "That cannot be seen in the picture.", "refused"),
    ],
)
def test_an_answer_comes_down_to_its_value(kind: str, about: str, answer: str, value: str) -> None:
    assert short_answer(asked(kind, "", about), answer) == value


def test_true_answers_of_the_grammar_are_right_and_others_are_not() -> None:
    """Whatever the writer writes as the true answer, the judge takes for right; and the answer to another face not."""
    from limner.faces.record import Attribute

    facts = {"gender_presentation": "woman", "age_group": "older", "hair_colour": "grey", "hair_length": "long",
             "skin_tone": "very light", "glasses": True, "hat": False, "smile": "broad", "eyes": "open",
             "face_shape": "oval", "lip_fullness": "thin", "background_brightness": "dark"}  # fmt: skip
    attributes = {name: Attribute(value, 0.95, "test") for name, value in facts.items()}
    judged = {"yes/no": 0, "choice": 0, "open": 0, "count": 0, "cannot be seen": 0}
    for seed in range(12):
        for question in write_questions(attributes, np.random.default_rng(seed), 14, counts={"ears": 2}):
            verdict = is_right(vars(question), question.answer)
            assert verdict is not False, question
            if verdict is not None:
                judged[question.kind] += 1
                assert not is_right(vars(question), "Perhaps."), question
                wrong = "Yes." if question.value == "no" else "No." if question.value == "yes" else "Seventeen."
                assert not is_right(vars(question), wrong), question
    assert min(judged.values()) > 5


def test_refusals_are_told_from_answers() -> None:
    assert refuses("I cannot tell her name from a picture.") and refuses("That would be a guess.")
    assert not refuses("Her mouth is closed.") and not refuses("No.")


def test_the_commonest_answer_is_that_of_the_same_thing_asked() -> None:
    train = [asked("yes/no", "no", "hat")] * 3 + [asked("yes/no", "yes", "hat"), asked("choice", "red", "hair_colour")]
    test = [asked("yes/no", "no", "hat"), asked("yes/no", "yes", "hat"), asked("choice", "red", "hair_colour"),
            asked("yes/no", "no", "never trained"), asked("cannot be seen", "")]  # fmt: skip
    found = commonest_right(train, test)
    assert found == {"cannot be seen": 1.0, "choice": 1.0, "yes/no": pytest.approx(2 / 3)}
    log = [{**each, "said": "No.", "right": right} for each, right in zip(test, (True, False, False, True, False))]
    summary = summarise_answers(log, found)
    assert summary["kinds"]["yes/no"] == {
        "judged": 3,
        "right": pytest.approx(2 / 3),
        "commonest_answer_right": found["yes/no"],
    }
    assert summary["answerable_right"] == 0.5 and summary["answerable_commonest"] == pytest.approx(0.75)
    assert summary["refused_though_answerable"] == 0


def test_captions_are_held_against_what_was_measured() -> None:
    truth = {"gender_presentation": "woman", "glasses": False, "hair_colour": "brown", "smile": "none"}
    found = claims_right(["A smiling woman with brown hair and no glasses, against a dark background."], [truth])
    assert found["precision"] == pytest.approx(3 / 4) and found["recall"] == pytest.approx(3 / 4)
    assert distinct(["a b c d e", "a b c d f"], 4) == pytest.approx(3 / 4)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    texts = {
        name: pad_texts([[[2 + k, 3]] for k in range(8)]) for name in ("captions", "prompts", "questions", "answers")
    }
    tensors = {"codes": draw_codes(8), **draw_features(8), **texts, "validation": torch.arange(8) > 3}
    tensors |= {"ask_long": torch.tensor([[17, 18]]), "ask_short": torch.tensor([[19, ABSENT]])}
    Prepared(tensors, {"model": {}}).save(tmp_path / "set.safetensors")
    return tmp_path


def test_the_picture_of_experts(data: Path, capsys) -> None:
    model = random_model()
    save_tensors(data / "w.safetensors", model.state_dict(), {"model": TINY.to_dict()})
    loaded = load_model(data / "w.safetensors")
    shares = measure_experts(loaded, Prepared.open(data / "set.safetensors"), 4)
    for group in ("understand", "paint"):
        tokens = np.array(shares[group]["token"])
        assert tokens.shape == (2, 4) and np.allclose(tokens.sum(1), 1) and tokens.std() > 0.01
    assert np.array(shares["paint"]["sequence"]).shape == (2, len(EXPERTS["paint"]))
    assert np.array(shares["understand"]["sequence"]).shape == (1, 4), "the last layer has none for understanding"
    words = [
        "evaluate",
        "unif2ace-experts",
        "set.safetensors",
        "--weights",
        str(data / "w.safetensors"),
        "--faces",
        "4",
    ]
    assert main([*words, "--plot", str(data / "experts.png"), "--out", str(data)]) == 0
    assert json.loads((data / "unif2ace-experts.json").read_text())["figures"]["paint"]["token"]
    assert (data / "experts.png").stat().st_size > 5000
    save_tensors(data / "dense.safetensors", random_model(dense()).state_dict(), {"model": dense().to_dict()})
    with pytest.raises(InputError, match="no experts"):
        measure_experts(load_model(data / "dense.safetensors"), Prepared.open(data / "set.safetensors"), 4)


def test_the_experts_of_a_run_are_those_it_exports(data: Path) -> None:
    table = {"kind": "unif2ace", "data": "set.safetensors", "model": TINY.to_dict(), "sheets": False}
    settings = {"steps": 2, "batch_size": 2, "warmup": 0, "precision": "fp32", "device": "cpu", "threads": 1}
    recipe = Recipe.model_validate({"name": "tiny", "task": table, "train": settings})
    weights = train(UniF2aceTask(recipe.task, 2, 0), recipe, data / "run")
    found, exported = load_model(data / "run"), load_model(weights)
    torch.testing.assert_close(found.embed.weight, exported.embed.weight, atol=1e-3, rtol=0)
    prepared = Prepared.open(data / "set.safetensors")
    shares = [measure_experts(model, prepared, 4)["paint"]["token"] for model in (found, exported)]
    np.testing.assert_allclose(*shares, atol=0.05)


def test_ablations_train_once_and_are_tabulated(data: Path, capsys) -> None:
    model = {k: v for k, v in TINY.to_dict().items() if k != "token_experts"}
    recipe = data / "a.toml"
    lines = ['name = "a"', "[task]", 'kind = "unif2ace"', 'data = "set.safetensors"', "validation_faces = 2"]
    lines += ["[task.model]", *(f"{k} = {json.dumps(v)}" for k, v in model.items())]
    lines += [
        "[train]",
        "steps = 2",
        "batch_size = 2",
        "warmup = 0",
        "threads = 1",
        "validate_every = 2",
        "log_every = 1",
    ]
    recipe.write_text("\n".join(lines))
    words = ["evaluate", "unif2ace-ablation", str(recipe), "--variant", "mask only", "--variant", "D3Diff α = 0.01"]
    words += ["--seeds", "2", "--runs", str(data / "runs"), "--out", str(data), "--plot", str(data / "a.png")]
    assert main(words) == 0
    printed = capsys.readouterr()
    figures = json.loads((data / "unif2ace-ablation.json").read_text())["figures"]
    assert set(figures) == {"mask only", "D3Diff α = 0.01"} and len(figures["mask only"]["mask"]["values"]) == 2
    assert figures["mask only"]["mask"]["values"][0] != figures["D3Diff α = 0.01"]["mask"]["values"][0]
    assert "| mask only |" in printed.out and "77.463" in printed.out and printed.err
    assert main(words) == 0
    assert json.loads((data / "unif2ace-ablation.json").read_text())["figures"] == figures
    assert not capsys.readouterr().err, "finished runs are not trained again"


def test_variants_are_the_paper_s() -> None:
    assert [v.published["fid"] for v in choose(VARIANTS, ["experts"])] == [72.877, 67.415, 69.312, 66.005]
    assert len(choose(VARIANTS, [])) == len(VARIANTS) == 9
    with pytest.raises(InputError, match="no variant 'other'"):
        choose(VARIANTS, ["other"])
    summary = summarise(
        {"mask only": [{"mask": 2.0, "score": 9.0, "answer": 1.0}, {"mask": 3.0, "score": 9.0, "answer": 1.0}]},
        FIGURES,
    )
    assert summary["mask only"]["mask"] == {"mean": 2.5, "spread": 1.0, "values": [2.0, 3.0]}
    assert "2.500 ± 0.500" in markdown(summary, VARIANTS, FIGURES)


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built set of three faces, all pictures noise, one of each split."""
    from limner.data.shards import SPLITS, pack_attributes
    from limner.faces.record import Attribute

    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    attributes = {"glasses": Attribute(False, 0.9, "test"), "hair_colour": Attribute("brown", 0.9, "test")}
    question = {"question": "Is she smiling?", "answer": "Yes.", "kind": "yes/no", "about": "smile", "value": "yes"}
    words = {"captions": ["A woman with brown hair."], "prompts": ["a woman", "a man"], "questions": [question]}
    row = {**words, "attributes": pack_attributes(attributes)}
    return write_noise_set(
        tmp_path / "set", {split: [{**row, "id": f"{split}{k}"} for k in range(2)] for split in SPLITS}
    )


def test_the_suites_at_the_command_line(built: Path, capsys) -> None:
    weights = write_tiny(built.parent / "weights")
    words = ["evaluate", "unif2ace", "set", "--weights", str(weights), "--out", str(built.parent)]
    log = built.parent / "log.json"
    assert main([*words, "--suite", "answers", "--log", str(log)]) == 0
    figures = json.loads((built.parent / f"unif2ace-answers.{built.name}.json").read_text())["figures"]
    assert figures["faces"] == 2 and figures["kinds"]["yes/no"]["commonest_answer_right"] == 1.0
    said = json.loads(log.read_text())
    assert [each["id"] for each in said] == ["test0", "test1"] and said[0]["said"]
    assert main([*words, "--suite", "captions"]) == 0
    figures = json.loads((built.parent / f"unif2ace-captions.{built.name}.json").read_text())["figures"]
    assert (
        figures["set"]["precision"] == 1.0 and figures["set"]["recall"] == 0.5 and figures["model"]["attributes"] >= 0
    )
    painting = ["--suite", "painting", "--count", "2", "--steps", "1", "--sheet", str(built.parent / "s.png")]
    assert main([*words, *painting]) == 0
    figures = json.loads((built.parent / f"unif2ace-painting.{built.name}.json").read_text())["figures"]
    assert figures["prompts"] == 2 and figures["fidelity"]["frechet"] > 0 and (built.parent / "s.png").is_file()
    assert main([*words, "--suite", "singing"]) == 2
    (built / DATA / "train-00000.parquet").unlink()
    assert main([*words, "--suite", "answers"]) == 0
    figures = json.loads((built.parent / f"unif2ace-answers.{built.name}.json").read_text())["figures"]
    assert figures["kinds"]["yes/no"]["commonest_answer_right"] == 1.0, "of the test faces, where none was trained on"


def test_prepared_from_a_built_set_by_the_command(built: Path, capsys) -> None:
    from limner.models.unif2ace.prepare import main as prepare

    weights, out = write_tiny(built.parent / "weights"), built.parent / "prepared"
    prepare([str(built), "--codec", str(weights / "codec"), "--out", str(out)])
    data = Prepared.open(out)
    assert len(data.tensors["codes"]) == 6 and len(data.rows(validation=True)) == 2
    assert data.header["model"]["codebook"] == 16 and data.tensors["clip"].shape == (6, 49, 320)
    assert "6 faces, 2 of them for validation" in capsys.readouterr().err


def test_a_discrete_codec_is_measured_too(built: Path, capsys) -> None:
    from codec.tiny import lpips_tensors
    from limner.codecs.discrete import LFQCodec, load_codec
    from limner.codecs.perceptual import LPIPS
    from limner.evaluation.codec import evaluate_codec
    from unif2ace.parts import write_codec

    write_codec(built.parent / "codec")
    codec = load_codec(built.parent / "codec")
    assert isinstance(codec, LFQCodec)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)
    figures = evaluate_codec(pictures, codec, LPIPS(lpips_tensors()))
    assert (
        1 / 16 <= figures["codebook_use"] <= 1
        and 1 <= figures["codebook_perplexity"] <= 16 * figures["codebook_use"] + 1e-6
    )
