"""Answers held against the prompts of generated portraits: what prompts state by hand, the suite on photographs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from limner.cli.app import main
from limner.evaluation.prompted import read_portraits, stated_facts, summarise
from limner.faces.picture import save_png
from unif2ace.parts import write_tiny


@pytest.mark.parametrize(
    ("text", "sex", "age"),
    [
        ("profile picture of a 22-year-old woman from Eswatini", "woman", "young adult"),
        ("profile picture of a 56-year-old man", "man", "middle-aged"),
        ("profile picture of a 57-year-old man", "man", "older"),
        ("2.5 year old toddler", None, "child"),
        ("10 month old baby", None, "child"),
        ("baby girl", "woman", "child"),
        ("elderly male", "man", "older"),
        ("middle-aged adult female", "woman", "middle-aged"),
        ("30 year old adult", None, "young adult"),
        ("a man and a woman, elderly", None, "older"),
        ("an elderly person with a child", None, None),
        ("mandarin collar, goldman", None, None),
        ("Female with age 40", "woman", None),
    ],
)
def test_what_a_prompt_states(text: str, sex: str | None, age: str | None) -> None:
    stated = {"gender_presentation": sex, "age_group": age}
    assert stated_facts(text) == {name: value for name, value in stated.items() if value is not None}


def test_shares_by_attribute_beside_the_commonest() -> None:
    log = [
        {"about": "age_group", "kind": "yes/no", "value": "yes", "question": "?", "right": True},
        {"about": "age_group", "kind": "yes/no", "value": "yes", "question": "?", "right": False},
        {"about": "age_group", "kind": "yes/no", "value": "no", "question": "?", "right": False},
        {"about": "age_group", "kind": "open", "value": "older", "question": "?", "right": True},
        {"about": "age_group", "kind": "open", "value": "", "question": "?", "right": None},
    ]
    assert summarise(log) == {"age_group": {"judged": 4, "right": 0.5, "commonest_answer_right": pytest.approx(3 / 4)}}


@pytest.fixture
def portraits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two photographs of one face, one picture of none, one without words that count."""
    from limner.demo import show

    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    folder = tmp_path / "portraits"
    folder.mkdir()
    photographs = Path(show.__file__).parent / "photographs"
    for name in ("face-10015.jpg", "face-10016.jpg"):
        shutil.copy(photographs / name, folder / name)
    save_png(folder / "noise.png", np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    rows = [
        "file,prompt",
        "face-10015.jpg,a 40-year-old woman",
        "noise.png,an elderly man",
        'face-10016.jpg,"a man, 70 years old"',
        "none.png,a landscape",
    ]
    (folder / "prompts.csv").write_text("\n".join(rows))
    return folder


def test_the_suite_asks_about_what_prompts_state(portraits: Path, capsys) -> None:
    weights, log = write_tiny(portraits.parent / "weights"), portraits.parent / "log.json"
    words = ["evaluate", "unif2ace", "portraits", "--suite", "prompted", "--weights", str(weights)]
    assert main([*words, "--out", str(portraits.parent), "--log", str(log)]) == 0
    figures = json.loads((portraits.parent / "unif2ace-prompted.portraits.json").read_text())["figures"]
    said = json.loads(log.read_text())
    assert figures["portraits"] == 2 and figures["without_one_face"] == 1
    assert {each["id"] for each in said} == {"face-10015.jpg", "face-10016.jpg"}
    for name in ("age_group", "gender_presentation"):
        asked = [each for each in said if each["about"] == name]
        assert len(asked) >= 2 and figures[name]["judged"] == sum(each["right"] is not None for each in asked)
    yes = [each for each in said if each["about"] == "gender_presentation" and each["id"] == "face-10015.jpg"]
    assert all(("woman" in each["answer"]) or each["value"] in ("yes", "no") for each in yes)
    (portraits / "prompts.csv").write_text("file,prompt\na.png,a landscape\n")
    capsys.readouterr()
    assert main(words) == 2 and "state an age or a sex" in capsys.readouterr().err
    (portraits / "prompts.csv").write_text("name,prompt\na.png,a landscape\n")
    assert main(words) == 2 and "needs the columns file and prompt" in capsys.readouterr().err
    (portraits / "prompts.csv").unlink()
    assert main(words) == 2 and "prompts.csv (columns file, prompt) or labels.csv" in capsys.readouterr().err


def test_labels_serve_as_well(portraits: Path) -> None:
    (portraits / "prompts.csv").unlink()
    (portraits / "labels.csv").write_text("file,generator,label\nnoise.png,x,elderly male\nface.png,x,necklace\n")
    found = {"gender_presentation": "man", "age_group": "older"}
    assert read_portraits(portraits) == [(portraits / "noise.png", found)]
