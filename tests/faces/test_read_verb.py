"""The verb `read` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.cli.app import main
from limner.faces.regions import REGION_NAMES


@pytest.fixture(scope="module")
def photos(tmp_path_factory, astronaut) -> Path:
    """A folder with her.png, him-not.png (no face) and notes.txt."""
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(astronaut).save(folder / "her.png")
    Image.new("RGB", (200, 150), (90, 120, 140)).save(folder / "nobody.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_table(photos, capsys):
    assert main(["read", str(photos / "her.png")]) == 0
    text = capsys.readouterr().out
    for word in ("her.png", "512×512", "woman", "happy", "smile", "broad", "hair colour"):
        assert word in text


def test_json(photos, capsys):
    assert main(["read", str(photos / "her.png"), "--json"]) == 0
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert captured.err == "" and len(data["faces"]) == 1
    face = data["faces"][0]
    assert len(face["box"]) == 4 and len(face["landmarks"]) == 468 and len(face["identity"]) == 128
    gender = face["attributes"]["gender_presentation"]
    assert gender["value"] == "woman" and 0.5 < gender["confidence"] <= 1 and gender["by"] == "age-gender network"


def test_no_face_is_said_and_is_no_error(photos, capsys):
    assert main(["read", str(photos / "nobody.png")]) == 0
    assert "no face" in capsys.readouterr().out
    assert main(["read", str(photos / "nobody.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["faces"] == []


def test_regions_and_overlay_are_written(photos, tmp_path, capsys):
    where = ["--regions", str(tmp_path / "maps"), "--overlay", str(tmp_path / "seen.png")]
    assert main(["read", str(photos / "her.png"), *where]) == 0
    capsys.readouterr()
    with Image.open(tmp_path / "maps" / "her.0.png") as image:
        ids = np.array(image)
    assert ids.shape == (512, 512) and ids.max() < len(REGION_NAMES) and len(np.unique(ids)) > 8
    with Image.open(tmp_path / "seen.png") as image:
        assert max(image.size) >= 800


def test_several_photos_go_on_after_a_bad_one(photos, tmp_path, capsys):
    names = ["her.png", "notes.txt", "nobody.png", "absent.png"]
    status = main(["read", *(str(photos / name) for name in names), "--json", "--overlay", str(tmp_path / "seen")])
    captured = capsys.readouterr()
    assert status == 2
    assert [len(each["faces"]) for each in json.loads(captured.out)] == [1, 0]
    lines = captured.err.strip().splitlines()
    assert len(lines) == 2 and all(line.startswith("error: ") for line in lines)
    assert "notes.txt" in lines[0] and "absent.png" in lines[1]
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == ["her.png", "nobody.png"]


@pytest.mark.parametrize("words", [["--overlay", "one.png"], ["--min-score", "3"]])
def test_impossible_wishes(photos, capsys, words):
    assert main(["read", str(photos / "her.png"), str(photos / "nobody.png"), *words]) == 2
    assert capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_one_line(photos, capsys):
    assert main(["read", str(photos / "her.png"), "--regions", str(photos / "notes.txt" / "maps")]) == 2
    error = capsys.readouterr().err
    assert (
        error.startswith("error: cannot write ") and error.endswith("give another place\n") and error.count("\n") == 1
    )
