"""Ablations of FaceX on a tiny prepared set: trained once, edited with, tabulated and drawn."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

from codec.tiny import lpips_tensors
from facex.test_task import SIZE, cut, rows
from facex.tiny import CONTROL, write_nano_base
from limner.cli.app import main
from limner.codecs.continuous import KLCodec
from limner.evaluation.facex_ablation import VARIANTS
from limner.faces.picture import read_picture
from limner.models.facex.config import ControlConfig
from limner.models.facex.control import load_controller
from limner.models.facex.encoders import load_decomposer
from limner.models.facex.prepare import prepare
from limner.models.facex.task import FaceXTask
from limner.training.config import read_training_config
from limner.weights.tensors import save_tensors

RECIPE = """
name = "a"
[task]
kind = "facex"
data = "pairs"
base = "base"
freeze_unet = false
gamma_init = 1.0
identity_weight = 0.0
lpips_weight = 0.0
sample_faces = 1
sample_steps = 1
[task.model]
width = 16
[train]
steps = 2
batch_size = 2
warmup = 0
threads = 1
validate_every = 2
log_every = 1
precision = "fp32"
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """LIMNER_DATA: a base, prepared pairs, photos of two people and LPIPS weights."""
    base = write_nano_base(tmp_path / "base")
    codec = KLCodec.load(base / "codec")
    facts = {"codec": str(base / "codec"), "size": SIZE, "region_encoder": "codec", "identity_encoder": "face-identity"}
    config = ControlConfig(**{**CONTROL, "region_encoder": "codec", "level_widths": (4,)})
    prepare(cut(list(rows()), 3), tmp_path / "pairs", codec, load_decomposer(config, codec), facts)
    (tmp_path / "people").mkdir()
    for name in ("face-10015", "face-10016"):
        photo = files("limner.demo") / "photographs" / f"{name}.jpg"
        (tmp_path / "people" / f"{name}.jpg").write_bytes(photo.read_bytes())
    save_tensors(tmp_path / "lpips.safetensors", lpips_tensors(), {})
    (tmp_path / "a.toml").write_text(RECIPE)
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    return tmp_path


def test_ablations_train_once_edit_and_are_tabulated(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("whole", "no region assembler", "UNet fixed")
    words = ["evaluate", "facex-ablation", str(data / "a.toml"), "--set", "train.seed=4", "--people", "people"]
    words += [word for name in names for word in ("--variant", name)]
    words += ["--seeds", "1", "--steps", "1", "--lpips", "lpips.safetensors", "--runs", str(data / "runs")]
    words += ["--out", str(data), "--plot", str(data / "a.png"), "--sheet", str(data / "s.png")]
    assert main(words) == 0
    printed = capsys.readouterr()
    figures = json.loads((data / "facex-ablation.json").read_text())["figures"]
    assert tuple(figures) == names and len({figures[name]["head.loss"]["mean"] for name in names}) == 3
    assert all({"nearer_to_source", "psnr", "lpips"} <= set(figures[name]) for name in names)
    assert read_picture(data / "s.png").shape == (2 * SIZE, (2 + len(names)) * SIZE, 3)
    assert (data / "a.png").stat().st_size > 5000
    assert "| parts | head.loss |" in printed.out and "| UNet fixed |" in printed.out and printed.err
    trained = [data / "runs" / f"{name.lower().replace(' ', '-')}-4" / "weights" for name in names]
    assert [(folder / "base").exists() for folder in trained] == [True, True, False]
    assert load_controller(trained[1] / "controller.safetensors")[0].reference is None
    written = [(folder / "controller.safetensors").stat().st_mtime_ns for folder in trained]
    assert main([*words, "--count", "0"]) == 2 and "--count above 0" in capsys.readouterr().err
    assert main([*words[:-2], "--count", "0"]) == 0
    again = json.loads((data / "facex-ablation.json").read_text())["figures"]
    assert set(again["whole"]) == {f"{task}.loss" for task in ("head", "face", "person", "part", "hole")}
    assert all(again[name]["head.loss"] == figures[name]["head.loss"] for name in names)
    assert not capsys.readouterr().err, "finished runs are not trained again"
    assert written == [(folder / "controller.safetensors").stat().st_mtime_ns for folder in trained]


def test_every_cell_of_the_shipped_recipe_is_a_task(data: Path) -> None:
    recipe = read_training_config(Path(__file__).parents[2] / "configs" / "facex-ablation.toml")
    built = {}
    for variant in VARIANTS:
        changed = {**recipe.task, **variant.task, "data": "pairs", "base": "base", "faces": None}
        made = FaceXTask(changed, 2, 0)
        made.build()
        assert made.steered is not None
        config = made.steered.controller.config
        built[variant.name] = config.region_assembler, config.representation_assembler, made.settings.freeze_unet
    without = {"no region assembler": (False, True, False), "no representation assembler": (True, False, False)}
    assert built == {"whole": (True, True, False), **without, "UNet fixed": (True, True, True)}
