"""The recipe in the file: the same in every format, and told from other people's texts."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.errors import InputError
from limner.faces.picture import encode_jpeg, encode_png, encode_webp, read_comment, read_picture
from limner.provenance.recipe import (
    KEY,
    MIME,
    TYPES,
    encode_with_recipe,
    find_recipe,
    fingerprint,
    read_recipe,
)
from provenance.faces import painted, photo

RECIPE = {"limner": "0.0", "engine": "tiny", "text": "blue “eyes” é", "weights": {"a": "1"}, "mask": None}


@pytest.mark.parametrize("suffix", MIME)
def test_what_is_written_is_read_again(suffix: str) -> None:
    file = encode_with_recipe(photo(), suffix, RECIPE)
    assert read_recipe(file) == RECIPE
    assert np.abs(read_picture(file).astype(int) - photo()).mean() < 4
    assert file == encode_with_recipe(photo(), suffix, RECIPE)


@pytest.mark.parametrize("suffix", MIME)
@pytest.mark.parametrize("kind", TYPES)
def test_xmp_names_the_kind_of_source(suffix: str, kind: str) -> None:
    file = encode_with_recipe(photo(64), suffix, {**RECIPE, "kind": kind})
    with Image.open(io.BytesIO(file)) as image:
        xmp = image.info.get("xmp") or image.info["XML:com.adobe.xmp"]
    text = xmp if isinstance(xmp, str) else xmp.decode()
    assert f'DigitalSourceType="{TYPES[kind]}"' in text
    assert TYPES[kind].endswith(
        {"painting": "/trainedAlgorithmicMedia"}.get(kind, "/compositeWithTrainedAlgorithmicMedia")
    )


@pytest.mark.parametrize(
    "file",
    [
        encode_png(photo(64)),
        encode_jpeg(photo(64)),
        encode_webp(photo(64)),
        encode_jpeg(photo(64), comment="a day at the sea"),
        encode_webp(photo(64), comment='{"camera": 5}'),
    ],
    ids=["png", "jpeg", "webp", "comment", "json comment"],
)
def test_pictures_without_a_recipe(file: bytes) -> None:
    assert find_recipe(file) is None
    with pytest.raises(InputError, match="has no recipe"):
        read_recipe(file)


@pytest.mark.parametrize(
    "file",
    [
        encode_png(photo(64), {KEY: "{not json"}),
        encode_png(photo(64), {KEY: "[1]"}),
        encode_jpeg(photo(64), comment='{"limner": "0.0", "te'),
    ],
    ids=["png", "no dictionary", "jpeg"],
)
def test_damaged_recipes_are_named(file: bytes) -> None:
    with pytest.raises(InputError, match="damaged"):
        find_recipe(file)


def test_comments_survive_and_their_limits_are_said() -> None:
    assert read_comment(encode_jpeg(photo(64), comment="x" * 60000)) == "x" * 60000
    with pytest.raises(InputError, match="too long for a JPEG"):
        encode_jpeg(photo(64), comment="x" * 66000)
    assert read_comment(encode_webp(photo(64), comment="x" * 90000)) == "x" * 90000


def test_fingerprints() -> None:
    assert fingerprint(RECIPE, 12) == fingerprint(dict(reversed(RECIPE.items())), 12) < 2**12
    assert fingerprint(RECIPE, 12) == fingerprint({**RECIPE, "watermark": True, "manifest": False}, 12)
    assert fingerprint(RECIPE, 12) != fingerprint({**RECIPE, "seed": 1}, 12)
    assert len({fingerprint({"seed": seed}, 12) for seed in range(500)}) > 440  # spread: 470 is expected


@pytest.mark.parametrize("suffix", MIME)
def test_a_saved_picture_carries_its_marks(suffix: str, tmp_path: Path) -> None:
    picture, path = painted(), tmp_path / f"new/portrait{suffix.upper()}"
    recipe = picture.save(path, manifest=False)
    assert read_recipe(path) == recipe == {**picture.recipe, "watermark": True, "manifest": False}
    assert np.array_equal(np.asarray(picture.image), photo())  # the picture in memory stays as it was


def test_opting_out_leaves_the_pixels_alone_and_is_recorded(tmp_path: Path) -> None:
    painted().save(tmp_path / "plain.png", watermark=False, manifest=False)
    assert np.array_equal(read_picture(tmp_path / "plain.png"), photo())
    assert read_recipe(tmp_path / "plain.png")["watermark"] is False


def test_other_formats_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"portrait.gif: end it in .png"):
        painted().save(tmp_path / "portrait.gif")
    assert not list(tmp_path.iterdir())


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="painting or edit"):
        painted(kind="forgery").save(tmp_path / "x.png", manifest=False)
