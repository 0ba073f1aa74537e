"""Showing a set, and the command line over all of it."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from limner.cli.app import main
from limner.data import build as build_module
from limner.data.set_report import contact_sheet, statistics, summary
from limner.faces.picture import read_picture

sys.path.insert(0, str(Path(__file__).parent))
import plain_reader
from plain_reader import make_pictures


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set built by the command line from 12 pictures, with the reader that needs no networks."""
    monkeypatch.setattr(build_module, "load_face_reader", plain_reader.load)
    make_pictures(tmp_path / "photos", 12, size=256)
    words = ["data", "build", str(tmp_path / "photos"), "--out", str(tmp_path / "set"), "--workers", "1", "--aligned"]
    assert main([*words, "--licence", "CC0"]) == 0
    return tmp_path / "set"


def test_statistics_add_up(built: Path) -> None:
    numbers = statistics(built)
    assert numbers["rows"] == 12 == sum(numbers["splits"].values()) == numbers["sources"]["photos"]
    assert numbers["captions"] == 60 == numbers["different_captions"]
    assert sum(numbers["questions"].values()) == 120
    assert numbers["yes_no"]["yes"] + numbers["yes_no"]["no"] == numbers["questions"]["yes/no"]
    for found in numbers["attributes"].values():
        assert abs(sum(found["values"].values()) - 1) < 0.01 and 0 < found["faces"] <= 1
    assert numbers["made"]["complete"] and 40 <= numbers["tokens"]["captions"]["mean"] <= 140


def test_the_sheet_is_the_same_again_and_another_with_another_seed(built: Path) -> None:
    sheet = contact_sheet(built, count=4)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3
    assert np.array_equal(sheet, contact_sheet(built, count=4))
    assert not np.array_equal(sheet, contact_sheet(built, count=4, seed=1))


def test_show_writes_everything(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", str(built), "--faces", "6"]) == 0
    place = built / "show"
    names = {"sheet.png", "statistics.json", "attributes.png", "lengths.png", "questions.png", "confidence.png"}
    assert {path.name for path in place.iterdir()} == names
    assert json.loads((place / "statistics.json").read_text())["rows"] == 12
    for path in place.glob("*.png"):
        assert read_picture(path).std() > 5
    text = capsys.readouterr().out
    assert "different captions" in text and "hair_colour" in text


def test_without_matplotlib_one_line_says_what_to_install(
    built: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else is written and printed all the same."""
    monkeypatch.setattr("limner.cli.data.find_spec", lambda name: None if name == "matplotlib" else find_spec(name))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["data", "show", str(built)]) == 0
    captured = capsys.readouterr()
    assert "limner[eval]" in captured.err and captured.err.count("\n") == 1
    assert "different captions" in captured.out
    assert {path.name for path in (built / "show").iterdir()} == {"sheet.png", "statistics.json"}
    assert main(["data", "show", str(built), "--no-plots"]) == 0
    assert capsys.readouterr().err == ""


def test_lengths_are_rounded_for_people() -> None:
    assert summary([100, 101, 102, 103, 105.1]) == {"mean": 102.22, "p5": 100.2, "median": 102.0, "p95": 104.68}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["build", "nowhere", "--out", "x"], "no file or folder nowhere"),
        (["build", "photos", "--out", "x", "--shares", "90/20"], "three whole percentages"),
        (["build", "photos", "--out", "x", "--shares", "90/20/5"], "add up to 100"),
        (["build", "photos", "--out", "photos"], "holds other files"),
        (["show", "photos"], "no built set"),
        (["build", "photos", "--out", "photos/000.png/set"], "a file stands where a folder should be"),
    ],
)
def test_mistakes_get_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path / "photos", 1)
    assert main(["data", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1] and error[-1].startswith("error: ")
