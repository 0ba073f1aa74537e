"""From published layouts, tiny and random, to an answer about a photograph."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModel

from limner.cli.app import main
from limner.errors import InputError
from limner.models.unif2ace.config import CHECKPOINTS, PRESETS, UniF2aceConfig
from limner.models.unif2ace.convert import main as convert
from limner.models.unif2ace.loading import load_components
from limner.models.unif2ace.sequence import omni_mask, paint_sequence
from limner.models.unif2ace.showo import from_showo
from limner.models.unif2ace.tokenizer import Tokenizer, learn
from limner.weights.registry import registry
from unif2ace.parts import WORDS, write_codec
from unif2ace.test_backbone import reference, showo_file
from unif2ace.tiny import TINY, draw_codes

TOOL = Path(__file__).parents[2] / "tools" / "convert" / "showo.py"
PHOTO = Path(__file__).parents[2] / "src" / "limner" / "demo" / "photographs" / "face-10018.jpg"


def pickle_checkpoint(folder: Path, tensors: Any) -> None:
    folder.mkdir(exist_ok=True)
    torch.save(tensors, folder / "pytorch_model.bin")


def run_tool(*words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(TOOL), *words])
    runpy.run_path(str(TOOL), run_name="__main__")


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, UniF2aceConfig, list[str]]:
    """All that is published, as safetensors; the model's sizes under the preset's name "tiny"; the options."""
    write_codec(tmp_path / "magvit")
    learn(WORDS * 3, 340, tmp_path / "words")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    tower = CLIPVisionConfig(**sizes, num_attention_heads=2, image_size=42, patch_size=14)
    CLIPVisionModel(tower).save_pretrained(tmp_path / "clip")
    vocabulary = Tokenizer.load(tmp_path / "words").size
    config = replace(TINY, text_vocabulary=vocabulary, image_tokens=256, gelu="tanh", clip_width=16, face_width=128)
    monkeypatch.setitem(PRESETS, "tiny", config)
    folders = [f"--{name}={tmp_path / folder}" for name, folder in (("codec", "magvit"), ("tokenizer", "words"))]
    chosen = [*folders, f"--clip={tmp_path / 'clip'}", "--face=face-identity", "--preset=tiny"]
    return tmp_path, config, chosen


def write_showo(folder: Path, config: UniF2aceConfig) -> None:
    pickle_checkpoint(folder, showo_file(config))
    values = {"vocab_size": config.vocabulary, "codebook_size": config.codebook}
    (folder / "config.json").write_text(json.dumps(values))


@torch.no_grad()
def test_published_show_o_to_an_answer(given, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    folder, config, chosen = given
    write_showo(folder / "showo", config)
    run_tool(str(folder / "showo"), monkeypatch=monkeypatch)
    convert([str(folder / "showo"), *chosen, f"--out={folder / 'out'}"])
    parts, plain = load_components(folder / "out"), from_showo(folder / "showo", config.dense())
    assert parts.model.config == config and (parts.guidance, parts.temperature, parts.size) == (5.0, 1.0, 256)
    tokens = paint_sequence(config, [[3, 4]], draw_codes(1, masked=0.6, config=config))
    mask = omni_mask(config, tokens, "paint")
    found, expected = (model.logits(model(tokens, mask, "paint").hidden) for model in (parts.model, plain))
    assert torch.equal(found, expected) and expected.std() > 0.1
    capsys.readouterr()
    engine = ["--engine", str(folder / "out"), "--limit", "8", "--precision", "fp32", "--json"]
    assert main(["ask", str(PHOTO), "Is she smiling?", *engine]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert answer["question"] == "Is she smiling?" and answer["faces"][0]["answer"]
    assert main(["paint", "a woman", "--engine", str(folder / "out"), "--steps", "1", "--out", str(folder / "p")]) == 0


def test_a_phi_can_be_what_it_starts_from(given) -> None:
    folder, config, chosen = given
    phi = reference(qk_norm=False, vocab_size=400, num_hidden_layers=config.layers)
    phi.save_pretrained(folder / "phi")
    convert([str(folder / "phi"), *chosen, f"--out={folder / 'out'}", "--precision=fp16"])
    model = load_components(folder / "out").model
    assert model.config == config and model.blocks[0].attention.q_norm.weight.eq(1).all()  # type: ignore[union-attr]
    assert torch.equal(model.blocks[1].ffn.shared[0].up.weight.half(), phi.model.layers[1].mlp.fc1.weight.half())  # type: ignore[union-attr, index]


def test_parts_of_other_models_are_refused(given, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, config, chosen = given
    monkeypatch.setitem(PRESETS, "tiny", replace(config, text_vocabulary=300))
    with pytest.raises(InputError, match=r"words has \d+ ids, the model's tokenizer 300: give Show-o's own"):
        convert([str(folder), *chosen, f"--out={folder / 'out'}"])
    monkeypatch.setitem(PRESETS, "tiny", replace(config, codebook=32))
    with pytest.raises(InputError, match="magvit has 16 ids, the model's codec 32"):
        convert([str(folder), *chosen, f"--out={folder / 'out'}"])
    assert not (folder / "out" / "model.safetensors").exists()


def test_pickles_become_safetensors_and_only_tensors_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tied = torch.randn(3, 2)
    pickle_checkpoint(tmp_path / "one", {"a": tied, "b": tied, "c": torch.arange(4).float()[1:]})
    pickle_checkpoint(tmp_path / "two", {"a": torch.tensor([1 / 3])})
    run_tool(str(tmp_path / "one"), str(tmp_path / "two"), monkeypatch=monkeypatch)
    found = load_file(tmp_path / "one" / "model.safetensors")
    assert found["c"].tolist() == [1, 2, 3] and torch.equal(found["a"], tied) and torch.equal(found["b"], tied)
    assert load_file(tmp_path / "two" / "model.safetensors")["a"].item() == torch.tensor(1 / 3).item()
    run_tool(str(tmp_path / "two"), "--half", monkeypatch=monkeypatch)
    assert load_file(tmp_path / "two" / "model.safetensors")["a"].dtype == torch.float16
    for number, (held, why) in enumerate((({"epoch": 3}, "more than tensors"), ({"a": Path("x")}, "tensors alone"))):
        pickle_checkpoint(tmp_path / f"bad{number}", held)
        with pytest.raises(SystemExit, match=why) as caught:
            run_tool(str(tmp_path / f"bad{number}"), monkeypatch=monkeypatch)
        assert "\n" not in str(caught.value) and not (tmp_path / f"bad{number}" / "model.safetensors").exists()
    with pytest.raises(SystemExit, match=r"holds no pytorch_model\.bin"):
        run_tool(str(tmp_path), monkeypatch=monkeypatch)


def test_a_show_o_of_another_picture_size_is_refused_with_its_preset(given, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, config, chosen = given
    write_showo(folder / "showo", config)
    run_tool(str(folder / "showo"), monkeypatch=monkeypatch)
    values = {"vocab_size": config.vocabulary, "codebook_size": config.codebook, "num_vq_tokens": 1024}
    (folder / "showo" / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"1024 image tokens, this model has 256: give --preset showo-1\.3b-512 or"):
        convert([str(folder / "showo"), *chosen, f"--out={folder / 'out'}"])
    (folder / "showo" / "config.json").write_text(json.dumps({**values, "num_vq_tokens": config.image_tokens}))
    assert from_showo(folder / "showo", config.dense()).config.image_tokens == 256


def test_each_preset_has_a_checkpoint_in_the_registry() -> None:
    known = registry()
    for name, preset in PRESETS.items():
        if name != "nano":
            entry = known[CHECKPOINTS[preset.image_tokens]]
            assert entry.hub is not None and f"{preset.image_tokens:,} image tokens" in entry.summary
            assert name in entry.summary


def test_weights_under_either_name_and_in_shards(given) -> None:
    folder, config, _ = given
    tensors = showo_file(config)
    write_showo(folder / "named", config)
    (folder / "named" / "pytorch_model.bin").unlink()
    save_file(tensors, folder / "named" / "pytorch_model.safetensors")
    write_showo(folder / "sharded", config)
    (folder / "sharded" / "pytorch_model.bin").unlink()
    names = sorted(tensors)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, some in parts.items():
        save_file({name: tensors[name].bfloat16() for name in some}, folder / "sharded" / file)
    index = {"weight_map": {name: file for file, some in parts.items() for name in some}}
    (folder / "sharded" / "model.safetensors.index.json").write_text(json.dumps(index))
    whole, shards = (from_showo(folder / name, config.dense()) for name in ("named", "sharded"))
    for name, value in whole.state_dict().items():
        assert torch.equal(value.bfloat16(), shards.state_dict()[name].bfloat16()), name


def test_what_the_tool_writes_is_read_by_transformers(given, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _, _ = given
    tower = CLIPVisionModel.from_pretrained(folder / "clip")
    names = list(tower.state_dict())
    pickled = folder / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text((folder / "clip" / "config.json").read_text())
    halves = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
    for file, some in halves.items():
        torch.save({name: tower.state_dict()[name] for name in some}, pickled / file)
    index = {"weight_map": {name: file for file, some in halves.items() for name in some}}
    (pickled / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    run_tool(str(pickled), monkeypatch=monkeypatch)
    again = CLIPVisionModel.from_pretrained(pickled, use_safetensors=True)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in tower.state_dict().items())
