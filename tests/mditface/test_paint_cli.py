"""`limner paint` and `limner replay`, run as a user runs them, on a tiny painter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from limner.cli.app import main
from limner.faces.geometry import resize
from limner.faces.picture import encode_png, read_picture, save_png
from limner.faces.regions import Region, colourise
from limner.models.mditface.region_map_text import unpack_map
from limner.provenance.recipe import KEY, read_recipe
from mditface.parts import write_nano


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_nano(tmp_path_factory.mktemp("painter")))


@pytest.fixture
def face_map(tmp_path: Path) -> Path:
    regions = np.zeros((64, 64), np.uint8)
    regions[4:40, 8:56], regions[14:50, 16:48], regions[50:] = 13, 1, 18
    (tmp_path / "map.png").write_bytes(encode_png(colourise(regions)))
    return tmp_path / "map.png"


def test_one_picture_to_a_file_and_again(weights: str, face_map: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "new" / "portrait.png"
    words = ["a smiling woman", "--mask", str(face_map), "--steps", "2", "--seed", "3", "--merge", "2"]
    assert main(["paint", *words, "--engine", weights, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    recipe = read_recipe(out)
    assert (recipe["text"], recipe["steps"], recipe["seed"], recipe["merge"]) == ("a smiling woman", 2, 3, 2)
    again = tmp_path / "again.png"
    assert main(["replay", str(out), "--out", str(again)]) == 0
    assert capsys.readouterr().out == f"{again}\nidentical\n"
    assert np.array_equal(read_picture(again), read_picture(out))
    assert read_recipe(again) == read_recipe(out)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_files_are_made_again_too(weights: str, suffix: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / f"portrait.{suffix}"
    assert main(["paint", "a man", "--steps", "1", "--engine", weights, "--out", str(out)]) == 0
    assert main(["replay", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\nidentical\n"
    smaller = resize(read_picture(out), (48, 48))
    save_png(tmp_path / "smaller.png", smaller, {KEY: json.dumps(read_recipe(out))})
    assert main(["replay", str(tmp_path / "smaller.png")]) == 1
    assert capsys.readouterr().out == "different: 48 x 48 pixels here, 64 x 64 as painted\n"


def test_several_pictures_with_their_grid(weights: str, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "out"
    request = [
        "paint",
        "a man",
        "-n",
        "3",
        "--steps",
        "1",
        "--seed",
        "7",
        "--engine",
        weights,
        "--out",
        str(folder),
        "--json",
        "--no-watermark",
    ]
    assert main(request) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [Path(item["file"]).name for item in listed] == ["7.png", "8.png", "9.png", "grid.png"]
    assert read_picture(folder / "grid.png").shape == (128, 128, 3)
    assert np.array_equal(read_picture(folder / "grid.png")[:64, 64:], read_picture(folder / "8.png"))
    for name in ("8.png", "grid.png"):
        assert main(["replay", str(folder / name)]) == 0
    assert capsys.readouterr().out == "identical\nidentical\n"


def test_a_changed_picture_is_told_from_its_replay(weights: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "x.png"
    assert main(["paint", "a man", "--steps", "1", "--engine", weights, "--out", str(out)]) == 0
    pixels = read_picture(out)
    pixels[5, 5, 0] ^= 64
    save_png(out, pixels, {KEY: json.dumps(read_recipe(out))})
    capsys.readouterr()
    assert main(["replay", str(out)]) == 1
    assert capsys.readouterr().out == "different: by at most 64 of 255 in a pixel\n"


def test_edited_mask_reaches_the_recipe(weights: str, face_map: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.png"
    request = ["--mask", str(face_map), "--edit-mask", "hair: removed", "--steps", "1"]
    assert main(["paint", *request, "--engine", weights, "--out", str(out)]) == 0
    regions = unpack_map(read_recipe(out)["mask"])
    assert Region.HAIR not in regions and Region.SKIN in regions


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "give a prompt, a mask, or both"),
        (["x", "--edit-mask", "hair: longer"], "needs a mask"),
        (["x", "--mask", "a.png", "--like", "b.png"], "give one of them"),
        (["a man", "--mask", "nothing.png"], "no such file"),
        (["x", "--out", "portrait.gif"], ".png"),
        (["x", "--engine", "nowhere.safetensors"], "nowhere"),
        (["x", "--precision", "int4"], "bf16 or fp32"),
        (["x", "--lora", "lora.safetensors"], "FLUX"),
    ],
)
def test_faults_are_one_line_and_status_two(
    weights: str, words: list[str], message: str, tmp_path: Path, capsys
) -> None:
    engine = [] if "--engine" in words else ["--engine", weights]
    out = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    assert main(["paint", *words, *engine, *out]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.startswith("error: ") and said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_replaying_what_is_no_painting_is_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "plain.png").write_bytes(encode_png(np.zeros((32, 32, 3), np.uint8)))
    assert main(["replay", str(tmp_path / "plain.png")]) == 2
    assert "has no recipe" in capsys.readouterr().err


def test_like_follows_the_regions_of_a_photo(weights: str, tmp_path: Path, capsys) -> None:
    from skimage import data

    (tmp_path / "photo.png").write_bytes(encode_png(data.astronaut()))
    out = tmp_path / "x.png"
    assert (
        main(["paint", "--like", str(tmp_path / "photo.png"), "--steps", "1", "--engine", weights, "--out", str(out)])
        == 0
    )
    regions = unpack_map(read_recipe(out)["mask"])
    assert regions.shape == (64, 64)
    shares = {region: (regions == region).mean() for region in (Region.SKIN, Region.HAIR, Region.NOSE)}
    assert shares[Region.SKIN] > 0.1 and shares[Region.HAIR] > 0.05 and shares[Region.NOSE] > 0.005
    rows, columns = np.nonzero(regions == Region.NOSE)
    assert 24 < columns.mean() < 40 and 24 < rows.mean() < 44  # aligned: the nose is in the middle
    capsys.readouterr()
    (tmp_path / "empty.png").write_bytes(encode_png(np.full((200, 200, 3), 90, np.uint8)))
    assert main(["paint", "--like", str(tmp_path / "empty.png"), "--engine", weights, "--out", "x.png"]) == 2
    assert "no face was found in empty.png" in capsys.readouterr().err


def test_an_earlier_painting_is_kept(weights: str, tmp_path: Path, capsys) -> None:
    def paint(words: str, *more: str) -> list[str]:
        assert main(["paint", words, "--steps", "1", "--engine", weights, "--out", str(tmp_path / "out"), *more]) == 0
        return [Path(line).name for line in capsys.readouterr().out.splitlines()]

    assert paint("a man", "-n", "2") == ["0.png", "1.png", "grid.png"]
    first = (tmp_path / "out" / "0.png").read_bytes()
    assert paint("a woman", "-n", "2") == ["2.png", "3.png", "grid-2.png"]
    assert (tmp_path / "out" / "0.png").read_bytes() == first
    assert read_recipe(tmp_path / "out" / "2.png")["seed"] == 0
    assert paint("a woman", "--overwrite") == ["0.png"]
    assert (tmp_path / "out" / "0.png").read_bytes() != first
    named = ["paint", "a man", "--steps", "1", "--engine", weights, "--out", str(tmp_path / "out" / "2.png")]
    assert main(named) == 2
    assert "--overwrite" in capsys.readouterr().err
