"""The verbs, run as a user runs them, on a tiny random editor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.cli.app import main
from limner.cli.consent import FILE
from limner.faces.picture import read_picture
from limner.provenance.recipe import read_recipe
from limner.provenance.verify import verify

QUICK = ["--steps", "1", "--guidance", "1", "--precision", "fp32", "--no-manifest"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    Image.fromarray(photo).save(folder / "her.png")
    Image.fromarray(photo[:, ::-1, ::-1]).save(folder / "other.png")
    return folder


def test_edit_does_everything_in_one_pass(desk: Path, weights: Path, photo: np.ndarray, capsys, tmp_path: Path) -> None:
    out = tmp_path / "edited.png"
    words = ["edit", str(desk / "her.png"), "--yaw", "10", "--gaze", "5,-3", "--smile", "0.5", "--expression", "happy"]
    words += ["--from", f"{desk / 'other.png'}:lips,brows", "--erase", "hair", "--prompt", "a woman"]
    assert main([*words, "--engine", str(weights), "-o", str(out), *QUICK]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    recipe = read_recipe(out)
    assert recipe["plan"]["sliders"] == {"yaw": 10.0, "gaze_x": 5.0, "gaze_y": -3.0, "smile": 1.0, "mouth": 0.1}
    assert recipe["plan"]["factors"] == {"brows": str(desk / "other.png"), "lips": str(desk / "other.png"),
                                         "mouth": str(desk / "other.png"), "hair": "none"}  # fmt: skip
    assert read_picture(out).shape == photo.shape
    assert verify(out).watermark is not None
    again = ["replay", str(out), "--engine", str(weights)]
    assert main(again) == 2
    assert capsys.readouterr().err.endswith("her.png: give --photo photo=FILE\n")
    assert main([*again, "--photo", f"photo={desk / 'her.png'}"]) == 0
    assert capsys.readouterr().out == "identical\n"


def test_swap_goes_through_a_folder_and_names_what_fails(desk: Path, weights: Path, capsys, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "her.png").write_bytes((desk / "her.png").read_bytes())
    Image.new("RGB", (64, 64)).save(folder / "nobody.png")
    words = ["swap", str(desk / "other.png"), str(folder), "--head", "--engine", str(weights), *QUICK]
    out = ["-o", str(tmp_path / "out"), "--json"]
    assert main([*words, *out]) == 2  # nobody was asked
    assert "--i-have-consent" in capsys.readouterr().err
    assert main([*words, *out, "--i-have-consent"]) == 2
    shown = capsys.readouterr()
    (done,) = json.loads(shown.out)
    assert done["file"] == str(tmp_path / "out" / "her.png") and done["recipe"]["plan"]["structure"] == "source"
    assert shown.err == f"error: {folder / 'nobody.png'}: no face was found in nobody.png: give another photo\n"


def test_consent_is_asked_once_and_noted(limner_home: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    import io
    import sys

    from limner.cli.consent import require_consent
    from limner.errors import InputError

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("no\n"))
    with pytest.raises(InputError, match="not agreed"):
        require_consent(False)
    assert not (limner_home / FILE).exists()
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    require_consent(False)
    noted = json.loads((limner_home / FILE).read_text())
    assert noted["agreed"] and noted["when"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    require_consent(False)
    assert capsys.readouterr().err.count("Agreed?") == 2


def test_animate_and_reenact_photos(desk: Path, weights: Path, capsys, tmp_path: Path) -> None:
    her, out = str(desk / "her.png"), tmp_path / "out"
    style = ["--style", str(weights / "base"), "--engine", str(weights), "-o", str(out / "style.png")]
    assert main(["animate", her, *style, *QUICK]) == 0
    moved = ["--engine", str(weights), "-o", str(out / "moved.webp"), "--i-have-consent"]
    assert main(["reenact", her, str(desk / "other.png"), *moved, *QUICK]) == 0
    assert capsys.readouterr().out == f"{out / 'style.png'}\n{out / 'moved.webp'}\n"
    assert read_recipe(out / "moved.webp")["plan"]["factors"]["pose"] == "driver"


@pytest.fixture(scope="module")
def film(desk: Path, photo: np.ndarray) -> Path:
    """Three frames, the second without her."""
    pytest.importorskip("av", reason="the extra 'video' is not installed")
    from limner.models.facex.video import write_video

    write_video(desk / "film.mp4", [photo, np.full_like(photo, 90), photo], 10.0, None, {})
    return desk / "film.mp4"


def test_swap_into_a_film_says_which_frames_stayed(
    desk: Path, film: Path, weights: Path, capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["swap", str(desk / "other.png"), str(film), "--engine", str(weights), "--i-have-consent", *QUICK]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{Path('swapped/film.mp4')}\n"
    left = "1 of 3 frames were left as they are"
    assert shown.err == f"{left}: the face was not found in them, or is too small, too far turned or cut off\n"
    report = verify("swapped/film.mp4")
    assert report.recipe is not None and report.recipe["video"]["unseen"] == 1 and report.recipe["kind"] == "edit"


def test_a_folder_of_photos_follows_a_film(desk: Path, film: Path, weights: Path, capsys, tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for name in ("her", "other"):
        (folder / f"{name}.png").write_bytes((desk / f"{name}.png").read_bytes())
    Image.new("RGB", (64, 64)).save(folder / "nobody.png")
    words = ["reenact", str(folder), str(film), "--engine", str(weights), "--i-have-consent", *QUICK]
    assert main([*words, "-o", str(tmp_path / "one.mp4")]) == 2
    assert "there are 3 photos: give a folder" in capsys.readouterr().err
    assert main([*words, "-o", str(out)]) == 2
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [str(out / "her.mp4"), str(out / "other.mp4")]
    kept = "1 of 3 frames keep the motion before them: "
    assert shown.err.startswith(kept) and shown.err.endswith("no face was found in nobody.png: give another photo\n")
    pytest.importorskip("c2pa", reason="the extra 'provenance' is not installed")
    assert main([*words[:-1], "--manifest", "--json", "-o", str(out)]) == 2
    first, second = json.loads(capsys.readouterr().out)
    assert first["recipe"]["photos"]["photo"]["file"] == "her.png" and first["recipe"]["video"]["as"] == "driver"
    manifest = verify(second["file"]).manifest
    assert manifest is not None and manifest.is_ours and set(manifest.ingredients) == {"film.mp4", "other.png"}


def test_the_next_work_of_a_bar_has_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    import rich.progress

    from limner.cli.bars import bar

    drawn: list[rich.progress.Progress] = []
    begin = rich.progress.Progress.__init__
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(
        rich.progress.Progress, "__init__", lambda self, *a, **k: drawn.append(self) or begin(self, *a, **k)
    )
    with bar("reading") as show:
        for done in range(1, 9):
            show(done, 8, what="following")
        (task,) = drawn[0].tasks
        assert task.completed == 8 and task.speed is not None
        show(0, 8, what="painting")
        assert task.completed == 0 and task.speed is None and task.description == "painting"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["edit", "her.png"], "nothing to edit: give a slider"),
        (["edit", "her.png", "--yaw", "80"], "yaw=80: choose a number from -45 to 45"),
        (["edit", "her.png", "--gaze", "left"], "--gaze 'left': write two numbers"),
        (["edit", "her.png", "--expression", "sadd"], "did you mean sad?"),
        (["edit", "her.png", "--from", "her.png"], "write it as PHOTO:part,part"),
        (["edit", "her.png", "--from", "none.png:lips"], "no such file: none.png"),
        (["edit", "her.png", "--from", "her.png:lisp"], "did you mean lips?"),
        (["edit", "her.png", "--erase", "beards"], "--erase 'beards': give brows,"),
        (["edit", "her.png", "--yaw", "3", "-o", "x.bmp"], "name a folder, or a .png"),
        (["edit", "her.png", "--yaw", "3", "--engine", "nowhere"], "no weights are called 'nowhere'"),
        (["swap", "her.png", "x.mp4", "-o", "x.png"], "name the film, ending in .mp4"),
    ],
)
def test_faults_are_one_line(words: list[str], line: str, desk: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(desk)
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert line in shown and shown.count("\n") == 1 and shown.startswith("error: ")


def test_a_plan_can_be_looked_at_without_weights(desk: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(desk)
    assert main(["edit", "her.png", "--yaw", "5", "--from", "other.png:beard", "--plan"]) == 0
    assert capsys.readouterr().out == (
        "skin from other.png; yaw +5; the rest from the photo; the beard and the person painted anew\n"
    )
