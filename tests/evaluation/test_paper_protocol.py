"""The papers' judges against their definitions on small random weights, and a whole table from a folder."""

from __future__ import annotations

import json
import runpy
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from limner.cli.app import main
from limner.data.shards import FIELDS, write_shard
from limner.errors import InputError
from limner.evaluation.clip_t5 import SYSTEM, ClipT5
from limner.evaluation.cmmd import BANDWIDTH, ClipEmbedder, cmmd
from limner.evaluation.external_parser import ExternalParser, mask_figures
from limner.evaluation.frechet import frechet_distance
from limner.evaluation.inception import Inception, clean_resize, inception_features
from limner.evaluation.paper_protocol import (
    Judges,
    measure,
    paint_split,
    paintings,
    real_pictures,
    subjects,
    table,
)
from limner.evaluation.vqascore import load_vqa_model
from limner.faces.parse_task import confusion
from limner.faces.picture import encode_png
from limner.faces.regions import ORDERS, from_order
from unif2ace.test_encoders import field

ROOT = Path(__file__).parents[2]
VISION: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 16,
}  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Inception:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from inception_parity import randomise

    torch.manual_seed(0)
    return randomise(Inception())


@pytest.fixture(scope="module")
def inception_file(network: Inception, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Through the tool, as a user makes it of the published pickle."""
    place = tmp_path_factory.mktemp("inception")
    torch.save(network.state_dict(), place / "weights.pth")
    convert = runpy.run_path(str(ROOT / "tools" / "convert" / "inception.py"))["convert"]
    convert(place / "weights.pth", place / "inception.safetensors")
    return place / "inception.safetensors"


def test_pictures_are_resized_as_clean_fid_does() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    found = clean_resize(picture, 20)
    plane = Image.fromarray(picture[..., 1].astype(np.float32))
    assert found.dtype == np.float32 and found.shape == (20, 20, 3)
    expected = np.asarray(plane.resize((20, 20), Image.Resampling.BICUBIC)).clip(0, 255)
    assert np.array_equal(found[..., 1], expected) and not np.array_equal(found, found.round())


def test_inception_features_are_pooled_and_read_from_the_tool_s_file(network: Inception, inception_file: Path) -> None:
    pictures = [np.random.default_rng(k).integers(0, 256, (40, 40, 3), dtype=np.uint8) for k in range(3)]
    found = inception_features(iter(pictures), Inception.load(inception_file), batch=2)
    x = torch.from_numpy(np.stack([clean_resize(picture) for picture in pictures])).permute(0, 3, 1, 2)
    with torch.no_grad():
        assert np.allclose(found, network(x).numpy(), atol=1e-4) and found.shape == (3, 2048)
    assert len(network.state_dict()) == 94 * 6 + 2  # 94 convolutions with their norms, and the classes
    stored = json.loads((ROOT / "results" / "inception-parity.json").read_text("utf-8"))["figures"]
    assert stored["largest_difference"] < 1e-5 < stored["spread_of_features"]


def test_averages_leave_the_padding_out(network: Inception) -> None:
    from limner.evaluation.inception import _pool

    ones = torch.ones(1, 1, 5, 5)
    assert torch.equal(_pool(ones, "average"), ones) and _pool(ones, "shrink").shape == (1, 1, 2, 2)


def test_cmmd_is_its_double_sum() -> None:
    random = np.random.default_rng(0)
    one, other = random.standard_normal((5, 3)), random.standard_normal((4, 3)) + 1

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([[np.exp(-((x - y) ** 2).sum() / (2 * BANDWIDTH**2)) for y in b] for x in a]))

    assert cmmd(one, other) == pytest.approx(
        1000 * (kernel(one, one) + kernel(other, other) - 2 * kernel(one, other)), rel=1e-6
    )
    assert abs(cmmd(one, one)) < 1e-6 < cmmd(one, other)


@pytest.fixture(scope="module")
def cmmd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION, projection_dim=8)).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({"model_type": "clip", "vision_config": config, "projection_dim": 8})
    )
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_clip_embeddings_have_length_one(cmmd_folder: Path) -> None:
    pictures = [np.full((40, 40, 3), value, np.uint8) for value in (10, 240)]
    found = ClipEmbedder.load(cmmd_folder).embed(iter(pictures), batch=1)
    assert found.shape == (2, 8) and np.allclose((found**2).sum(1), 1) and not np.allclose(found[0], found[1])


def write_parser(file: Path, kernel: np.ndarray, side: int = 32) -> Path:
    """A parser in ONNX: a 1 × 1 convolution, (1, 3, S, S) to (1, K, S, S)."""

    def value(name: str, *sizes: int) -> bytes:
        dims = b"".join(field(1, field(1, size)) for size in sizes)
        return field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, dims)))

    weight = b"".join(field(1, size) for size in (*kernel.shape, 1, 1)) + field(2, 1) + field(8, b"w")
    weight += field(9, struct.pack(f"<{kernel.size}f", *kernel.ravel()))
    node = field(1, b"x") + field(1, b"w") + field(2, b"y") + field(4, b"Conv")
    graph = field(1, node) + field(2, b"tiny") + field(5, weight)
    graph += field(11, value("x", 1, 3, side, side)) + field(12, value("y", 1, len(kernel), side, side))
    file.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 13)))
    return file


def colour_parser(file: Path) -> Path:
    """Region 17 where it is red, 4 where it is blue."""
    kernel = np.zeros((19, 3), np.float32)
    kernel[17, 0], kernel[4, 2] = 1, 1
    return write_parser(file, kernel)


def test_a_parser_from_an_onnx_file(tmp_path: Path) -> None:
    file = colour_parser(tmp_path / "bisenet.onnx")
    picture = np.zeros((64, 48, 3), np.uint8)
    picture[:32, :, 0], picture[32:, :, 2] = 255, 255
    ids = ExternalParser(file, "celebamask").parse(picture)
    assert ids.shape == (64, 48) and (ids[:30] == 17).all() and (ids[34:] == 4).all()
    order = next(iter(ORDERS))
    assert np.array_equal(ExternalParser(file, order).parse(picture), from_order(ids, order))
    with pytest.raises(InputError, match="19 logits"):
        ExternalParser(write_parser(tmp_path / "small.onnx", np.ones((3, 3), np.float32)), "celebamask")
    for wrong, why in ((("away.onnx", "celebamask"), "no file"), (("bisenet.onnx", "other"), "--parser-order other")):
        with pytest.raises(InputError, match=why):
            ExternalParser(tmp_path / wrong[0], wrong[1])


def test_mask_figures_are_their_definitions() -> None:
    truth = np.array([[0, 0, 1, 1]])
    predicted = np.array([[0, 1, 1, 2]])
    found = mask_figures(confusion(predicted.astype(np.uint8), truth.astype(np.uint8)))
    assert found["mask_accuracy"] == 0.5 and found["mIoU"] == pytest.approx((1 / 2 + 1 / 3) / 2)


def t5_words() -> PreTrainedTokenizerFast:
    words = ["<pad>", "</s>", "<unk>", "Yes", "Is", "it", "USER", "ASSISTANT", ":"]
    inner = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    inner.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


@pytest.fixture(scope="module")
def flan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP-FlanT5's folder, tiny."""
    folder = tmp_path_factory.mktemp("clip-flant5")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "vocab_size": 9}
    sizes |= {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "decoder_start_token_id": 0}
    config = T5Config(**sizes)
    t5 = T5ForConditionalGeneration(config)
    tied = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    tensors = {name: tensor.clone() for name, tensor in t5.state_dict().items() if name not in tied}
    for layer, shape in ((0, (16, 16)), (2, (16, 16))):
        tensors[f"mm_projector.{layer}.weight"] = torch.randn(shape) / 4
        tensors[f"mm_projector.{layer}.bias"] = torch.randn(16) / 4
    save_file(tensors, folder / "model.safetensors")
    values = {**config.to_dict(), "model_type": "clip_t5", "mm_hidden_size": 16, "mm_vision_select_layer": -2}
    (folder / "config.json").write_text(json.dumps(values))
    CLIPVisionModel(CLIPVisionConfig(**VISION)).save_pretrained(folder / "vision_tower")
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor.save_pretrained(folder / "vision_tower")
    t5_words().save_pretrained(folder / "tokenizer")
    return folder


def test_clip_flant5_is_t5_on_words_and_patches(flan: Path) -> None:
    judge = load_vqa_model(flan)
    assert isinstance(judge, ClipT5)
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = judge.yes(picture, "Is it")
    words = t5_words()
    tower = CLIPVisionModel.from_pretrained(flan / "vision_tower")
    pixels = CLIPImageProcessor.from_pretrained(flan / "vision_tower")(images=picture, return_tensors="pt")
    with torch.no_grad():
        hidden = tower(**pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        before, after = (
            judge.t5.shared(torch.tensor([words(text).input_ids]))
            for text in (f"{SYSTEM} USER: ", "\nIs it ASSISTANT: ")
        )
        embeds = torch.cat([before, judge.projector(hidden), after], 1)
        loss = judge.t5(inputs_embeds=embeds, labels=torch.tensor([[3, 1]])).loss  # "Yes" and the end mark
    assert found == pytest.approx(float((-loss).exp()), rel=1e-4)
    assert judge.yes(255 - picture, "Is it") != pytest.approx(found, rel=1e-6)
    broken = flan.parent / "broken"
    broken.mkdir()
    (broken / "config.json").write_text((flan / "config.json").read_text())
    with pytest.raises(InputError, match=r"holds no folder|holds no model\.safetensors"):
        ClipT5.load(broken)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A set of four test faces with captions of their own: red above, blue below."""
    rows = []
    for k in range(4):
        picture = np.random.default_rng(k).integers(0, 40, (64, 64, 3), dtype=np.uint8)
        regions = np.full((64, 64), 4, np.uint8)
        picture[:32, :, 0], picture[32:, :, 2], regions[:32] = 255, 255, 17
        row = {**dict.fromkeys(name for name, _ in FIELDS), "id": f"set/{k}", "split": "test"}
        words = [("a long caption of a woman", "carried"), ("a caption of the grammar", "plain")]
        row |= {"captions": [text for text, _ in words], "prompts": ["a woman"], "questions": []}
        row["stated"] = [{"style": style, "facts": "{}"} for _, style in (*words, ("", "short"))]
        row["image"] = {"bytes": encode_png(picture), "path": None}
        row["regions"] = {"bytes": encode_png(regions), "path": None}
        rows.append(row)
    write_shard(tmp_path / "set" / "data" / "test-00000.parquet", rows, {})
    (tmp_path / "set" / "manifest.json").write_text("{}")
    return tmp_path / "set"


def test_a_table_from_a_folder(built: Path, tmp_path: Path, inception_file: Path, cmmd_folder: Path) -> None:
    assert [face.words for face in subjects(built, "test", "carried")] == ["a long caption of a woman"] * 4
    assert [face.words for face in subjects(built, "test", "grammar", 1)] == ["a woman"]
    painted: list[int] = []

    def paint(words: str, regions: np.ndarray, number: int) -> np.ndarray:
        """Follows the map, but for a stripe."""
        painted.append(number)
        picture = np.zeros((*regions.shape, 3), np.uint8)
        picture[regions == 17, 0], picture[regions == 4, 2] = 255, 255
        picture[:8] = [0, 0, 255]
        return picture

    def run(settings: dict) -> Path:
        faces = subjects(built, "test", "carried")
        return paint_split(faces, 4, paint, tmp_path / "paintings", settings, lambda done, total: None)

    folder = run({"seed": 0})
    (folder / "pictures" / "000002.png").unlink()
    run({"seed": 0})
    assert painted == [0, 1, 2, 3, 2], "only what is missing is painted again"
    with pytest.raises(InputError, match="painted with other settings"):
        run({"seed": 1})
    parser = colour_parser(tmp_path / "parser.onnx")
    judges = Judges(inception=inception_file, cmmd=cmmd_folder, parser=parser)

    def real() -> Iterator[np.ndarray]:
        return real_pictures(built, "test")

    figures, used = measure(folder, real, judges, True, 0, lambda done, total: None)
    assert figures["mask_accuracy"] == pytest.approx(7 / 8, abs=0.02) and 0 < figures["mIoU"] < 1
    net = Inception.load(inception_file)
    expected = frechet_distance(inception_features(paintings(folder), net), inception_features(real(), net))
    assert figures["FID"] == pytest.approx(expected) and {"KID×1000", "CMMD"} <= set(figures)
    assert used["real"] == used["paintings"] == 4 and used["parser"] == "parser, labels as celebamask"
    rows = table({"ours": figures}, {"Other": {"FID": 22.24, "CLIP": 26.0}})
    assert rows[0][0] == "" and set(rows[0][1:]) == {*figures, "CLIP"}
    assert [row[0] for row in rows[1:]] == ["ours", "Other (published)"]
    place = rows[0].index("CLIP")
    assert rows[1][place] == "–" and rows[2][place] == "26"
    with pytest.raises(InputError, match="no faces to paint"):
        paint_split(iter(()), 0, paint, tmp_path / "none", {}, lambda done, total: None)
    with pytest.raises(InputError, match="brought no captions along"):
        list(subjects(_without_carried(built, tmp_path / "plain"), "test", "carried"))


def _without_carried(built: Path, out: Path) -> Path:
    from limner.data.shards import iterate

    rows = [{**row, "stated": [{"style": "plain", "facts": "{}"}] * 3} for row in iterate(built)]
    write_shard(out / "data" / "test-00000.parquet", rows, {})
    (out / "manifest.json").write_text("{}")
    return out


def test_the_command_prints_the_paper_s_columns(
    built: Path, tmp_path: Path, cmmd_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from unif2ace.parts import write_tiny

    weights = write_tiny(tmp_path / "weights")
    command = ["evaluate", "paper", "unif2ace", str(built), "--weights", str(weights), "--steps", "1", "--limit", "2"]
    command += ["--paintings", str(tmp_path / "p"), "--out", str(tmp_path)]
    assert main(command) == 2 and "no metric network given" in capsys.readouterr().err
    assert main([*command, "--cmmd", str(cmmd_folder)]) == 0
    told = capsys.readouterr().out
    (row,) = [line for line in told.splitlines() if line.startswith("UniF²ace (published)")]
    assert "66.005" in row and "0.894" in row and "CMMD" in told
    stored = json.loads((tmp_path / "paper-unif2ace.json").read_text("utf-8"))
    assert stored["figures"]["ours"]["CMMD"] > 0 and stored["settings"]["published"]["Show-o"]["FID"] == 142.557
    assert len(list((tmp_path / "p" / "pictures").glob("*.png"))) == 2


def test_published_splits(tmp_path: Path) -> None:
    from limner.data.published_splits import read_splits, split_of, with_splits
    from limner.data.sources import Item

    (tmp_path / "test.txt").write_text("7.jpg\nsub/8.jpg\n")
    splits = read_splits([f"test={tmp_path / 'test.txt'}"])
    items = [Item(f"mm/{k}.jpg", "mm", "none", f"mm/{k}", tmp_path) for k in (6, 7)]
    assert [item.split for item in with_splits(items, splits)] == [None, "test"]
    with pytest.raises(InputError, match="name none of these pictures"):
        with_splits(items[:1], splits)
    celeba = tmp_path / "celeba"
    celeba.mkdir()
    (celeba / "CelebA-HQ-to-CelebA-mapping.txt").write_text("idx orig_idx orig_file\n0 119613 119614.jpg\n1 9 10.jpg\n")
    (celeba / "list_eval_partition.txt").write_text("119614.jpg 0\n10.jpg 2\n")
    assert read_splits([f"celeba={celeba}"]) == {"0": "train", "1": "test"}
    entries = {"0": {"category": "training"}, "61000": {"category": "validation"}}
    (tmp_path / "ffhq.json").write_text(json.dumps(entries))
    ffhq = read_splits([f"ffhq={tmp_path / 'ffhq.json'}"])
    assert split_of("ffhq/61000.png", ffhq) == "test" and split_of("ffhq/0.png", ffhq) == "train"
    (celeba / "list_eval_partition.txt").write_text("119614.jpg 0\n")
    for wrong, why in (
        ("other=x", "a form being one of"),
        (f"test={tmp_path / 'away.txt'}", "no list that can be read"),
        (f"celeba={celeba}", "says nothing of 10.jpg"),
        (f"ffhq={tmp_path / 'test.txt'}", "is not ffhq-dataset-v2"),
    ):
        with pytest.raises(InputError, match=why):
            read_splits([wrong])
