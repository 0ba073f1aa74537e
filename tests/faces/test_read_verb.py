"""The verb `read` from the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from limner.cli.app import main
from limner.faces.regions import REGION_NAMES
from limner.faces.vocabulary import VOCABULARY


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
    assert error.startswith("error: cannot write ") and error.endswith("give another place\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize("kind", ["--overlay", "--regions"])
def test_folders_are_kept_apart(photos, tmp_path, kind):
    """Photos of one name in two folders below the named one: each has its own picture."""
    for place in ("one", "two"):
        (tmp_path / "in" / place).mkdir(parents=True)
        (tmp_path / "in" / place / "her.png").write_bytes((photos / "her.png").read_bytes())
    assert main(["read", str(tmp_path / "in"), kind, str(tmp_path / "out")]) == 0
    name = "her.png" if kind == "--overlay" else "her.0.png"
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert found == [f"one/{name}", f"two/{name}"]


def test_two_photos_never_share_a_name(photos, tmp_path, capsys):
    Image.new("RGB", (64, 64)).save(tmp_path / "her.jpg")
    both = [str(photos / "her.png"), str(tmp_path / "her.jpg")]
    assert main(["read", *both, "--regions", str(tmp_path / "maps")]) == 2
    error = capsys.readouterr().err
    assert "would both be written as 'her'" in error and all(name in error for name in both) and error.count("\n") == 1
    assert not (tmp_path / "maps").exists()


def test_an_overlay_that_is_no_png_is_refused_before_reading(tmp_path, capsys):
    assert main(["read", str(tmp_path / "absent.png"), "--overlay", str(tmp_path / "o.jpg")]) == 2
    assert "name it .png" in capsys.readouterr().err


def test_rows_for_programs(photos, tmp_path, capsys):
    """JSON lines, CSV and Parquet say what JSON says."""
    assert main(["read", str(photos), "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert main(["read", str(photos), "--jsonl"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == whole
    file = tmp_path / "faces.parquet"
    assert main(["read", str(photos), "--csv", "--parquet", str(file)]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    (stored,) = pq.read_table(file).to_pylist()
    face = next(each for each in whole if each["faces"])["faces"][0]
    assert row["file"] == stored["file"] == str(photos / "her.png") and row["face"] == "1" and stored["face"] == 1
    assert [float(row[edge]) for edge in ("x1", "y1", "x2", "y2")] == pytest.approx(face["box"], abs=0.1)
    assert float(row["yaw"]) == pytest.approx(face["pose"]["yaw"], abs=0.01)
    for name in VOCABULARY:
        if name not in face["attributes"]:
            assert row[name] == row[f"{name}_confidence"] == "" and stored[name] is None
            continue
        value = face["attributes"][name]["value"]
        assert row[name] == (f"{value:.1f}" if name == "age" else str(value))
        assert stored[name] == (pytest.approx(value, abs=0.1) if name == "age" else value)
    assert np.allclose(stored["identity"], face["identity"], atol=1e-4) and len(stored["landmarks"]) == 468 * 3
    assert len(stored["kps"]) == 10


def test_forms_are_chosen_one_at_a_time(photos, capsys):
    assert main(["read", str(photos), "--csv", "--jsonl"]) == 2
    assert "choose one" in capsys.readouterr().err
    assert main(["read", str(photos), "--parquet", "faces.csv"]) == 2
    assert "name it .parquet" in capsys.readouterr().err


def test_names_are_shown_as_they_are(photos, tmp_path, capsys):
    """Brackets are no markup, colons no emoji."""
    (tmp_path / "a[").mkdir()
    for name in ("portrait [edited].png", "a[/b].png", ":smile:.png"):
        (tmp_path / name).write_bytes((photos / "nobody.png").read_bytes())
        assert main(["read", str(tmp_path / name)]) == 0
        assert name in capsys.readouterr().out.replace("\n", "")
    (tmp_path / "[bold]her.png").write_bytes((photos / "her.png").read_bytes())
    assert main(["read", str(tmp_path / "[bold]her.png")]) == 0
    assert "[bold]her.png" in capsys.readouterr().out.replace("\n", "")


def test_hidden_files_are_passed_over(photos, tmp_path, capsys):
    (tmp_path / "nobody.png").write_bytes((photos / "nobody.png").read_bytes())
    (tmp_path / "._nobody.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash" / "broken.png").write_bytes(b"broken")
    assert main(["read", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(tmp_path / "nobody.png")
    assert main(["read", str(tmp_path / "._nobody.png")]) == 2  # named, so looked at


def test_what_was_read_before_is_kept(photos, tmp_path, capsys):
    where = ["--overlay", str(tmp_path / "nobody.png")]
    (tmp_path / "nobody.png").write_bytes((photos / "nobody.png").read_bytes())
    assert main(["read", str(tmp_path / "nobody.png"), *where]) == 2
    assert "exists" in capsys.readouterr().err
    assert (tmp_path / "nobody.png").read_bytes() == (photos / "nobody.png").read_bytes()
    assert main(["read", str(tmp_path / "nobody.png"), *where, "--overwrite"]) == 0
