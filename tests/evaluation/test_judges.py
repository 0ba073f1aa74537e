"""Judges: tiny real models held to the definitions, and language models behind a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torchmetrics.image.kid import poly_mmd
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    ViltConfig,
    ViltForQuestionAnswering,
    ViltImageProcessor,
    ViltProcessor,
)

from chat.model_server import ModelServer, saying
from limner.cli.app import main
from limner.errors import InputError
from limner.evaluation.clip_score import ClipScorer
from limner.evaluation.frechet import kid
from limner.evaluation.image_text_pairs import Pair, read_pairs
from limner.evaluation.llm_judge import summarise
from limner.evaluation.published import published, reference
from limner.evaluation.vqascore import QUESTION, load_vqa_model, vqa_scores
from limner.faces.picture import encode_png

WORDS = ["<pad>", "<s>", "</s>", "<image>", "Yes", "No", "woman", "man", "smiling", "a", "USER", ":", "?", "figure"]


def tokenizer(**more: str) -> PreTrainedTokenizerFast:
    """Splits at spaces and marks; unknown words are </s>."""
    inner = Tokenizer(models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="</s>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    if more.pop("ends", ""):
        inner.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    marks = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "</s>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, additional_special_tokens=["<image>"], model_max_length=77, **marks, **more
    )


def photo() -> np.ndarray:
    return np.ascontiguousarray(skimage.data.astronaut()[:256, 96:352])


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    pictures = [photo(), photo()[:, ::-1], 255 - photo()]
    texts = ["a smiling woman", "a man", "a woman " * 100]
    return [Pair(str(k), text, encode_png(np.ascontiguousarray(p))) for k, (p, text) in enumerate(zip(pictures, texts))]


VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 16,
}  # fmt: skip
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    text = {**TEXT, "vocab_size": len(WORDS), "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=8))
    with torch.no_grad():  # as initialised, all texts and all pictures point the same way, away from each other
        for layer in (model.visual_projection, model.text_projection):
            layer.weight.copy_(torch.eye(8, 16))
        model.text_model.embeddings.token_embedding.weight.normal_(std=1)
        model.vision_model.embeddings.patch_embedding.weight.normal_(std=0.5)
    model.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer(ends="yes").save_pretrained(folder)
    return folder


def test_clip_score_is_the_cosine(clip_folder: Path, pairs: list[Pair]) -> None:
    scorer = ClipScorer.load(clip_folder)
    scores = scorer.score(pairs)
    model, tokens = CLIPModel.from_pretrained(clip_folder), tokenizer(ends="yes")
    for pair, score in zip(pairs, scores, strict=True):
        small = Image.fromarray(pair.picture()).resize((32, 32), Image.Resampling.BICUBIC)
        mean, deviation = scorer.processor.image_processor.image_mean, scorer.processor.image_processor.image_std
        x = torch.tensor((np.asarray(small) / 255 - mean) / deviation, dtype=torch.float32).permute(2, 0, 1)[None]
        ids = torch.tensor([tokens(pair.text, truncation=True, max_length=77).input_ids])
        with torch.no_grad():
            a = model.visual_projection(model.vision_model(x).pooler_output)
            b = model.text_projection(model.text_model(ids).pooler_output)
        expected = 100 * max(0.0, torch.cosine_similarity(a, b).item())
        assert score == pytest.approx(expected, abs=0.02)
    assert max(scores) > 1 and len({round(score, 3) for score in scores}) > 1


@pytest.fixture(scope="module")
def llava_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    torch.manual_seed(0)
    text = {
        **TEXT, "model_type": "llama", "num_key_value_heads": 2, "vocab_size": len(WORDS),
        "max_position_embeddings": 256,
    }  # fmt: skip
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **VISION},
        text_config=text,
        image_token_index=WORDS.index("<image>"),
        image_seq_length=4,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        images, tokenizer(), patch_size=16, vision_feature_select_strategy="default", num_additional_image_tokens=1
    ).save_pretrained(folder)
    return folder


def test_vqascore_of_a_writing_model_is_the_probability_of_yes(llava_folder: Path, pairs: list[Pair]) -> None:
    model: Any = load_vqa_model(llava_folder)
    scores = vqa_scores(model, pairs)
    # by generating: the distribution of the first token that the model would write
    for pair, score in zip(pairs, scores, strict=True):
        question = QUESTION.format(text=pair.text)
        given = model.processor(
            images=pair.picture(), text=f"USER: <image>\n{question} ASSISTANT:", return_tensors="pt"
        )
        written = model.model.generate(
            **given, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
        expected = written.logits[0][0].softmax(-1)[WORDS.index("Yes")].item()
        assert score == pytest.approx(expected, rel=1e-4)
    assert len({round(score, 6) for score in scores}) == 3


def test_vqascore_of_a_choosing_model_is_its_label(tmp_path: Path, pairs: list[Pair]) -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        **VISION, "num_hidden_layers": 1, "vocab_size": len(WORDS), "max_position_embeddings": 77,
        "id2label": {0: "no", 1: "yes", 2: "red"}, "label2id": {"no": 0, "yes": 1, "red": 2},
    }  # fmt: skip
    config = ViltConfig(**settings)
    ViltForQuestionAnswering(config).save_pretrained(tmp_path)
    ViltProcessor(ViltImageProcessor(size={"shortest_edge": 32}), tokenizer()).save_pretrained(tmp_path)
    model: Any = load_vqa_model(tmp_path)
    score = vqa_scores(model, pairs[:1])[0]
    given = model.processor(pairs[0].picture(), QUESTION.format(text="a smiling woman"), return_tensors="pt")
    with torch.no_grad():
        logits = model.model(**given).logits[0]
    assert score == pytest.approx(1 / (1 + np.exp(-logits[1].item())), rel=1e-4) and logits[1] != logits[0]


def test_folders_that_are_no_judge_are_refused(tmp_path: Path, clip_folder: Path, llava_folder: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        load_vqa_model(tmp_path)
    with pytest.raises(InputError, match="kind 'clip', which answers no questions"):
        load_vqa_model(clip_folder)
    with pytest.raises(InputError, match="no CLIP model"):
        ClipScorer.load(llava_folder)


def test_kid_is_that_of_torchmetrics() -> None:
    random = np.random.default_rng(0)
    one, other = random.standard_normal((40, 6)), random.standard_normal((50, 6)) + 0.3
    everything = poly_mmd(torch.tensor(one), torch.tensor(other[:40]), 3, 1 / 6, 1.0).item()
    mean, deviation = kid(one, other[:40], subsets=3, size=40)
    assert mean == pytest.approx(everything) and deviation == pytest.approx(0, abs=1e-9)
    rng = np.random.default_rng(7)
    subsets = [(one[rng.permutation(40)[:10]], other[rng.permutation(50)[:10]]) for _ in range(5)]
    expected = [poly_mmd(torch.tensor(a), torch.tensor(b), 3, 1 / 6, 1.0).item() for a, b in subsets]
    assert kid(one, other, subsets=5, size=10, seed=7) == pytest.approx((np.mean(expected), np.std(expected)))
    with pytest.raises(InputError, match="at least two"):
        kid(one[:1], other)


def test_published_figures_are_those_of_the_paper() -> None:
    models_ = published()["models"]
    assert models_["UniF²ace"]["FID"] == 66.005 and models_["Show-o"]["VLM-score"] == 75.618
    assert set(reference("Desc-GPT")["Desc-GPT"]) == set(models_) - {"SD3"}
    best = {name: (min if name == "FID" else max)(row[name] for row in models_.values() if name in row) for name in
            published()["metrics"]}  # fmt: skip
    assert all(models_["UniF²ace"][name] == best[name] for name in best if name != "VQAscore-CF5")
    with pytest.raises(ValueError, match="no published metric"):
        reference("IS")


def test_the_interval_holds_the_mean() -> None:
    figures = summarise([5.0, 7.0, None, 9.0])
    assert figures["judged"] == 3 and figures["without_score"] == 1 and figures["mean"] == 7
    assert 5 <= figures["low"] < 7 < figures["high"] <= 9
    assert summarise([None]) == {"judged": 0, "without_score": 1}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    with ModelServer().running() as running:
        monkeypatch.setenv("LIMNER_JUDGE_URL", running.url)
        monkeypatch.setenv("LIMNER_JUDGE_MODEL", "examiner")
        yield running


def test_texts_are_judged_once_and_kept(
    server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [{"id": str(k), "question": f"Q{k}?", "answer": f"A{k}", "reference": f"R{k}"} for k in range(4)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    server.faults = [500, saying('{"score": 11}'), saying("I refuse")]
    for rubric in ("desc", "conv"):
        command = ["evaluate", "judge", rubric, str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "r"), "--yes"]
        assert main(command) == 0
        asked = len(server.bodies)
        assert main(command) == 0 and len(server.bodies) == asked  # nothing is asked twice
        result = json.loads((tmp_path / "r" / f"judge-{rubric}.examiner.{tmp_path.name}-a.json").read_text())
        assert result["figures"]["mean"] == 7 and result["figures"]["judged"] == 4
        assert (
            result["settings"]["verdicts"]["2"][1].startswith("because") and result["settings"]["judge"] == "examiner"
        )
        assert result["settings"]["published"][f"{rubric.title()}-DS"]["UniF²ace"] > 7
    text = str(server.bodies[-1]["messages"])
    assert "Q" in text and "R" in text and server.bodies[-1]["temperature"] == 0
    assert "published Desc-GPT: Show-o 3.88" in capsys.readouterr().out


def test_paintings_are_judged_by_their_words(
    server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(photo()).save(tmp_path / "p.png")
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"id": "p", "image": "p.png", "text": "a smiling woman"}))
    command = ["evaluate", "judge", "vlm", str(tmp_path / "pairs.jsonl"), "--out", str(tmp_path / "r")]
    assert main(command) == 2 and "pass --yes" in capsys.readouterr().err and not server.bodies
    assert main([*command, "--yes"]) == 0
    content = server.bodies[0]["messages"][1]["content"]
    assert "a smiling woman" in content[0]["text"] and content[1]["image_url"]["url"].startswith("data:image/jpeg")
    stored = tmp_path / "r" / f"judge-vlm.examiner.{tmp_path.name}-pairs.json"
    assert json.loads(stored.read_text())["figures"]["mean"] == 70


def test_another_judge_or_file_is_asked_about_and_kept_apart(
    server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        lines = [json.dumps({"answer": f"A{name}{k}", "reference": "R"}) for k in range(3)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))

    def command(name: str, model: str, *more: str) -> list[str]:
        words = ["evaluate", "judge", "desc", str(tmp_path / f"{name}.jsonl"), "--model", model]
        return [*words, "--out", str(tmp_path / "r"), *more]

    assert main(command("a", "one", "--yes")) == 0 and len(server.bodies) == 3
    for name, model in (("b", "one"), ("a", "two")):  # another file, whose lines have the same numbers; another judge
        capsys.readouterr()
        assert main(command(name, model)) == 2 and len(server.bodies) == 3
        error = capsys.readouterr().err
        assert "3 requests" in error and "pass --yes" in error
        assert main(command(name, model, "--yes")) == 0
        assert main(command(name, model)) == 0 and "0 requests" in capsys.readouterr().err
        server.bodies = server.bodies[:3]
    place = tmp_path.name
    stored = sorted(path.name for path in (tmp_path / "r").glob("*.json"))
    assert stored == [f"judge-desc.{judged}.json" for judged in (f"one.{place}-a", f"one.{place}-b", f"two.{place}-a")]


def test_models_judge_from_the_command_line(
    clip_folder: Path, llava_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(3):
        Image.fromarray(np.roll(photo(), 30 * k, 1)).save(tmp_path / f"{k}.png")
    lines = [json.dumps({"image": f"{k}.png", "text": "a woman"}) for k in range(3)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    for verb, folder in (("clip", clip_folder), ("vqascore", llava_folder)):
        command = ["evaluate", "judge", verb, str(tmp_path / "pairs.jsonl"), "--model", str(folder)]
        assert main([*command, "--out", str(tmp_path / "r"), "--limit", "2"]) == 0
        result = json.loads((tmp_path / "r" / f"judge-{verb}.{folder.name}.{tmp_path.name}-pairs.json").read_text())
        assert result["figures"]["judged"] == 2 and len(result["settings"]["scores"]) == 2
    capsys.readouterr()
    assert main(["evaluate", "judge", "kid", str(tmp_path), str(tmp_path), "--out", str(tmp_path / "r")]) == 0
    printed = capsys.readouterr().out
    assert "other features" in printed and "other judge" not in printed
    figures = json.loads((tmp_path / "r" / f"judge-kid.{tmp_path.name}.{tmp_path.name}.json").read_text())["figures"]
    assert figures["protocol"] == "limner-lite0-256" and figures["frechet"] == pytest.approx(0, abs=1e-3)
    assert main(["evaluate", "judge", "published"]) == 0
    assert "88.049" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("{}", "line 1: no text 'image'; it has nothing"),
        ("x", "is not JSON"),
        ("[]", "not a JSON object"),
    ],
)
def test_files_that_do_not_fit_are_one_line(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(InputError, match=message):
        read_pairs(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match="is no file"):
        read_pairs(tmp_path / "b.jsonl")
