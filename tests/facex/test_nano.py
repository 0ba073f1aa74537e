"""The weights that come with Limner, on the demo's photographs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import limner
from limner.cli.edit import edit_again
from limner.errors import InputError
from limner.faces.picture import read_picture
from limner.provenance.verify import verify
from limner.toolkit import Toolkit
from limner.weights.store import locate

PEOPLE = Path(limner.__file__).parent / "demo" / "photographs"


@pytest.fixture(scope="module")
def model() -> Toolkit:
    return limner.load("nano")


def test_shipped_weights_move_a_face_as_the_driver_does(model: Toolkit) -> None:
    photo, driver = (PEOPLE / f"face-{number}.jpg" for number in (10016, 10018))
    made = model.reenact(photo, driver, steps=10, seed=0)
    before, aim, after = (model.read(picture)[0].pose.yaw for picture in (photo, driver, np.asarray(made.image)))
    assert abs(before - aim) > 30 and abs(after - aim) < 6


def test_a_controller_alone_finds_the_base_its_header_names(model: Toolkit, tmp_path: Path) -> None:
    """Also where that base is registered as a part of an editor, not on its own."""
    shutil.copy(locate("facex-nano") / "controller.safetensors", tmp_path)
    alone = limner.load(tmp_path).editor.components.base
    expected = model.editor.components.base.unet.state_dict()
    assert alone.name == "facex-nano"
    assert all(torch.equal(value, expected[key]) for key, value in alone.unet.state_dict().items() if "conv_in" in key)


def test_a_saved_edit_is_the_photo_wherever_nothing_was_painted_and_marked_elsewhere(
    model: Toolkit, tmp_path: Path
) -> None:
    photo = PEOPLE / "face-10018.jpg"
    made = model.swap(PEOPLE / "face-10015.jpg", photo, steps=4, seed=0)
    made.save(tmp_path / "made.png")
    same = (read_picture(tmp_path / "made.png") == read_picture(photo)).all(2)
    assert 0.3 < same.mean() < 0.95 and same[0].all() and same[:, 0].all()
    report = verify(tmp_path / "made.png")
    assert report.watermark.found and report.kind == "edit" and report.belongs


def test_the_style_that_comes_along_draws_in_pencil_and_draws_it_again(model: Toolkit) -> None:
    """Colours go where the person is, lines stay; the recipe names the style, and leads to the same drawing."""
    photo = PEOPLE / "face-10018.jpg"
    made = model.animate(photo, "pencil", steps=10, seed=0)
    drawn, before = np.asarray(made.image).astype(int), read_picture(photo).astype(int)
    changed = (drawn != before).any(2)
    colour = lambda picture: np.ptp(picture[changed], axis=1).mean()  # noqa: E731
    assert 0.3 < changed.mean() < 0.95 and colour(drawn) < 0.5 * colour(before)
    assert np.corrcoef(drawn[changed].mean(1), before[changed].mean(1))[0, 1] > 0.4, "still that picture"
    assert made.recipe["base"] == "facex-nano-pencil"
    again = edit_again(made.recipe, None, [f"photo={photo}"])
    assert np.array_equal(np.asarray(again.image), np.asarray(made.image))
    with pytest.raises(
        InputError, match="loaded weights or precision differ"
    ):  # a recipe that someone wrote names no style
        edit_again({**made.recipe, "base": []}, None, [f"photo={photo}"])
