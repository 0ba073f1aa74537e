"""The verbs, run as a user runs them, on a tiny random editor."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.cli.app import main
from limner.cli.consent import FILE, require_consent
from limner.errors import InputError
from limner.faces.picture import read_picture
from limner.models.facex.sliders import SLIDERS
from limner.provenance.consent import NOTICE
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
    words += ["--from", f"{desk / 'other.png'}:lips,brows", "--erase", "hair,neck", "--prompt", "a woman"]
    words += ["--pucker", "0.2", "--engine", str(weights), "-o", str(out), *QUICK]
    assert main(words) == 2  # parts of another face, and nobody was asked
    assert "--i-have-consent" in capsys.readouterr().err
    assert main([*words, "--i-have-consent"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    recipe = read_recipe(out)
    assert recipe["plan"]["sliders"] == {"yaw": 10.0, "gaze_x": 5.0, "gaze_y": -3.0, "smile": 1.0, "mouth": 0.1,
                                         "pucker": 0.2}  # fmt: skip
    assert recipe["plan"]["factors"] == {"brows": "other.png", "lips": "other.png", "mouth": "other.png",
                                         "hair": "none", "neck": "none"}  # fmt: skip
    assert recipe["consent"] == "flag" and str(desk) not in json.dumps({**recipe, "source": None})
    assert read_picture(out).shape == photo.shape
    assert verify(out).watermark is not None
    again = ["replay", str(out), "--engine", str(weights)]
    assert main(again) == 2
    assert capsys.readouterr().err.endswith("other.png: give --photo other.png=FILE\n")
    photos = ["--photo", f"photo={desk / 'her.png'}", "--photo", f"other.png={desk / 'other.png'}"]
    assert main([*again, *photos]) == 0
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
    assert done["recipe"]["consent"] == "flag"
    assert shown.err == f"error: {folder / 'nobody.png'}: no face was found in nobody.png: give another photo\n"


class Terminal(io.StringIO):
    """Somebody at the keyboard."""

    def isatty(self) -> bool:
        return True


def test_consent_is_asked_once_and_noted(limner_home: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("no\n"))
    with pytest.raises(InputError, match="consent was not confirmed"):
        require_consent(False)
    assert not (limner_home / FILE).exists()
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    require_consent(False)
    noted = json.loads((limner_home / FILE).read_text())
    assert noted["agreed"] and noted["when"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert require_consent(False) == "asked"
    assert capsys.readouterr().err.count("Agreed?") == 2


def test_the_flag_counts_for_its_own_run(
    desk: Path, weights: Path, limner_home: Path, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path
) -> None:
    monkeypatch.chdir(desk)
    words = ["edit", "her.png", "--from", "other.png:lips", "--engine", str(weights), "-o", str(tmp_path / "x.png")]
    assert main([*words, *QUICK, "--i-have-consent"]) == 0
    assert not (limner_home / FILE).exists()
    assert main([*words, *QUICK, "--overwrite"]) == 2
    assert "--i-have-consent" in capsys.readouterr().err


@pytest.mark.parametrize("note", [b"{", b"\xff", b"[]", b'{"agreed": true, "notice": "other words"}'])
def test_a_note_that_says_no_yes_is_asked_for_again(
    note: bytes, limner_home: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Damaged, or of other words than today's."""
    (limner_home / FILE).write_bytes(note)
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    assert require_consent(False) == "asked"
    assert json.loads((limner_home / FILE).read_text())["notice"] == NOTICE
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert require_consent(False) == "asked"
    assert capsys.readouterr().err.count("Agreed?") == 1


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
    from limner.models.facex.video_writer import write_video

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
    assert main([*words[:-1], "--manifest", "--json", "--overwrite", "-o", str(out)]) == 2
    first, second = json.loads(capsys.readouterr().out)
    assert first["recipe"]["photos"]["photo"]["file"] == "her.png" and first["recipe"]["video"]["as"] == "driver"
    manifest = verify(second["file"]).manifest
    assert manifest is not None and manifest.is_ours and set(manifest.ingredients) == {"film.mp4", "other.png"}


def test_the_next_work_of_a_bar_has_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    import rich.progress

    from limner.cli.progress_bar import bar

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
        (["edit", "her.png", "--erase", "hat,beards"], "--erase 'beards': give brows,"),
        (
            ["edit", "her.png", "--from", "her.png:hat", "--from-face", "1", "--from-face", "2"],
            "--from-face is given 2",
        ),
        (["animate", "her.png", "--style", "crayon"], "unknown style 'crayon': choose pencil, or give"),
        (["edit", "her.png", "--yaw", "3", "-o", "x.bmp"], "name a folder, or a .png"),
        (["edit", "her.png", "--yaw", "3", "--engine", "nowhere"], "no weights are called 'nowhere'"),
        (["swap", "her.png", "x.mp4", "-o", "x.png"], "give an .mp4 file or a folder"),
        (["swap", "her.png", "x.mxf", "-o", "x.mp4"], "x.mxf: .mxf is not a film format that is read"),
        (["swap", "her.png", "x.xyz", "-o", "x.mp4"], "x.xyz is not a supported video"),
        (["reenact", "her.png", "other.png", "-o", "x.mp4"], "other.png is not a supported video"),
        (["swap", "her.png", "other.png", "-o", "other.png"], "other.png exists"),
    ],
)
def test_faults_are_one_line(words: list[str], line: str, desk: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(desk)
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert line in shown and shown.count("\n") == 1 and shown.startswith("error: ")


def test_a_mask_is_of_the_photos_size_and_on_the_face(
    desk: Path, weights: Path, photo: np.ndarray, capsys, tmp_path: Path
) -> None:
    """Of a folder's photos those are edited that it fits; the others are named with both sizes."""
    height, width = photo.shape[:2]
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    Image.fromarray(photo).save(folder / "fits.png")
    Image.fromarray(photo).resize((2 * width, 2 * height)).save(folder / "large.png")
    mask = np.zeros((height, width), np.uint8)
    mask[120:150, 100:140] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = ["--erase", str(tmp_path / "mask.png"), "--engine", str(weights), *QUICK]
    assert main(["edit", str(folder), *words, "-o", str(out)]) == 2
    shown = capsys.readouterr()
    assert shown.out == f"{out / 'fits.png'}\n"
    assert shown.err == (
        f"error: {folder / 'large.png'}: the mask has {width} x {height} pixels and large.png {2 * width} x "
        f"{2 * height}: draw the mask at the photo's size\n"
    )
    mask[-3:, -30:] = 255  # the corner, 90 pixels of 1,290
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert main(["edit", str(folder / "fits.png"), *words, "-o", str(out)]) == 2
    assert "7 % of the mask lies too far from the face in fits.png" in capsys.readouterr().err


def test_every_slider_is_an_option(capsys) -> None:
    assert main(["edit", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"--{'gaze' if name.startswith('gaze') else name} " in text for name in SLIDERS)


def test_faces_of_one_photo_and_files_of_one_name_have_names_of_their_own(
    desk: Path, weights: Path, couple: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And none of them tells where the files lie."""
    monkeypatch.chdir(desk)
    both = tmp_path / "other.png"
    Image.fromarray(couple).save(both)
    words = ["edit", "her.png", "--from", "other.png:hair", "--from", f"{both}:lips", "--from", f"{both}:brows"]
    words += ["--from-face", "1", "--from-face", "2", "--from-face", "1", "--i-have-consent"]
    out = ["--engine", str(weights), "-o", str(tmp_path / "made.png")]
    assert main([*words, *out, *QUICK]) == 0
    recipe = read_recipe(tmp_path / "made.png")
    assert recipe["plan"]["factors"] == {
        "brows": "other-3.png", "lips": "other-2.png", "mouth": "other-2.png", "hair": "other.png",
    }  # fmt: skip
    assert {name: about["face"] for name, about in recipe["photos"].items()} == {
        "photo": 1, "other-3.png": 1, "other-2.png": 2, "other.png": 1,
    }  # fmt: skip
    assert str(tmp_path) not in json.dumps({**recipe, "source": None})


def test_a_plan_can_be_looked_at_without_weights(desk: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(desk)
    assert main(["edit", "her.png", "--yaw", "5", "--from", "other.png:beard", "--plan"]) == 0
    assert capsys.readouterr().out == (
        "skin from other.png; yaw +5; the rest from the photo; the beard and the person painted anew\n"
    )


def test_a_folder_edited_into_itself_keeps_its_photos(desk: Path, weights: Path, capsys, tmp_path: Path) -> None:
    before = (desk / "her.png").read_bytes()
    (tmp_path / "her.png").write_bytes(before)
    words = ["edit", str(tmp_path), "--smile", "0.5", "--engine", str(weights), *QUICK]
    assert main([*words, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'her-2.png'}\n"
    assert (tmp_path / "her.png").read_bytes() == before
    assert main([*words[:1], str(tmp_path / "her.png"), *words[2:], "--out", str(tmp_path / "her.png")]) == 2
    assert "exists" in capsys.readouterr().err and (tmp_path / "her.png").read_bytes() == before
