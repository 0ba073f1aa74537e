"""`limner verify`: three marks, apart from each other, and a status that tells."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from limner.cli.app import main
from limner.faces.picture import encode_jpeg, encode_png, read_picture, save_png
from limner.provenance.detect import CHANCE, detect, detect_any
from limner.provenance.picture import message_of
from limner.provenance.recipe import KEY, read_recipe
from limner.provenance.verify import verify
from limner.provenance.watermark import embed
from provenance.faces import painted, photo


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    painted().save(tmp_path / "ours.png", manifest=False)
    return tmp_path / "ours.png"


def test_all_marks_of_a_fresh_file(saved: Path, capsys) -> None:
    assert main(["verify", str(saved)]) == 0
    heading, recipe, watermark, manifest = capsys.readouterr().out.splitlines()
    assert heading == f"{saved}: made by Limner, its marks say"
    assert "engine tiny of Limner 0.0" in recipe and "proves nothing" in recipe
    assert "found, of a painting" in watermark and "It fits the recipe" in watermark and "It proves that" in watermark
    assert manifest.startswith("  manifest:  no")


def test_the_watermark_alone_is_enough(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "posted.jpg").write_bytes(encode_jpeg(read_picture(saved), 75))
    report = verify(tmp_path / "posted.jpg")
    assert (report.recipe, report.watermark.found, report.kind, report.belongs) == (None, True, "painting", None)
    assert main(["verify", str(tmp_path / "posted.jpg")]) == 0


def test_a_recipe_alone_proves_nothing_and_has_its_own_headline_and_status(tmp_path: Path, capsys) -> None:
    painted().save(tmp_path / "x.webp", watermark=False, manifest=False)
    report = verify(tmp_path / "x.webp")
    assert not report.ours and report.verdict == "claimed" and not report.watermark.found
    assert "watermark declined" in report.sentences()["recipe"]
    assert main(["verify", str(tmp_path / "x.webp")]) == 3
    assert "a recipe of Limner alone, which anyone can write" in capsys.readouterr().out.splitlines()[0]


def test_a_forged_recipe_on_a_photograph_is_no_proof(saved: Path, tmp_path: Path, capsys) -> None:
    save_png(tmp_path / "forged.png", photo(), {KEY: json.dumps(read_recipe(saved))})
    assert main(["verify", str(tmp_path / "forged.png"), "--json"]) == 3
    (report,) = json.loads(capsys.readouterr().out)
    assert report["limner"] is False and report["verdict"] == "claimed"
    save_png(tmp_path / "photo.png", photo())
    assert main(["verify", str(saved), str(tmp_path / "forged.png")]) == 3
    assert main(["verify", str(tmp_path / "photo.png"), str(tmp_path / "forged.png")]) == 1


HOSTILE = {
    "deep list": "[" * 100_000,
    "deep recipe": '{"limner": ' * 5_000 + "1" + "}" * 5_000,
    "as deep as Python parses": '{"limner": "0.0", "engine": ' + "[" * 400 + "]" * 400 + "}",
    "long number": '{"limner": "0.0", "seed": ' + "9" * 5_000 + "}",
    "number that overflows": '{"limner": "0.0", "seed": 1e999}',
    "not a number": '{"limner": "0.0", "seed": NaN}',
    "no object": "[1]",
    "cut short": '{"limner": "0.0"',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_recipe_is_damaged_and_status_two(name: str, tmp_path: Path, capsys) -> None:
    save_png(tmp_path / "x.png", photo(), {KEY: HOSTILE[name]})
    assert main(["verify", str(tmp_path / "x.png")]) == 2
    said = capsys.readouterr()
    assert said.out.startswith(f"{tmp_path / 'x.png'}: damaged recipe") and not said.err
    assert main(["verify", str(tmp_path / "x.png"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "damaged"
    assert main(["replay", str(tmp_path / "x.png")]) == 2
    said = capsys.readouterr()
    assert "damaged" in said.err and said.err.count("\n") == 1


def test_a_hostile_recipe_in_a_jpeg_is_damaged_too(tmp_path: Path) -> None:
    for name in ("deep recipe", "long number"):
        (tmp_path / "x.jpg").write_bytes(encode_jpeg(photo(), comment=HOSTILE[name]))
        assert verify(tmp_path / "x.jpg").verdict == "damaged"
    (tmp_path / "x.jpg").write_bytes(encode_jpeg(photo(), comment="[" * 50_000))  # not a recipe, whatever it is
    assert verify(tmp_path / "x.jpg").verdict == "none"


def test_a_recipe_of_odd_types_is_reported_and_crashes_nothing(tmp_path: Path) -> None:
    for odd in ({"limner": [[1]], "engine": {"a": 1}, "kind": ["x"]}, {"limner": "x" * 100_000, "engine": None}):
        save_png(tmp_path / "x.png", photo(), {KEY: json.dumps(odd)})
        report = verify(tmp_path / "x.png")
        assert report.verdict == "claimed" and max(map(len, report.sentences().values())) < 600


def test_edits_are_told_from_paintings(tmp_path: Path) -> None:
    painted(kind="edit").save(tmp_path / "x.png", manifest=False)
    assert verify(tmp_path / "x.png").kind == "edit"


def test_a_recipe_put_on_another_painting_is_noticed(saved: Path, tmp_path: Path) -> None:
    other = {**read_recipe(saved), "seed": 4}
    save_png(tmp_path / "swapped.png", read_picture(saved), {KEY: json.dumps(other)})
    report = verify(tmp_path / "swapped.png")
    assert report.belongs is False and "NOT" in report.sentences()["watermark"]
    assert verify(saved).belongs is True


def test_a_photograph_has_none_and_status_one(tmp_path: Path, capsys) -> None:
    save_png(tmp_path / "photo.png", photo())
    assert main(["verify", str(tmp_path / "photo.png"), "--json"]) == 1
    (report,) = json.loads(capsys.readouterr().out)
    assert report["limner"] is False and report["recipe"] is None and report["watermark"]["found"] is False
    assert all("prove" in report["says"][mark] for mark in ("recipe", "watermark"))


@pytest.mark.parametrize(("names", "status"), [("ours", 0), ("ours photo", 1), ("photo ours bad", 2), ("gone", 2)])
def test_status_is_that_of_the_worst_file(names: str, status: int, saved: Path, tmp_path: Path, capsys) -> None:
    save_png(tmp_path / "photo.png", photo())
    (tmp_path / "bad.png").write_bytes(b"no picture at all")
    files = [str(tmp_path / f"{name}.png") for name in names.split()]
    assert main(["verify", *files, "--json"]) == status
    said = capsys.readouterr()
    assert [one["limner"] for one in json.loads(said.out)] == [
        {"ours": True, "photo": False}.get(name) for name in names.split()
    ]
    assert said.err.count("error: ") == said.err.count("\n") == sum(name in ("bad", "gone") for name in names.split())


def test_a_damaged_recipe_is_said_and_does_not_stop_the_rest(saved: Path, tmp_path: Path) -> None:
    save_png(tmp_path / "x.png", read_picture(saved), {KEY: "{"})
    report = verify(tmp_path / "x.png")
    assert "damaged" in report.sentences()["recipe"] and report.watermark.found


def test_a_hostile_recipe_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    hostile = {"limner": "\x1b[2J\n0.0", "engine": "\u202eevil"}
    (tmp_path / "x.png").write_bytes(encode_png(np.zeros((32, 32, 3), np.uint8), {KEY: json.dumps(hostile)}))
    assert all(sentence.isprintable() for sentence in verify(tmp_path / "x.png").sentences().values())


def write_film(path: Path, recipe: dict | None = None, marked: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Path:
    """A film of five frames, of which some bear the watermark of a recipe."""
    pytest.importorskip("av", reason="the extra 'video' is not installed")
    from limner.models.facex.video_writer import write_video

    message = message_of(recipe or {})
    frames = [embed(photo(), message) if k in marked else photo() for k in range(5)]
    write_video(path, frames, 10.0, None, recipe or {})
    return path


def test_a_film_is_read_like_a_picture(tmp_path: Path, capsys) -> None:
    recipe = {**painted(kind="edit").recipe, "watermark": True, "manifest": False}
    film = write_film(tmp_path / "film.mp4", recipe, marked=(1,))
    report = verify(film)
    assert report.recipe == recipe and report.watermark.found and report.belongs is True and report.kind == "edit"
    assert main(["verify", str(film)]) == 0
    assert capsys.readouterr().out.startswith(
        f"{film}: made by Limner, its marks say\n  recipe:    made by the engine tiny"
    )
    assert verify(write_film(tmp_path / "other.mp4", {**recipe, "seed": 4}, marked=())).watermark.found is False
    assert main(["verify", str(write_film(tmp_path / "plain.mp4", marked=()))]) == 1
    (tmp_path / "bad.mp4").write_bytes(b"no film at all")
    assert main(["verify", str(tmp_path / "bad.mp4")]) == 2
    assert (
        capsys.readouterr().err
        == "error: bad.mp4 is not a video that can be read: Invalid data found when processing input\n"
    )


def test_the_chance_of_a_find_is_that_of_all_pictures_tried() -> None:
    pictures = [photo(), painted().marked(), photo()]
    one, all_ = detect(pictures[1]), detect_any(pictures)
    assert all_.found and all_.message == one.message and all_.chance / one.chance == pytest.approx(3)
    faint = min(detect(photo()).chance, 1.0)
    assert not detect_any([photo()] * 3).found and detect_any([photo()] * 3).chance >= faint > CHANCE
