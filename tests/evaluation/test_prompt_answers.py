"""Answers held against the prompts of generated portraits: what prompts state by hand, the suite on a built set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.noise_set import write_noise_set
from limner.cli.app import main
from limner.evaluation.prompt_answers import prompted_rows, stated_facts, summarise
from unif2ace.parts import write_tiny


@pytest.mark.parametrize(
    ("text", "sex", "age"),
    [
        ("profile picture of a 22-year-old woman from Eswatini", "woman", "young adult"),
        ("profile picture of a 52-year-old man", "man", "middle-aged"),
        ("profile picture of a 60-year-old man", "man", "older"),
        ("2.5 year old toddler", None, "child"),
        ("10 month old baby", None, "child"),
        ("baby girl", "woman", "child"),
        ("elderly male", "man", "older"),
        ("middle-aged adult female", "woman", "middle-aged"),
        ("30 year old adult", None, "young adult"),
        ("a 30-year-old woman with a 5-year-old child", "woman", None),
        ("teenage girl", "woman", None),
        ("mandarin collar, goldman", None, None),
        ("Female with age 40", "woman", None),
    ],
)
def test_what_a_prompt_states(text: str, sex: str | None, age: str | None) -> None:
    stated = {"gender_presentation": sex, "age_group": age}
    found = {name: fact.value for name, fact in stated_facts(text).items()}
    assert found == {name: value for name, value in stated.items() if value is not None}


def test_an_age_near_a_border_is_not_asked_about() -> None:
    sure, unsure = (stated_facts(f"a {years}-year-old")["age_group"].confidence for years in (46, 36))
    assert sure > 0.99 and unsure == pytest.approx(0.5, abs=0.01)


def test_shares_by_attribute_beside_the_commonest() -> None:
    log = [
        {"about": "age_group", "kind": "yes/no", "value": "yes", "question": "?", "right": True},
        {"about": "age_group", "kind": "yes/no", "value": "yes", "question": "?", "right": False},
        {"about": "age_group", "kind": "yes/no", "value": "no", "question": "?", "right": False},
        {"about": "age_group", "kind": "open", "value": "older", "question": "?", "right": True},
    ]
    assert summarise(log) == {"age_group": {"judged": 4, "right": 0.5, "commonest_answer_right": pytest.approx(3 / 4)}}


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built set of noise from three folders, of which two have words."""
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    ids = {
        "test": ["a/one.png", "a/two.png", "b/one.png", "c/one.png"],
        "validation": ["a/three.png"],
        "train": ["a/four.png"],
    }
    folder = write_noise_set(
        tmp_path / "set", {split: [{"id": name} for name in names] for split, names in ids.items()}
    )
    for name in "abc":
        (tmp_path / name).mkdir()
    stated = ["one.png,a 45-year-old woman", '"two.png","a landscape, with a cow"', "three.png,an elderly man",
              "four.png,an elderly man"]  # fmt: skip
    (tmp_path / "a" / "prompts.csv").write_text("\n".join(["file,prompt", *stated]))
    (tmp_path / "b" / "labels.csv").write_text("file,generator,label\none.png,x,baby\n")
    return folder


def test_held_out_faces_with_words_are_asked_about_what_they_state(built: Path) -> None:
    rows = {row["id"]: row["questions"] for row in prompted_rows(built, built.parent, 0)}
    assert list(rows) == ["a/one.png", "b/one.png", "a/three.png"]
    assert {each["about"] for each in rows["b/one.png"]} == {"age_group"}
    for name, word in (("a/one.png", "woman"), ("a/three.png", "man")):
        chosen = [q["value"] for q in rows[name] if q["about"] == "gender_presentation" and q["kind"] != "yes/no"]
        assert chosen and set(chosen) == {word}
        assert {"gender_presentation", "age_group"} == {each["about"] for each in rows[name]}


def test_the_suite_at_the_command_line(built: Path, capsys) -> None:
    weights, log = write_tiny(built.parent / "weights"), built.parent / "log.json"
    words = ["evaluate", "unif2ace", "set", "--suite", "prompted", "--weights", str(weights)]
    words += ["--out", str(built.parent), "--log", str(log)]
    assert main(words) == 0
    figures = json.loads((built.parent / "unif2ace-prompted.set.json").read_text())["figures"]
    said = json.loads(log.read_text())
    assert set(figures) == {"a", "b"} and figures["a"]["portraits"] == 2
    for source in "ab":
        for about in set(figures[source]) - {"portraits"}:
            judged = [e["right"] for e in said if e["id"].startswith(source) and e["about"] == about]
            assert figures[source][about]["judged"] == len(judged) > 0
            assert figures[source][about]["right"] == pytest.approx(np.mean(judged), abs=1e-5)
    assert main([*words, "--count", "1"]) == 0 and len({e["id"] for e in json.loads(log.read_text())}) == 1
    (built.parent / "a" / "prompts.csv").write_text("name,prompt\none.png,a woman\n")
    capsys.readouterr()
    assert main(words) == 2 and "needs the columns file and prompt" in capsys.readouterr().err
    (built.parent / "a" / "prompts.csv").write_text("file,prompt\none.png,a cow\n")
    (built.parent / "b" / "labels.csv").unlink()
    assert main(words) == 2 and "prompts.csv (columns file, prompt) or labels.csv" in capsys.readouterr().err
