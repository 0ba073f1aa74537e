"""Figures by perceived group: perfect labels give perfect figures, groups add up, and documents say what was stored."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from limner.errors import InputError
from limner.evaluation.subgroups import (
    ATTRIBUTES,
    BEGIN,
    END,
    FEWEST,
    SHARED,
    fill,
    measure_painting,
    measure_reading,
    read_figures,
    tables,
)
from limner.faces.geometry import resize
from limner.faces.picture import read_picture, save_picture, save_png
from limner.faces.reader import FaceReader
from limner.faces.regions import REGION_NAMES, Region

ROOT = Path(__file__).parents[2]
FACES = ("face-10015", "face-10016", "face-10018")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs labelled by the parser itself, and one without a face."""
    folder = tmp_path_factory.mktemp("data") / "pairs"
    folder.mkdir()
    reader = FaceReader.load()
    for name in FACES:
        photo = read_picture((files("limner.demo") / "photographs" / f"{name}.jpg").read_bytes())
        save_picture(folder / f"{name}.webp", resize(photo, (256, 256)))
        (face,) = reader.read_crops(read_picture(folder / f"{name}.webp")[None])
        assert face is not None
        save_png(folder / f"{name}.png", face.regions)
    save_picture(folder / "zero.webp", np.full((256, 256, 3), 128, np.uint8))
    save_png(folder / "zero.png", np.zeros((256, 256), np.uint8))
    return folder


@pytest.fixture(scope="module")
def reading(pairs: Path) -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIMNER_DATA", str(pairs.parent))
        return measure_reading(pairs.name, len(FACES) + 1, lambda done, total: None)


def test_labels_that_are_the_readings_agree_wholly(reading: dict) -> None:
    assert (reading["photographs"], reading["without a face"], reading["all"]["faces"]) == (len(FACES) + 1, 1, 3)
    assert reading["all"]["pixel_accuracy"]["mean"] == reading["all"]["face_f1"] == 1


def test_groups_add_up(reading: dict) -> None:
    for name in ATTRIBUTES:
        assert sum(group["faces"] for group in reading[name].values()) == len(FACES)
    assert set(reading["gender_presentation"]) <= {"woman", "man", "not sure"}


def test_what_is_labelled_otherwise_counts_against_its_group_alone(pairs: Path) -> None:
    photo = read_picture(pairs / f"{FACES[0]}.webp")
    (face,) = FaceReader.load().read_crops(photo[None])
    assert face is not None
    wrong = np.where(face.regions == Region.NOSE, np.uint8(Region.SKIN), face.regions)
    share = float((face.regions == Region.NOSE).mean())
    figures = read_figures([(face, wrong)])
    assert figures["pixel_accuracy"]["mean"] == pytest.approx(1 - share)
    assert figures["face_f1"] < 1
    both = read_figures([(face, wrong), (face, face.regions)])
    assert both["pixel_accuracy"]["mean"] == pytest.approx(1 - share / 2)
    assert set(SHARED) < set(REGION_NAMES)


def prompt(gender: bool, smile: bool | None, wanted: str = "woman") -> dict:
    wishes, aligned_attributes = {"gender_presentation": wanted}, {"gender_presentation": gender}
    if smile is not None:
        wishes["smile"], aligned_attributes["smile"] = "smile", smile
    return {"wishes": wishes, "alignment": aligned_attributes}


def test_wishes_are_counted_by_who_was_asked_for() -> None:
    log = [prompt(True, True), prompt(False, False), prompt(True, None), prompt(True, True, "man")]
    found = measure_painting([*log, {"wishes": {"smile": "smile"}, "alignment": {"smile": False}}])
    women, men = found["gender_presentation"]["woman"], found["gender_presentation"]["man"]
    assert women["prompts"] == 3 and women["alignment"]["mean"] == pytest.approx(2 / 3)
    assert women["other wishes"]["judged"] == 2 and women["other wishes"]["mean"] == 0.5
    assert men["alignment"]["mean"] == men["other wishes"]["mean"] == 1 and "age_group" not in found
    with pytest.raises(InputError, match="asks for a group"):
        measure_painting([])


def test_tables_show_groups_that_are_large_enough(reading: dict) -> None:
    log = [prompt(True, True)] * FEWEST + [prompt(True, True, "man")] * (FEWEST - 1)
    found = {"reading": reading, "painting": measure_painting(log)}
    text = tables(found)
    assert "| gender presentation: woman | 20 | 100.0% of 20 |" in text and "presentation: man" not in text
    assert fill(fill(f"a\n{BEGIN}{END}\nb", found), found) == f"a\n{BEGIN}\n{text}\n{END}\nb"
    with pytest.raises(InputError, match="no place for the tables"):
        fill("a", found)


def test_the_document_says_what_was_stored() -> None:
    stored = json.loads((ROOT / "results" / "groups.json").read_text(encoding="utf-8"))
    document = (ROOT / "docs" / "responsible-use.md").read_text(encoding="utf-8")
    assert fill(document, stored["figures"]) == document
