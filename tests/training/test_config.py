"""Recipes: what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from limner.cli.app import main
from limner.errors import InputError
from limner.training.config import read_training_config

GOOD = """
name = "tiny"
[task]
kind = "tiny"
[train]
steps = 10
batch_size = 2
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_overrides_are_typed(tmp_path: Path) -> None:
    config = read_training_config(
        write(tmp_path, GOOD), ["train.learning_rate=3e-4", "task.widths=[1, 2]", "task.init_from=some/folder"]
    )
    assert config.train.learning_rate == 3e-4
    assert config.task == {"kind": "tiny", "widths": [1, 2], "init_from": "some/folder"}


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (GOOD, ["train.steps=-1"], "train.steps"),
        (GOOD, ["train.stepps=1"], "train.stepps"),
        (GOOD, ["train.steps"], "key=value"),
        (GOOD, ["name.x=1"], "is a value"),
        ("name = ", None, "not a TOML file"),
        ("[train]\nsteps = 1\nbatch_size = 1", None, "name"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, overrides: list[str] | None, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_training_config(write(tmp_path, text), overrides)
    assert "\n" not in str(caught.value)


def test_a_missing_recipe_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no training config at"):
        read_training_config(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("configs/*.toml")), ids=lambda p: p.stem)
def test_every_shipped_recipe_is_valid(path: Path) -> None:
    config = read_training_config(path)
    assert path.stem == config.name


@pytest.mark.parametrize(
    "text", ["deep = " + "[" * 5_000, "x = " + "{a = " * 3_000, "long = " + "9" * 5_000, "[" + "a." * 2_000 + "b]"]
)
def test_a_hostile_recipe_is_one_line(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    assert main(["train", str(tmp_path / "recipe.toml")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and len(said) < 500


def test_a_hostile_override_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = next((Path(__file__).parents[2] / "configs").glob("*.toml"))
    for value in ("[" * 5_000, "9" * 5_000, "[" * 900 + "]" * 900):
        assert main(["train", str(config), "--set", f"train.steps={value}"]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and len(said) < 700
