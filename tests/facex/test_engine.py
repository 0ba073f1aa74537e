"""The editor on a photograph: full photo in and out, the same again from its recipe, every choice felt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import limner
from facex.tiny import random_controller, write_editor, write_nano_base, write_stable_diffusion
from limner.errors import InputError
from limner.faces.geometry import paste_back
from limner.faces.reader import FaceReader
from limner.faces.record import Face, choose_face
from limner.models.facex.base import load_unet
from limner.models.facex.control import save_controller
from limner.models.facex.engine import FaceX
from limner.models.facex.plan import EditPlan
from limner.models.facex.portrait import portrait_of
from limner.models.facex.reference import repaint_mask
from limner.provenance.recipe import read_recipe
from limner.toolkit import Toolkit

QUICK = {"steps": 2, "guidance": 1.5}


@pytest.fixture(scope="module")
def other(photo: np.ndarray) -> np.ndarray:
    """Another colour of the same head, mirrored: different in every factor but who it is."""
    return np.ascontiguousarray(photo[:, ::-1, ::-1])


@pytest.fixture(scope="module")
def swapped(editor: FaceX, photo: np.ndarray, other: np.ndarray) -> limner.Picture:
    return editor.swap(other, photo, identity_guidance=2.0, **QUICK)


def test_pixels_outside_the_painted_region_are_the_photos(
    swapped: limner.Picture, photo: np.ndarray, face: Face, editor: FaceX
) -> None:
    portrait = portrait_of(photo, face, 64, editor.reader.topology)
    mask = repaint_mask(EditPlan.swap("source"), {"photo": portrait})
    where = paste_back(mask.astype(np.uint8), portrait.crop, np.zeros(photo.shape[:2], np.uint8), nearest=True) > 0
    pixels = np.asarray(swapped.image)
    assert pixels.shape == photo.shape and np.array_equal(pixels[~where], photo[~where])
    assert (pixels[where] != photo[where]).any(-1).mean() > 0.5


def test_the_recipe_makes_it_again_and_knows_its_photos(
    swapped: limner.Picture, editor: FaceX, photo: np.ndarray, other: np.ndarray, tmp_path: Path
) -> None:
    recipe = json.loads(json.dumps(swapped.recipe))
    assert recipe["kind"] == "edit" and "identity" in recipe["says"]
    again = editor.replay(recipe, {"photo": photo, "source": other})
    assert np.array_equal(np.asarray(again.image), np.asarray(swapped.image))
    with pytest.raises(InputError, match="photo 'source' differs"):
        editor.replay(recipe, {"photo": photo, "source": photo})
    with pytest.raises(InputError, match="loaded weights or precision differ"):
        editor.replay({**recipe, "weights": {}}, {"photo": photo, "source": other})
    with pytest.raises(InputError, match="missing: 'source'"):
        editor.replay(recipe, {"photo": photo})
    assert [one.edited for one in swapped.ingredients] == [True, False]
    swapped.save(tmp_path / "swapped.png", manifest=False)
    assert read_recipe(tmp_path / "swapped.png")["plan"] == recipe["plan"]


def test_every_edit_is_another_picture(editor: FaceX, photo: np.ndarray, other: np.ndarray, swapped) -> None:
    plans = [
        EditPlan.motion(yaw=20),
        EditPlan.motion(yaw=-20),
        EditPlan.motion("happy"),
        EditPlan.reenact("other"),
        EditPlan.swap("other", head=True),
        EditPlan.regions("other", ["lips"]),
        EditPlan.erase(["lips"]),
        EditPlan.swap("other") + EditPlan.motion(yaw=20) + EditPlan.erase(["hair"]),
    ]
    made = [np.asarray(swapped.image)]
    for plan in plans:
        made.append(np.asarray(editor.edit(photo, plan, {"other": other}, **QUICK).image))
    assert all(not np.array_equal(a, b) for k, a in enumerate(made) for b in made[:k])


def test_likeness_follows_what_is_another_s_and_nothing_else(
    editor: FaceX, photo: np.ndarray, other: np.ndarray, tmp_path: Path
) -> None:
    def made(plan: EditPlan, **settings: Any) -> np.ndarray:
        return np.asarray(editor.edit(photo, plan, {"other": other}, **QUICK, **settings).image).astype(int)

    swap = EditPlan.swap("other")
    plain, far, further = (made(swap, identity_guidance=value) for value in (0.0, 1.0, 2.0))
    assert 0 < np.abs(far - plain).mean() < np.abs(further - plain).mean()
    own = EditPlan.motion(yaw=20)
    assert np.array_equal(made(own, identity_guidance=0.0), made(own, identity_guidance=3.0))
    with pytest.raises(InputError, match="identity_guidance=-1"):
        made(swap, identity_guidance=-1.0)


def test_a_controller_says_whether_holes_show_drafts(
    editor: FaceX, photo: np.ndarray, face: Face, tmp_path: Path
) -> None:
    """The same weights, told that they were trained with drafts: holes are no longer grey."""
    drafting = FaceX.load(write_editor(tmp_path, hole_fill=True), device="cpu", precision="fp32", reader=editor.reader)
    for plan, differs in ((EditPlan.motion(yaw=10), True), (EditPlan.erase(["lips"]), False)):
        subject = editor.taken_apart(photo, face, "photo")
        one, other = (each.prepare(plan, {"photo": subject}).reference for each in (editor, drafting))
        assert torch.equal(one.latents, other.latents) != differs and torch.equal(one.mask, other.mask)


def test_a_chain_is_one_pass(editor: FaceX, photo: np.ndarray, other: np.ndarray) -> None:
    steps: list[tuple[int, int]] = []
    plan = EditPlan.swap("other") + EditPlan.motion(smile=0.5) + EditPlan.erase(["hair"])
    editor.edit(photo, plan, {"other": other}, callback=lambda done, total: steps.append((done, total)), **QUICK)
    assert steps == [(1, 2), (2, 2)]


def test_watching_shows_the_photo_on_its_way_to_the_result(editor: FaceX, photo: np.ndarray) -> None:
    looks: list[Any] = []
    plan = EditPlan.motion(smile=0.5)
    settings: dict[str, Any] = {"seed": 3, "steps": 4}
    watched = editor.edit(photo, plan, watch=lambda done, total, look: looks.append(look()), **settings)
    result = np.asarray(watched.image)
    assert np.array_equal(result, np.asarray(editor.edit(photo, plan, **settings).image))  # looking changes nothing
    assert [[picture.shape for picture in look] for look in looks] == [[photo.shape]] * 4
    apart = [np.abs(look[0].astype(int) - result).mean() for look in looks]
    assert apart[-1] < 0.5 and apart[-1] < apart[0]  # after the last step no noise is left to estimate
    unchanged = (result == photo).all(-1)
    assert unchanged.mean() > 0.1 and all((look[0] == photo).all(-1)[unchanged].mean() > 0.9 for look in looks)


def test_a_hole_is_filled_where_it_was_drawn(editor: FaceX, photo: np.ndarray) -> None:
    hole = np.zeros(photo.shape[:2], bool)
    hole[120:150, 100:140] = True
    picture = np.asarray(editor.edit(photo, EditPlan.inpaint(hole), **QUICK).image)
    changed = np.argwhere((picture != photo).any(-1))
    assert len(changed) > 300
    assert (changed.min(0) >= [100, 80]).all() and (changed.max(0) <= [170, 160]).all()


@pytest.mark.parametrize("number", [1, 2])
def test_one_of_two_faces_is_edited(editor: FaceX, couple: np.ndarray, other: np.ndarray, number: int) -> None:
    picture = editor.swap(other, couple, face=number, **QUICK)
    changed = (np.asarray(picture.image) != couple).any(-1)
    edited, left = (changed[:, :640], changed[:, 640:])[:: 1 if number == 1 else -1]
    assert not left.any() and edited.sum() > 5000
    assert picture.recipe["photos"]["photo"]["face"] == number


def test_a_face_that_touches_the_border_is_edited(editor: FaceX, photo: np.ndarray, face: Face) -> None:
    """Cut where the face's box ends above, below and at the left: the aligned crop reaches far beyond the photo."""
    x0, y0, _, y1 = face.box.round().astype(int)
    tight = np.ascontiguousarray(photo[y0:y1, x0:])
    subject = editor.subject(tight, None, "tight")
    plan = EditPlan.motion(yaw=10)
    mask = repaint_mask(plan, {"photo": subject.portrait})
    where = paste_back(mask.astype(np.uint8), subject.portrait.crop, np.zeros(tight.shape[:2], np.uint8), nearest=True)
    picture = np.asarray(editor.edit(tight, plan, **QUICK).image)
    assert picture.shape == tight.shape and np.array_equal(picture[where == 0], tight[where == 0])
    changed = (picture != tight).any(-1)
    assert (where == 0).any() and changed[:, 0].any() and changed[0].any() and changed[-1].any()


def test_a_path_in_a_plan_leaves_its_name_alone(editor: FaceX, photo: np.ndarray, tmp_path: Path) -> None:
    """The recipe goes with the picture: it names files, and not where they lie."""
    paths = [tmp_path / folder / "her.png" for folder in ("one", "two")]
    for path, there in zip(paths, (photo, photo[:, ::-1])):
        path.parent.mkdir()
        Image.fromarray(there).save(path)
    plan = EditPlan.swap(str(paths[0]), head=True) + EditPlan.regions(str(paths[1]), ["lips"])
    recipe = json.loads(json.dumps(editor.edit(photo, plan, faces={str(paths[1]): 1}, **QUICK).recipe))
    assert recipe["plan"]["structure"] == "her.png" and recipe["plan"]["factors"]["lips"] == "her-2.png"
    assert "from her-2.png" in recipe["says"] and str(tmp_path) not in json.dumps(recipe["plan"] | recipe["photos"])
    again = editor.replay(recipe, {"photo": photo, "her.png": paths[0], "her-2.png": paths[1]})
    assert again.recipe == recipe


def test_a_mask_of_another_size_is_refused(editor: FaceX, photo: np.ndarray) -> None:
    height, width = photo.shape[:2]
    for shape in ((height // 2, width // 2), (width, height)):
        hole = np.zeros(shape, bool)
        hole[60:75, 50:70] = True
        said = f"the mask has {shape[1]} x {shape[0]} pixels and photo {width} x {height}: draw"
        with pytest.raises(InputError, match=said):
            editor.edit(photo, EditPlan.inpaint(hole), **QUICK)


def test_what_cannot_be_edited_is_one_line(editor: FaceX, photo: np.ndarray, face: Face) -> None:
    plan = EditPlan.motion(yaw=5)
    with pytest.raises(InputError, match="the plan is empty"):
        editor.edit(photo, EditPlan())
    with pytest.raises(InputError, match="no face was found in photo"):
        editor.edit(np.full((80, 80, 3), 128, np.uint8), plan)
    with pytest.raises(InputError, match="there is no face 2"):
        editor.edit(photo, plan, face=2)
    with pytest.raises(InputError, match="no such file"):
        editor.edit(photo, EditPlan.swap("nobody.jpg"))
    with pytest.raises(InputError, match="shows no hat"):
        editor.edit(photo, EditPlan.erase(["hat"]))
    with pytest.raises(InputError, match="steps=0"):
        editor.edit(photo, plan, steps=0)
    topology = editor.reader.topology
    small = Face(**{**vars(face), "box": face.box / 5})
    with pytest.raises(InputError, match="pixels wide"):
        portrait_of(photo, small, 64, topology)
    turned = Face(**{**vars(face), "pose": limner.Pose(80.0, 0.0, 0.0)})
    with pytest.raises(InputError, match="turned 80°"):
        portrait_of(photo, turned, 64, topology)
    beyond = Face(**{**vars(face), "landmarks": face.landmarks - [170, 0, 0]})
    with pytest.raises(InputError, match="cut off"):
        portrait_of(photo, beyond, 64, topology)
    assert choose_face([face, small], 2, "photo") is small


def test_another_base_is_another_style(editor: FaceX, photo: np.ndarray, tmp_path: Path) -> None:
    unet = load_unet(write_nano_base(tmp_path / "style") / "unet")
    before = np.asarray(editor.edit(photo, EditPlan.animate(), **QUICK).image)
    from limner.models.facex.base import save_unet

    louder = {key: value * 1.3 for key, value in unet.state_dict().items()}
    save_unet(louder, unet.config, tmp_path / "style" / "unet", {})
    after = editor.animate(photo, tmp_path / "style", **QUICK)
    assert after.recipe["base"] == "style" and after.recipe["weights"]["controller"] == editor.weights()["controller"]
    assert not np.array_equal(np.asarray(after.image), before)
    with pytest.raises(InputError, match="does not fit wide"):
        editor.animate(photo, write_nano_base(tmp_path / "wide", widths=(8, 24)), **QUICK)


def test_stable_diffusions_layout_edits(photo: np.ndarray, tmp_path: Path, reader) -> None:
    base = write_stable_diffusion(tmp_path / "sd")
    controller = random_controller(load_unet(base / "unet"), region_encoder="codec", level_widths=(4,))
    save_controller(controller, tmp_path / "sd.safetensors", {"guidance": 2.0})
    editor = FaceX.load(tmp_path / "sd.safetensors", base=base, device="cpu", precision="fp32", reader=reader)
    plan = EditPlan.motion(yaw=10) + EditPlan(prompt="a smiling woman")
    made = [np.asarray(editor.edit(photo, plan, sampler=sampler, **QUICK).image) for sampler in ("ddim", "euler")]
    assert all((picture != photo).any() for picture in made)
    with pytest.raises(InputError, match="does not name its base model"):
        FaceX.load(tmp_path / "sd.safetensors", device="cpu", reader=reader)


def test_weights_that_are_not_there_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights are called 'nowhere'"):
        FaceX.load("nowhere")
    with pytest.raises(InputError, match=r"no controller\.safetensors in"):
        FaceX.load(tmp_path)


def test_bf16_works_too(weights: Path, photo: np.ndarray, reader) -> None:
    editor = FaceX.load(weights, device="cpu", precision="bf16", reader=reader)
    picture = editor.edit(photo, EditPlan.motion(yaw=10), **QUICK)
    assert picture.recipe["precision"] == "bfloat16" and (np.asarray(picture.image) != photo).any()
    assert editor.components.controller.assembler.dropped.dtype == torch.bfloat16


def test_the_toolkit_has_the_verbs(weights: Path, photo: np.ndarray, other: np.ndarray, reader: FaceReader) -> None:
    toolkit: Toolkit = limner.load(weights)
    vars(toolkit)["reader"] = reader  # loaded already
    picture = toolkit.edit(photo, limner.EditPlan.motion(smile=0.5), **QUICK)
    assert isinstance(picture, limner.Picture) and picture.image.size == (280, 260)
    assert toolkit.reenact(photo, other, **QUICK).recipe["photos"].keys() == {"photo", "driver"}
    assert toolkit.swap(other, photo, head=True, **QUICK).recipe["plan"]["structure"] == "source"
