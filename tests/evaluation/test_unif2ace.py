"""Judges of answers and captions against cases by hand; experts and ablations on a tiny prepared set."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from chat.model_server import ModelServer, text_of
from evaluation.noise_set import write_noise_set
from limner.cli.app import main
from limner.data.shards import DATA
from limner.errors import InputError
from limner.evaluation.ablation_metrics import stated_by
from limner.evaluation.ablation_order import compare_orders, spell_orders
from limner.evaluation.ablation_runner import choose, markdown, summarise
from limner.evaluation.answer_accuracy import (
    claims_by_attribute,
    claims_right,
    commonest_right,
    distinct,
    is_one_sentence,
    is_right,
    lengths,
    refuses,
    short_answer,
    summarise_answers,
)
from limner.evaluation.codec_fidelity import attributes_kept, evaluate_codec
from limner.evaluation.expert_usage import load_model, measure_experts
from limner.evaluation.face_sets import face_set
from limner.evaluation.prompt_alignment import draw_prompt
from limner.evaluation.refusal_rate import EACH
from limner.evaluation.unif2ace_ablation import COMPARED, FIGURES, VARIANTS
from limner.models.unif2ace.prepared import ABSENT, PreparedConversations, pad_texts
from limner.models.unif2ace.sequence_experts import EXPERTS
from limner.models.unif2ace.task import UniF2aceTask
from limner.models.unif2ace.tokenizer import Tokenizer
from limner.training.config import TrainingConfig
from limner.training.loop import train
from limner.weights.tensors import save_tensors
from limner.words.questions import write_questions
from unif2ace.parts import write_codec, write_tiny
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
    PreparedConversations.write(tmp_path / "set", tensors, {"model": {}})
    return tmp_path


def test_the_picture_of_experts(data: Path, capsys) -> None:
    model = random_model()
    save_tensors(data / "w.safetensors", model.state_dict(), {"model": TINY.to_dict()})
    loaded = load_model(data / "w.safetensors")
    shares = measure_experts(loaded, PreparedConversations.open(data / "set"), 4)
    for group in ("understand", "paint"):
        tokens = np.array(shares[group]["token"])
        assert tokens.shape == (2, 4) and np.allclose(tokens.sum(1), 1) and tokens.std() > 0.01
    assert np.array(shares["paint"]["sequence"]).shape == (2, len(EXPERTS["paint"]))
    assert np.array(shares["understand"]["sequence"]).shape == (1, 4), "the last layer has none for understanding"
    words = [
        "evaluate",
        "unif2ace-experts",
        "set",
        "--weights",
        str(data / "w.safetensors"),
        "--faces",
        "4",
    ]
    assert main([*words, "--plot", str(data / "experts.png"), "--out", str(data)]) == 0
    assert json.loads((data / "unif2ace-experts.json").read_text())["figures"]["paint"]["token"]
    assert (data / "experts.png").stat().st_size > 5000
    assert load_model(Path("unif2ace-nano")).config.layers == 8, "weights of the registry by their name"
    save_tensors(data / "dense.safetensors", random_model(dense()).state_dict(), {"model": dense().to_dict()})
    with pytest.raises(InputError, match="no experts"):
        measure_experts(load_model(data / "dense.safetensors"), PreparedConversations.open(data / "set"), 4)


def test_the_experts_of_a_run_are_those_it_exports(data: Path) -> None:
    table = {"kind": "unif2ace", "data": "set", "model": TINY.to_dict(), "sample_sheets": False}
    settings = {"steps": 2, "batch_size": 2, "warmup": 0, "precision": "fp32", "device": "cpu", "threads": 1}
    recipe = TrainingConfig.model_validate({"name": "tiny", "task": table, "train": settings})
    weights = train(UniF2aceTask(recipe.task, 2, 0), recipe, data / "run")
    found, exported = load_model(data / "run"), load_model(weights)
    torch.testing.assert_close(found.embed.weight, exported.embed.weight, atol=1e-3, rtol=0)
    prepared = PreparedConversations.open(data / "set")
    shares = [measure_experts(model, prepared, 4)["paint"]["token"] for model in (found, exported)]
    np.testing.assert_allclose(*shares, atol=0.05)


def test_ablations_train_once_and_are_tabulated(data: Path, capsys) -> None:
    words = Tokenizer.load()
    texts = {name: [[words.encode([text])[0]]] * 8 for name, text in (("captions", "A woman with brown hair."),
             ("prompts", "a woman"), ("questions", "Is she smiling?"), ("answers", "Yes."))}  # fmt: skip
    tensors = {name: pad_texts(given) for name, given in texts.items()} | draw_features(8)
    tensors |= {"codes": draw_codes(8, config=replace(TINY, image_tokens=256)), "validation": torch.arange(8) > 3}
    tensors |= {"ask_long": torch.tensor([[17, 18]]), "ask_short": torch.tensor([[19, ABSENT]])}
    write_codec(data / "codec")
    header = {"model": {"image_tokens": 256, "text_vocabulary": words.size}, "codec": str(data / "codec")}
    PreparedConversations.write(data / "set", tensors, {**header, "tokenizer": "unif2ace-words"})
    recipe = data / "a.toml"
    lines = ['name = "a"', "[task]", 'kind = "unif2ace"', 'data = "set"', "validation_faces = 2"]
    lines += ["sample_steps = 1", "[task.model]", *(f"{k} = {json.dumps(v)}" for k, v in TINY.to_dict().items())]
    lines += ["[train]", "steps = 2", "batch_size = 2", "warmup = 0", "threads = 1", "validate_every = 2"]
    recipe.write_text("\n".join([*lines, "log_every = 1"]))
    command = ["evaluate", "unif2ace-ablation", str(recipe), "--seeds", "2", "--runs", str(data / "runs")]
    command += ["--out", str(data), "--plot", str(data / "a.png"), "--paint", "3"]
    for name in ("mask only", "D3Diff α = 0.01", "both levels"):
        command += ["--variant", name]
    assert main(command) == 0
    printed = capsys.readouterr()
    stored = json.loads((data / "unif2ace-ablation.json").read_text())
    cells = stored["figures"]["cells"]
    assert set(cells) == {"mask only", "D3Diff α = 0.01", "both levels"} and stored["settings"]["paint"] == 3
    assert len(cells["mask only"]["mask"]["values"]) == 2
    assert cells["mask only"]["mask"]["values"][0] != cells["both levels"]["mask"]["values"][0]
    assert cells["both levels"] == cells["D3Diff α = 0.01"], "one training serves both tables"
    assert sorted(run.name for run in (data / "runs").iterdir()) == [
        "d3diff-0.01-0", "d3diff-0.01-1", "mask-only-0", "mask-only-1"
    ]  # fmt: skip
    assert cells["both levels"]["frechet"]["mean"] > 0 and cells["both levels"]["caption_recall"]["mean"] >= 0
    assert 0 <= cells["both levels"]["wishes"]["mean"] <= 1 and "kernel_times_1000" in cells["both levels"]
    order = stored["figures"]["paper_order"]
    assert order["loss"]["fid"]["paper"] == ["D3Diff α = 0.01", "mask only"] and "experts" not in order
    assert "| mask only |" in printed.out and "77.463" in printed.out and printed.err
    assert f"paper's order: {'yes' if order['loss']['fid']['same'] else 'no'}" in printed.out
    assert main(command) == 0
    assert json.loads((data / "unif2ace-ablation.json").read_text())["figures"] == stored["figures"]
    assert not capsys.readouterr().err, "finished runs are not trained again"
    recipe.write_text("\n".join([*lines, "log_every = 1"]).replace("mlp_width = 40", "mlp_width = 24"))
    assert main(command) == 2 and "was started with task.model" in capsys.readouterr().err


def test_variants_are_the_paper_s() -> None:
    assert [v.published["fid"] for v in choose(VARIANTS, ["experts"])] == [72.877, 67.415, 69.312, 66.005]
    assert len(choose(VARIANTS, [])) == len(VARIANTS) == 9
    tasks = {v.cell: v.task for v in VARIANTS}
    assert all(v.task == tasks[v.cell] for v in VARIANTS), "rows that share a cell ask for the same training"
    assert len(tasks) == len({json.dumps(task, sort_keys=True) for task in tasks.values()}) == 8
    with pytest.raises(InputError, match="no variant 'other'"):
        choose(VARIANTS, ["other"])
    summary = summarise(
        {"mask only": [{"mask": 2.0, "score": 9.0, "answer": 1.0}, {"mask": 3.0, "score": 9.0, "answer": 1.0}]},
        FIGURES,
    )
    found = {"mean": 2.5, "low": 2.0, "high": 3.0, "spread": 1.0, "values": [2.0, 3.0]}
    assert summary["mask only"]["mask"] == found
    assert "2.500 (2.000 – 3.000)" in markdown(summary, VARIANTS, FIGURES)


def test_the_paper_s_order_is_told_from_others() -> None:
    rows = [v for v in VARIANTS if v.table == "experts"]
    theirs = {v.name: [{"frechet": v.published["fid"], "caption_f1": v.published["desc"]}] * 2 for v in rows}
    found = compare_orders(summarise(theirs, FIGURES), VARIANTS, COMPARED)
    orders = found["experts"]
    assert orders["fid"]["same"] and orders["fid"]["alike"] == orders["fid"]["apart"] == orders["fid"]["pairs"] == 6
    assert orders["desc"]["same"] and orders["desc"]["ours"][0] == "both levels"
    assert spell_orders(found).count("paper's order: yes (6 of 6 pairs, 6 of them beyond") == 2
    # token and sequence level change places by their Fréchet distance; others lie within each other's spread
    theirs["no experts"] = [{"frechet": 67.9, "caption_f1": 4.988}, {"frechet": 80.0, "caption_f1": 4.988}]
    theirs["sequence level"] = [{"frechet": 66.5, "caption_f1": 5.8}, {"frechet": 68.0, "caption_f1": 5.9}]
    theirs["token level"] = [{"frechet": 67.4, "caption_f1": 5.0}, {"frechet": 67.5, "caption_f1": 5.86}]
    found = compare_orders(summarise(theirs, FIGURES), VARIANTS, COMPARED)
    orders = found["experts"]
    assert not orders["fid"]["same"] and (orders["fid"]["alike"], orders["fid"]["apart"]) == (5, 4)
    assert orders["fid"]["ours"] == ["both levels", "sequence level", "token level", "no experts"]
    assert orders["desc"]["same"] and orders["desc"]["apart"] == 5
    assert "experts, frechet for the paper's FID: paper's order: no (5 of 6" in spell_orders(found)
    table = markdown(summarise(theirs, FIGURES), VARIANTS, FIGURES)
    assert "| paper's FID | paper's Desc |" in table and "| 66.005 | 6.023 |" in table


def test_what_captions_say_is_their_sure_claims() -> None:
    assert stated_by(["A woman with fair skin.", "Her hair is brown."]) == {
        "gender_presentation": "woman", "hair_colour": "brown"
    }, "fair skin may be light or very light"  # fmt: skip


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
    printed = capsys.readouterr().out
    assert "right: yes/no" in printed and "Conv-GPT" in printed and "6.53" in printed and "{" not in printed
    stored = json.loads((built.parent / f"unif2ace-answers.{built.name}.json").read_text())
    figures = stored["figures"]
    assert figures["faces"] == 2 and figures["kinds"]["yes/no"]["commonest_answer_right"] == 1.0
    assert figures["attributes"]["smile"]["judged"] == 2 and stored["settings"]["published"]["Conv-DS"] == 7.29
    assert (built.parent / f"unif2ace-answers.{built.name}.png").stat().st_size > 5000
    said = json.loads(log.read_text())
    assert [each["id"] for each in said] == ["test0", "test1"] and said[0]["said"]
    assert main([*words, "--suite", "refusals", "--log", str(log)]) == 0
    figures = json.loads((built.parent / f"unif2ace-refusals.{built.name}.json").read_text())["figures"]
    said = json.loads(log.read_text())
    assert figures["questions"] == len(said) == 2 * EACH and len({each["question"] for each in said}) > EACH
    assert figures["refused"] == sum(refuses(each["said"]) for each in said) / len(said) < 0.5
    assert "declined" in capsys.readouterr().out
    assert main([*words, "--suite", "phrasings", "--log", str(log)]) == 0
    figures = json.loads((built.parent / f"unif2ace-phrasings.{built.name}.json").read_text())["figures"]
    said = json.loads(log.read_text())
    assert figures["questions"] == len(said) == 2 and {each["question"] for each in said} <= {
        "Is anybody smiling?", "Do you see a smile?",
    }  # fmt: skip
    assert figures["attributes"]["smile"] == {name: figures[name] for name in ("own_words", "other_words")}
    assert figures["other_words"] == sum(is_right(each, each["said"]) or 0 for each in said) / 2
    assert "no training text" in capsys.readouterr().out
    assert main([*words, "--suite", "captions", "--no-plot", "--json"]) == 0
    figures = json.loads((built.parent / f"unif2ace-captions.{built.name}.json").read_text())["figures"]
    assert json.loads(capsys.readouterr().out) == figures
    assert not (built.parent / f"unif2ace-captions.{built.name}.png").exists()
    assert (
        figures["set"]["precision"] == 1.0 and figures["set"]["recall"] == 0.5 and figures["model"]["attributes"] >= 0
    )
    for kind in ("model", "short"):  # a model that never says its end of text, up to the limit
        assert figures[kind]["tokens_mean"] == figures[kind]["tokens_most"] == 200 and figures[kind]["ended"] == 0
    assert figures["short"]["one_sentence"] in (0.0, 0.5, 1.0)
    assert figures["attributes"]["hair_colour"]["known"] == 2
    painting = ["--suite", "painting", "--count", "2", "--faces", "3", "--steps", "1", "--temperature", "0.5"]
    assert main([*words, *painting, "--sheet", str(built.parent / "s.png")]) == 0
    stored = json.loads((built.parent / f"unif2ace-painting.{built.name}.json").read_text())
    figures = stored["figures"]
    assert figures["prompts"] == 2 and figures["fidelity"]["painted"] == 3 and (built.parent / "s.png").is_file()
    assert figures["fidelity"]["frechet"] > 0 and "kernel_times_1000" in figures["fidelity"]
    assert stored["settings"]["temperature"] == 0.5 and stored["settings"]["faces"] == 3
    assert "FID" in capsys.readouterr().out
    assert main([*words, *painting, "--best", "2"]) == 0
    chosen = json.loads((built.parent / f"unif2ace-painting-best-2.{built.name}.json").read_text())
    assert chosen["settings"]["best"] == 2 and chosen["figures"]["prompts"] == 2
    assert main([*words, "--suite", "singing"]) == 2
    for option in ("--faces", "--best"):
        assert main([*words, "--suite", "answers", option, "3"]) == 2
        assert f"{option} is for --suite painting" in capsys.readouterr().err
    (built / DATA / "train-00000.parquet").unlink()
    assert main([*words, "--suite", "answers"]) == 0
    figures = json.loads((built.parent / f"unif2ace-answers.{built.name}.json").read_text())["figures"]
    assert figures["kinds"]["yes/no"]["commonest_answer_right"] == 1.0, "of the test faces, where none was trained on"


def test_judges_read_what_the_suites_write(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, place = write_tiny(built.parent / "weights"), built.parent / "judged"
    words = ["evaluate", "unif2ace", "set", "--weights", str(weights), "--out", str(built.parent)]
    words += ["--judge-files", str(place)]
    assert main([*words, "--suite", "prompted"]) == 2
    for suite, more in (("captions", []), ("answers", []), ("painting", ["--faces", "2", "--steps", "1"])):
        assert main([*words, "--suite", suite, "--count", "2", *more]) == 0
    with ModelServer().running() as server:
        monkeypatch.setenv("LIMNER_JUDGE_URL", server.url)
        for rubric, file, asked in (
            ("desc", "captions", "A woman with brown hair."),
            ("conv", "answers", "Is she smiling?"),
            ("vlm", "paintings", draw_prompt(0)[0]),
        ):
            before = len(server.bodies)
            command = ["evaluate", "judge", rubric, str(place / f"{file}.jsonl"), "--model", "m", "--yes"]
            assert main([*command, "--concurrency", "1", "--out", str(place / "r")]) == 0
            result = json.loads((place / "r" / f"judge-{rubric}.m.judged-{file}.json").read_text())
            assert result["figures"]["judged"] == 2 == len(server.bodies) - before
            assert asked in text_of(server.bodies[before])
    assert len(list((place / "paintings").glob("*.png"))) == 2


def test_lengths_and_sentences_of_captions() -> None:
    assert lengths([3, 5, 10], 10) == {"tokens_mean": 6.0, "tokens_most": 10, "ended": pytest.approx(2 / 3)}
    assert lengths([], 10) == {"tokens_mean": None, "tokens_most": None, "ended": None}
    for text, one in (("A woman with a 5-o'clock shadow.", True), ("A woman. She smiles.", False), ("A woman", False),
                      ("A woman with", False), (".", False), ("", False)):  # fmt: skip
        assert is_one_sentence(text) is one, text


def test_claims_are_counted_attribute_by_attribute() -> None:
    truths = [{"hair_colour": "brown", "glasses": True}, {"hair_colour": "red"}]
    found = claims_by_attribute(["A woman with brown hair.", "Brown hair and glasses."], truths)
    assert found == {
        "glasses": {"claimed": 0, "precision": None, "known": 1, "recall": 0.0},
        "hair_colour": {"claimed": 2, "precision": 0.5, "known": 2, "recall": 0.5},
    }, "glasses of the second face were not measured"


def test_prepared_from_a_built_set_by_the_command(built: Path, capsys) -> None:
    from limner.models.unif2ace.prepare import main as prepare

    weights, out = write_tiny(built.parent / "weights"), built.parent / "prepared"
    prepare([str(built), "--codec", str(weights / "codec"), "--out", str(out)])
    data = PreparedConversations.open(out)
    assert len(data.stored) == 6 and len(data.rows(validation=True)) == 2
    assert data.header["model"]["codebook"] == 16 and data.stored.shape("clip") == (49, 320)
    assert "6 faces, 2 of them for validation" in capsys.readouterr().err


def test_a_discrete_codec_is_measured_too(built: Path, capsys) -> None:
    from codec.tiny import lpips_tensors
    from limner.codecs.discrete import LFQCodec, load_codec
    from limner.codecs.perceptual import LPIPS

    write_codec(built.parent / "codec")
    codec = load_codec(built.parent / "codec")
    assert isinstance(codec, LFQCodec)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)
    figures = evaluate_codec(pictures, codec, LPIPS(lpips_tensors()))
    assert (
        1 / 16 <= figures["codebook_use"] <= 1
        and 1 <= figures["codebook_perplexity"] <= 16 * figures["codebook_use"] + 1e-6
    )


def test_what_a_codec_keeps_of_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from codec.tiny import lpips_tensors
    from limner.faces.reader import FaceReader

    monkeypatch.setenv("LIMNER_DATA", str(files("limner.demo")))
    save_tensors(tmp_path / "lpips.safetensors", lpips_tensors(), {})
    words = ["evaluate", "codec", "--pictures", "photographs", "--align", "--weights", "lfq-codec-nano"]
    words += ["--last", "4", "--lpips", str(tmp_path / "lpips.safetensors"), "--out", str(tmp_path)]
    assert main([*words, "--attributes"]) == 0
    kept = json.loads((tmp_path / "lfq-codec-nano.photographs.json").read_text())["figures"]["attributes_kept"]
    shares = {name: value for name, value in kept.items() if name not in ("all", "faces")}
    assert shares.keys() == kept["faces"].keys() and kept["all"] == pytest.approx(
        np.mean(list(shares.values())), abs=1e-4
    )
    genders = [name for name in shares if name.startswith("gender_presentation")]
    assert sum(kept["faces"][name] for name in genders) == 4 and 0.5 < kept["all"] < 1

    reader, faces = FaceReader.load(), face_set("photographs", 4, True)
    told: list[int] = []
    kept = attributes_kept(faces, Same(), reader, lambda done, total: told.append(done))  # pyright: ignore[reportArgumentType]
    assert kept["all"] == 1.0 and told == [4]
    kept = attributes_kept(faces, Grey(), reader, lambda done, total: None)  # pyright: ignore[reportArgumentType]
    assert kept["all"] == 0.0


class Same:
    """A codec that loses nothing."""

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z


class Grey(Same):
    """A codec that loses everything."""

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(z)
