"""The painter: seeds, masks in all forms, recipes that make the same bits again, and clear refusals."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from limner.errors import InputError
from limner.faces.picture import encode_png, read_picture
from limner.faces.regions import colourise
from limner.models.mditface.engine import MDiTFace, region_map
from limner.models.mditface.loading import load_components
from limner.models.mditface.region_map_text import grid, pack_map, unpack_map
from limner.provenance.picture import Picture
from limner.provenance.recipe import read_recipe
from limner.weights.device import choose
from limner.weights.tensors import save_tensors
from mditface.parts import write_codec, write_nano

WORDS = "a smiling woman with grey hair"


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> MDiTFace:
    return MDiTFace.load(write_nano(tmp_path_factory.mktemp("painter")), precision="fp32")


@pytest.fixture
def face_map() -> np.ndarray:
    regions = np.zeros((64, 64), np.uint8)
    regions[4:40, 8:56], regions[14:50, 16:48], regions[50:] = 13, 1, 18
    return regions


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(picture.image)


def test_pictures_have_the_right_size_and_depend_on_everything(painter: MDiTFace, face_map: np.ndarray) -> None:
    base = painter.paint(WORDS, face_map, steps=3, guidance=2.5, seed=1)[0]
    assert pixels(base).shape == (64, 64, 3) and pixels(base).dtype == np.uint8
    other = face_map[::-1]
    settings_ = [
        {"seed": 2},
        {"steps": 4},
        {"guidance": 1.0},
        {"mask_guidance": 2.0},
        {"sampler": "heun"},
        {"merge": 2},
    ]
    changes = [("a man", face_map, {}), (None, face_map, {}), (WORDS, other, {}), (WORDS, None, {})]
    changes += [(WORDS, face_map, settings) for settings in settings_]
    for text, mask, settings in changes:
        changed = painter.paint(text, mask, **{"steps": 3, "guidance": 2.5, "seed": 1, **settings})[0]
        assert not np.array_equal(pixels(changed), pixels(base)), (text, settings)
    again = painter.paint(WORDS, face_map, steps=3, guidance=2.5, seed=1)[0]
    assert np.array_equal(pixels(again), pixels(base)) and again.recipe == base.recipe


def test_picture_k_of_a_seed_is_the_same_whatever_n(painter: MDiTFace, face_map: np.ndarray) -> None:
    three = painter.paint(WORDS, face_map, n=3, steps=3, seed=5)
    assert [picture.recipe["picture"] for picture in three] == [0, 1, 2]
    for k in (0, 2):
        one = painter.paint(WORDS, face_map, n=1, steps=3, seed=5 + k)[0]
        assert np.abs(pixels(one).astype(int) - pixels(three[k])).max() <= 1  # kernels may round by batch size
    assert not np.array_equal(pixels(three[0]), pixels(three[1]))
    ninth = painter.paint(WORDS, n=9, steps=1, seed=5)[8]  # of the second batch
    assert np.abs(pixels(ninth).astype(int) - pixels(painter.paint(WORDS, steps=1, seed=13)[0])).max() <= 1
    assert np.array_equal(pixels(painter.replay(ninth.recipe)), pixels(ninth))


def test_a_mask_is_the_same_mask_in_every_form(painter: MDiTFace, face_map: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "map.png").write_bytes(encode_png(colourise(face_map)))
    face = SimpleNamespace(regions=face_map, crop=np.array([[4.0, 0, 0], [0, 4.0, 0]]))  # its crop is the whole photo
    big = face_map.repeat(3, 0).repeat(3, 1)
    for form in (face_map, colourise(face_map), Image.fromarray(face_map), tmp_path / "map.png", face, big):
        assert np.array_equal(region_map(form, 64), face_map)  # type: ignore[arg-type]
    assert np.array_equal(unpack_map(pack_map(face_map)), face_map)


def test_recipes_make_the_same_bits_again(painter: MDiTFace, face_map: np.ndarray, tmp_path: Path) -> None:
    made = painter.paint(WORDS, face_map, n=2, steps=3, seed=4, sampler="heun", merge=3)[1]
    made.save(tmp_path / "portrait.png", watermark=False, manifest=False)
    recipe = read_recipe(tmp_path / "portrait.png")
    assert recipe == json.loads(json.dumps({**made.recipe, "watermark": False, "manifest": False}))
    threads = torch.get_num_threads()
    again = painter.replay(recipe)
    assert np.array_equal(pixels(again), read_picture(tmp_path / "portrait.png"))
    assert again.recipe == made.recipe and torch.get_num_threads() == threads


def test_replaying_with_other_weights_or_a_broken_recipe_is_refused(painter: MDiTFace, tmp_path: Path) -> None:
    picture = painter.paint(WORDS, steps=1)[0]
    other = MDiTFace.load(write_nano(tmp_path, seed=1), precision="fp32")
    with pytest.raises(InputError, match="loaded weights or precision differ"):
        other.replay(picture.recipe)
    with pytest.raises(InputError, match="invalid MDiTFace recipe"):
        painter.replay({"engine": "facex"})
    (tmp_path / "plain.png").write_bytes(encode_png(pixels(picture)))
    with pytest.raises(InputError, match="no recipe"):
        read_recipe(tmp_path / "plain.png")
    with pytest.raises(InputError, match=r"\.png"):
        picture.save(tmp_path / "portrait.gif")
    assert not (tmp_path / "portrait.gif").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"n": "8"},
        {"n": 10**9},
        {"steps": 0},
        {"sampler": "foo"},
        {"size": -64},
        {"threads": -3},
        {"picture": 7},
        {"guidance": "high"},
        {"text": ["a"]},
        {"mask": 3},
    ],
)
def test_a_recipe_that_was_tampered_with_is_refused(painter: MDiTFace, change: dict) -> None:
    recipe = painter.paint(WORDS, steps=1)[0].recipe
    with pytest.raises(InputError) as caught:
        painter.replay({**recipe, **change})
    assert "\n" not in str(caught.value)


def test_progress_counts_steps_and_can_cancel(painter: MDiTFace) -> None:
    seen: list[tuple[int, int]] = []
    painter.paint(WORDS, n=9, steps=2, callback=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]  # two batches

    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        painter.paint(WORDS, steps=2, callback=cancel)


@pytest.mark.parametrize(
    "request_, message",
    [
        ({"text": None}, "nothing to generate"),
        ({"text": "  "}, "nothing to generate"),
        ({"steps": 0}, "steps=0"),
        ({"n": 0}, "n=0"),
        ({"seed": -1}, "seed=-1"),
        ({"sampler": "ddim"}, "euler or heun"),
        ({"size": 128}, "size=128"),
        ({"merge": 4}, "merge needs a mask"),
        ({"guidance": float("nan")}, "guidance=nan"),
        ({"mask_guidance": -3}, "mask_guidance=-3"),
        ({"mask": np.zeros((64, 64), np.uint8)}, "no face"),
        ({"mask": np.tile(np.array([0, 1, 1, 13], np.uint8).repeat(16), (32, 1))}, "square"),
        ({"mask": np.zeros((64, 64), np.uint8), "merge": "all"}, "merge='all'"),
        ({"mask": np.full((64, 64), 40, np.uint8)}, "region"),
    ],
)
def test_what_cannot_be_painted_is_refused_in_one_line(painter: MDiTFace, request_: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        painter.paint(**{"text": WORDS, **request_})
    assert "\n" not in str(caught.value)


def test_loading_says_what_is_wrong(tmp_path: Path) -> None:
    write_codec(tmp_path / "codec")
    with pytest.raises(InputError, match="no painter"):
        MDiTFace.load(tmp_path)
    with pytest.raises(InputError, match="describes no such model"):
        MDiTFace.load(tmp_path / "codec" / "diffusion_pytorch_model.safetensors")
    for wrong in (("tpu", "auto"), ("cpu", "int8")):
        with pytest.raises(InputError, match="choose"):
            choose(*wrong)
    where, dtype, why = choose("cpu", "bf16")
    assert (where.type, dtype) == ("cpu", torch.bfloat16) and "asked for" in why


@pytest.mark.parametrize("model", ["face-parser", {"depth": 3}, {"width": 7}, {"width": "wide"}, None])
def test_a_file_of_another_model_is_refused_in_one_line(tmp_path: Path, model: object) -> None:
    save_tensors(tmp_path / "other.safetensors", {"a": torch.zeros(1)}, {"model": model})
    with pytest.raises(InputError, match=r"other\.safetensors holds no MDiTFace weights") as caught:
        load_components(tmp_path / "other.safetensors", torch.device("cpu"), torch.float32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [{"mask_embedding": "palette"}, {"null_conditions": False}])
def test_other_builds_paint_too(tmp_path: Path, face_map: np.ndarray, changes: dict) -> None:
    painter = MDiTFace.load(write_nano(tmp_path, **changes), precision="bf16")
    masked = painter.paint(WORDS, face_map, steps=2)[0]
    assert not np.array_equal(pixels(masked), pixels(painter.paint(WORDS, steps=2)[0]))


def test_grid_places_row_by_row() -> None:
    sheet = np.asarray(grid([Image.new("RGB", (2, 3), (k, 0, 0)) for k in range(3)]))
    assert sheet.shape == (6, 4, 3)
    assert [sheet[y, x, 0] for y, x in ((0, 0), (0, 2), (3, 0), (3, 2))] == [0, 1, 2, 255]
