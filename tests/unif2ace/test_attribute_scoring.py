"""What a model holds of every attribute: weighed in one pass as one answer after another would be."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from limner.cli.app import main
from limner.faces.record import Attribute
from limner.models.unif2ace.attribute_scoring import LEAST, SURE, AnswerTrie, agreement, tell, weigh
from limner.models.unif2ace.engine import UniF2ace
from limner.models.unif2ace.generation import likelihood
from limner.words.attribute_questions import first_probe, probes
from limner.words.claims import read_claims
from unif2ace.test_generation import pictures
from unif2ace.tiny import random_model


def test_a_tree_of_texts_gives_each_what_it_has_alone() -> None:
    model, tree = random_model(), AnswerTrie(random_model().config.sot)
    seen = pictures(model)
    texts = [([3, 4], [5, 6, 7]), ([3, 4], [5, 8]), ([3, 9], [5, 6]), ([3, 4, 5], [6, 9, 9])]
    places = [(tree.grow(0, asked), tree.grow(tree.grow(0, asked), said[:-1]), said) for asked, said in texts]
    assert len(tree.tokens) == 1 + 4 + 1 + 2 + 1 - 1, "what texts share is read once"
    log_p = tree.log_p(model, seen)
    for (asked, said), (start, end, _) in zip(texts, places, strict=True):
        way = tree.ways[end][len(tree.ways[start]) - 1 :]
        found = log_p[:, way, said].mean(1)
        assert torch.allclose(found, likelihood(model, seen, asked, said), atol=1e-5)


def test_a_survey_weighs_every_answer(engine: UniF2ace, photo: Path) -> None:
    look = engine.encode_photo(photo)
    (found,) = engine.score_attributes(look)
    tokenizer, model = engine.components.tokenizer, engine.components.model
    facts = {"gender_presentation": found["gender_presentation"].value}
    asked = [first_probe(), *probes(facts)]
    assert [probe.attribute for probe in asked] == list(found) and len(found) > 45
    for probe in asked[::9]:
        said = tokenizer.encode(list(probe.answers.values()))
        question = tokenizer.question(probe.question)
        scores = torch.stack([likelihood(model, look.cache, question, ids)[0] * len(ids) for ids in said])
        shares = torch.softmax(scores, 0)
        best = int(shares.argmax())
        assert found[probe.attribute].value == list(probe.answers)[best], probe
        assert found[probe.attribute].confidence == pytest.approx(float(shares[best]), abs=1e-4)


def test_faces_are_surveyed_together_as_alone(engine: UniF2ace, pair: Path) -> None:
    look = engine.encode_photo(pair)
    together = engine.score_attributes(look)
    for found, part in zip(together, look.split(), strict=True):
        (alone,) = engine.score_attributes(part)
        assert {name: each.value for name, each in found.items()} == {name: each.value for name, each in alone.items()}
    answer = engine.describe(pair, "full", seed=4)
    assert [face.attributes for face in answer.faces] == together
    assert [face.text for face in answer.faces] == [tell(face, 4 + k) for k, face in enumerate(together)]


def test_a_text_agrees_with_pictures_as_far_as_its_claims_do(engine: UniF2ace, pair: Path) -> None:
    model, tokenizer, cache = engine.components.model, engine.components.tokenizer, engine.encode_photo(pair).cache
    found = agreement(model, tokenizer, cache, "A smiling woman with red hair.")
    assert found is not None
    asked = {probe.attribute: probe for probe in (first_probe(), *probes({"gender_presentation": "woman"}))}
    every = [asked[name] for name in ("gender_presentation", "hair_colour", "smile")]
    for face, shares in zip(found.tolist(), weigh(model, tokenizer, cache, every), strict=True):
        smiles = shares["smile"]["slight"] + shares["smile"]["broad"]  # the text leaves open which
        claims = [shares["gender_presentation"]["woman"], shares["hair_colour"]["red"], smiles]
        assert face == pytest.approx(sum(math.log(each + LEAST) for each in claims), abs=1e-3)
    assert agreement(model, tokenizer, cache, "two boats on a lake") is None
    pictures = np.zeros((1, 256, 256, 3), np.uint8)
    assert engine.reads(pictures, "two boats on a lake")[0] < 0, "read as a caption instead"


def test_only_what_is_sure_is_told() -> None:
    found = {
        "gender_presentation": Attribute("woman", 0.9, "unif2ace"),
        "hair_colour": Attribute("red", SURE + 0.01, "unif2ace"),
        "eye_colour": Attribute("green", SURE - 0.01, "unif2ace"),
        "hat": Attribute(False, 0.99, "unif2ace"),
    }
    for seed in range(20):
        claims = read_claims(tell(found, seed))
        assert claims == {"gender_presentation": ("woman",), "hair_colour": ("red",), "hat": (False,)}


def test_a_full_description_at_the_command_line(folder: Path, photo: Path, pair: Path, capsys) -> None:
    chosen = ["--engine", str(folder), "--precision", "fp32", "--length", "full"]
    assert main(["describe", str(photo), *chosen, "--stream"]) == 0
    plain = capsys.readouterr().out.strip()
    assert main(["describe", str(photo), *chosen, "--json"]) == 0
    ((face,),) = (answer["faces"] for answer in json.loads(capsys.readouterr().out)["answers"])
    assert face["answer"] == plain and plain.endswith(".")
    assert set(face["attributes"]["hair_colour"]) == {"value", "confidence", "by"}
    assert all(0 < each["confidence"] <= 1 for each in face["attributes"].values())
    assert main(["describe", str(pair), *chosen, "--csv"]) == 0
    assert capsys.readouterr().out.count("\n") == 3
