"""Requests are true, know what they state, and are as long, as varied and as often negative as people's."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from limner.faces.vocabulary import COLOURS, VOCABULARY
from limner.words.captions import PROMPT_TOKENS, Caption
from limner.words.facts import LEAST_CONFIDENCE, choose_facts
from limner.words.grammar import count_tokens, load
from limner.words.request_facts import DENIED, choose_wishes, find_wishes, make_phrases
from limner.words.request_phrases import adjectives_of, forms_of
from limner.words.requests import LENGTHS, LONGEST, compose_requests

sys.path.insert(0, str(Path(__file__).parent))
from made_up import Found, make_attributes

Pairs = list[tuple[dict, Caption]]


@pytest.fixture(scope="module")
def written() -> Pairs:
    """3,000 requests for 300 faces, each with its face's attributes: half of the faces plausible, half not."""
    rng = np.random.default_rng(14)
    faces = [make_attributes(rng) for _ in range(150)] + [_any_attributes(rng) for _ in range(150)]
    return [(face, request) for face in faces for request in compose_requests(face, rng, 10)]


def _any_attributes(rng: np.random.Generator) -> dict:
    """Every attribute of the vocabulary with a value drawn evenly: what analysers that contradict each other find."""
    found = {}
    for name, term in VOCABULARY.items():
        if term.values is None:
            value = bool(rng.random() < 0.5)
        elif term.values == "number":
            value = float(rng.uniform(1, 90))
        else:
            value = str(rng.choice(term.values))
        found[name] = Found(value, float(rng.uniform(0.4, 1.0)))
    if found["age_group"].confidence > 0.6:  # both come from one measurement
        years = found["age"].value
        group = "child" if years < 16 else "young adult" if years < 36 else "middle-aged" if years < 56 else "older"
        found["age_group"].value = group
    return found


def test_states_only_sure_facts_and_their_true_values(written: Pairs) -> None:
    for face, request in written:
        facts = choose_facts(face)
        for name, value in request.stated.items():
            assert facts[name] == value == face[name].value, request
            assert face[name].confidence >= LEAST_CONFIDENCE, request


# What is denied stands after one of these, with nothing in between that ends the denial.
_NO = r"\b(?:no|without|not|isn'?t|aren'?t|doesn'?t|don'?t)\b(?:(?!\b(?:but|and|with|w|who|that)\b)[^,.&]){0,60}?"
_THINGS = {  # a reading of the texts that knows nothing of the grammar
    "sunglasses": r"\b(?:dark )?sunglasses|\bshades|\bdark glasses|\bsunnies",
    "glasses": r"(?<!dark )\b(?:eye|reading )?glasses|\bspecs\b|\bspectacles|\bbespectacled",
    "beard": r"\bbeard(?:ed)?\b|\bfacial hair|\bstubbl[ey]|\bunshaven|\bstubbly beard",
    "moustache": r"\bm(?:o)?ustached?\b",
    "hat": r"\bhat\b|\banything on (?:her|his|their) head",
    "earrings": r"\bearrings?\b",
    "necklace": r"\bnecklace\b",
    "bangs": r"\bbangs\b|\bfringe\b|\bhair (?:over|on) the forehead",
    "bald": r"\bbald\b|\bhairless|\bbalding|\bbald-? ?headed|\bshaved head",
    "smile": r"\bsmil(?:e|ing)\b|\bgrin(?:ning)?\b",
    "laugh": r"\blaughing\b",
    "frown": r"\bfrown(?:ing)?\b",
    "goatee": r"\bgoatee\b",
    "sideburns": r"\bsideburns\b",
}
_SHAVEN = rf"\bclean[- ]shave[nd]|{_NO}facial hair|no beard or m|without (?:a )?beard or m|have (?:a )?beard or m"
_OTHERWISE = {
    "beard": rf"{_SHAVEN}|beardless",
    "moustache": _SHAVEN,
    "hat": r"\bbareheaded",
    "smile": r"\bunsmiling",
}


def _said(text: str, name: str) -> set[bool]:
    """Whether a thing is stated (True), denied (False) or both."""
    rest, found = text.lower(), set()
    if name != "sunglasses":
        rest = re.sub(rf"{_NO}(?:{_THINGS['sunglasses']})(?! or)", " ", rest) if name == "glasses" else rest
    pattern = f"(?:{_THINGS[name]})"
    while match := re.search(_NO + pattern, rest):
        found.add(False)
        last = list(re.finditer(pattern, match[0]))[-1]
        rest = rest[: match.start() + last.start()] + rest[match.end() :]
    if re.search(pattern, rest):
        found.add(True)
    if name in _OTHERWISE and re.search(_OTHERWISE[name], text.lower()) and True not in found:
        found.add(False)
    return found


def test_texts_say_what_is_stated_and_nothing_else(written: Pairs) -> None:
    checked = Counter()
    for face, request in written:
        facts, text = choose_facts(face), request.text
        for name in _THINGS:
            for there in _said(text, name):
                also = {"beard": "five_o_clock_shadow", "bald": "hair_length", "moustache": "beard"}.get(name, name)
                values = {facts.get(name), facts.get(also) if also != "beard" else None}
                true = {True, "bald", "full", "stubble", "slight", "broad"} if there else {False, "none", None}
                assert {name, also} & set(request.stated), (name, there, request)
                assert values & true - {None} or (name == "beard" and not there), (name, there, request)
                checked[name, there] += 1
        for name, value in request.stated.items():
            if name in _THINGS:
                assert (value not in (False, "none")) in _said(text, name), (name, request)
    assert all(checked[name, True] for name in _THINGS), checked
    assert all(checked[name, False] for name in _THINGS if DENIED.get(name, 0.0) > 0.2), checked


def test_ages_are_the_face_s(written: Pairs) -> None:
    seen = Counter()
    for face, request in written:
        text = request.text.lower()
        for number in re.findall(r"\b(\d\d?)(?!s|\d|k|mm)", text):
            seen["years"] += 1
            assert abs(int(number) - face["age"].value) <= 2.6 and "age" in request.stated, request
        for tens in re.findall(r"\b(\d0)s\b", text):
            seen["decade"] += 1
            assert int(tens) <= face["age"].value < int(tens) + 10 and "age" in request.stated, request
        if re.search(r"\b(?:elderly|senior|pensioner)\b", text):
            assert face["age_group"].value == "older" and "age_group" in request.stated | {"age_group": 0}, request
        if re.search(r"\b(?:boy|kid|child|little (?:girl|boy))\b", text):
            assert face["age"].value < 18 or face["age_group"].value == "child", request
    assert min(seen["years"], seen["decade"]) > 50


def test_nouns_and_pronouns_fit_the_person(written: Pairs) -> None:
    for _, request in written:
        text = request.text.lower()
        women = re.search(r"\b(?:woman|lady|girl|female|she|her)\b", text)
        men = re.search(r"\b(?:man|guy|boy|male|gentleman|dude|he|his)\b", text)
        assert not (women and men), request
        if women or men:
            assert request.stated["gender_presentation"] == ("woman" if women else "man"), request
        else:
            assert "gender_presentation" not in request.stated, request
        assert not re.search(r"\b(?:she|he|person|man|woman|who) (?:have|are|wear|don'?t|aren'?t)\b", text), request
        assert not re.search(r"\bthey (?:has|is|wears|doesn'?t|isn'?t)\b", text), request


def test_colours_go_with_their_nouns(written: Pairs) -> None:
    same = {"gray": "grey", "blonde": "blond", "ginger": "red", "golden": "blond", "auburn": "red", "silver": "grey"}
    seen = Counter()
    for _, request in written:
        text = request.text.lower()
        words = "|".join([*COLOURS.split(", "), *same, "blond"])
        for noun, name in (("hair", "hair_colour"), ("eyes", "eye_colour"), ("background", "background_colour")):
            for colour in re.findall(rf"(?<!and )\b({words}) {noun}\b", text):
                seen[name] += 1
                if (name, colour) != ("hair_colour", "orange") and "skin" not in text:
                    assert request.stated[name] == same.get(colour, colour), request
    assert min(seen.values()) > 50 and len(seen) == 3


def test_no_contradictions(written: Pairs) -> None:
    for _, request in written:
        text, stated = request.text.lower(), request.stated
        if (stated.get("bald") is True or stated.get("hair_length") == "bald") and not re.search("not bald", text):
            assert not re.search(r"\b(?:long|short|curly|wavy|straight|blonde?|brown|grey|gray) hair", text), request
            assert "bangs" not in stated and "hair_colour" not in stated, request
        if re.search("clean[- ]shaven", text):
            assert not re.search(r"beard|m(?:o)?ustache|goatee|stubble", text), request
            assert stated["beard"] == "none" and stated["moustache"] is False
        assert not ("sunglasses" in stated and "glasses" in stated), request
        assert not (stated.get("smile") == "none" and stated.get("emotion") == "happy"), request
        assert not ({"age", "age_group"} <= set(stated) and not re.search(r"\b(?:boy|kid|child)", text)), request
        for side, other in (("left", "right"), ("right", "left")):
            if re.search(rf"(?:looking|turned|facing) (?:\w+ ){{0,2}}{side}\b", text):
                assert not re.search(rf"(?:looking|turned|facing) (?:\w+ ){{0,2}}{other}\b", text), request


def test_nobody_asks_for_a_woman_without_a_beard(written: Pairs) -> None:
    for face, request in written:
        facts = choose_facts(face)
        if facts.get("gender_presentation") != "man" or facts.get("age_group") == "child":
            denied = {name for name, value in request.stated.items() if value in (False, "none")}
            assert not denied & {"beard", "moustache", "goatee", "five_o_clock_shadow", "bald"}, request


@pytest.fixture(scope="module")
def plausible() -> list[Caption]:
    """6,000 requests for 400 plausible faces."""
    rng = np.random.default_rng(5)
    return [request for _ in range(400) for request in compose_requests(make_attributes(rng), rng, 15)]


def test_lengths(plausible: list[Caption]) -> None:
    shares = Counter(request.style for request in plausible)
    for length, share in LENGTHS.items():
        assert shares[length] / len(plausible) == pytest.approx(share, abs=0.03)
    within = {"plain": (0, 2), "few": (1, 4), "several": (4, 7), "many": (6, 10)}
    for request in plausible:
        assert len(request.stated) <= within[request.style][1], request
        assert count_tokens(request.text) <= LONGEST < PROMPT_TOKENS
        if request.style == "plain":
            assert len(request.text.split()) <= 8 and set(request.stated) <= {"gender_presentation", "age_group", "age"}
    short = Counter(request.style for request in plausible if len(request.stated) < within[request.style][0])
    assert sum(short.values()) < 0.01 * len(plausible)
    stated = [len(request.stated) for request in plausible if request.style == "few"]
    assert np.mean([count <= 3 for count in stated]) > 0.95


def test_a_third_deny_something_and_rarely_a_hat(plausible: list[Caption]) -> None:
    denied = [{name for name, value in request.stated.items() if value in (False, "none") and name in DENIED}
              for request in plausible if request.stated]  # fmt: skip
    assert np.mean([bool(names) for names in denied]) == pytest.approx(1 / 3, abs=0.05)
    counts = Counter(name for names in denied for name in names)
    common, rare = ("glasses", "smile"), ("hat", "sunglasses", "goatee", "laugh")
    assert min(counts[name] for name in common) > 1.3 * max(counts[name] for name in rare)
    men = sum(request.stated.get("gender_presentation") == "man" for request in plausible) / len(plausible)
    assert counts["beard"] / men > 1.3 * counts["hat"]  # a beard is denied of men alone
    there = Counter(name for request in plausible for name, value in request.stated.items() if value is True)
    # 4 % of these faces wear sunglasses, 8 % a hat and 20 % glasses; whoever has them is often asked for with them.
    assert there["glasses"] > 0.03 * len(plausible) and there["hat"] > 0.015 * len(plausible)
    assert there["hat"] > 0.5 * counts["hat"] and there["sunglasses"] > 0.3 * counts["sunglasses"]


def test_people_s_first_wishes_come_first(plausible: list[Caption]) -> None:
    counts = Counter(name for request in plausible for name in request.stated)
    often = ("hair_colour", "smile", "glasses", "beard", "hair_length")
    rarely = ("jaw", "nose_length", "brow_shape", "eye_spacing", "hairline", "ears_visible", "neck_visible")
    assert min(counts[name] for name in often) > 2 * max(counts[name] for name in rarely)
    assert counts["gender_presentation"] > counts["hair_colour"]


def test_requests_hardly_repeat_and_take_many_shapes(plausible: list[Caption]) -> None:
    texts = [request.text for request in plausible if request.style != "plain"]
    assert len(set(texts)) > 0.97 * len(texts)
    shapes = {
        "tags": r"^[^,.]+,[^,.]+,",
        "clause": r"\bwho\b",
        "sentence": r"(?:^|\. )(?:she|he|they|the \w+) (?:is|has|are|have|wears)\b",
        "order": r"^(?:draw|generate|paint|make|create|show me|can you)",
        "portrait": r"^(?:a )?(?:portrait|photo|picture|headshot) of",
        "British": r"grey|moustache",
        "American": r"gray|mustache",
        "upper": r"^[A-Z]",
        "article": r"^an? ",
        "no article": r"^(?:man|woman|old|young|smiling) ",
    }
    counts = {name: sum(bool(re.search(p, t if name == "upper" else t.lower())) for t in texts) / len(texts)
              for name, p in shapes.items()}  # fmt: skip
    assert all(0.015 < share < 0.6 for share in counts.values()), counts


def test_one_face_s_requests_differ() -> None:
    face = make_attributes(np.random.default_rng(1))
    requests = compose_requests(face, np.random.default_rng(2), 300)
    texts = [request.text for request in requests if request.style != "plain"]
    assert len(set(texts)) == len(texts)


def test_the_same_seed_writes_the_same() -> None:
    face = make_attributes(np.random.default_rng(3))
    first, again, other = (compose_requests(face, np.random.default_rng(seed), 20) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_face_of_which_nothing_is_sure_still_has_requests() -> None:
    rng = np.random.default_rng(0)
    face = make_attributes(rng, unsure=1.0)
    for request in [*compose_requests(face, rng, 20), *compose_requests({}, rng, 20)]:
        assert request.text and request.stated == {} and request.style == "plain"


def test_no_leftovers_of_the_grammar(written: Pairs) -> None:
    for _, request in written:
        assert not re.search(r"[{}<>|\[\]+]|  | [,.?]|,,|\.\.|\bNone\b", request.text), request
        assert not re.search(r"\b[Aa] [aeio]", request.text), request
        assert not re.search(r"\b(\w+) \1\b|\bno (?:any|a)\b|\ban? (?:an?|the)\b", request.text), request


def test_everything_that_can_be_chosen_has_words() -> None:
    """Each attribute and value by itself, chosen alone, gives a phrase with forms."""
    rng = np.random.default_rng(0)
    for name, term in VOCABULARY.items():
        values = term.values or (True, False)
        for value in (4.0, 15.0, 33.0, 88.0) if values == "number" else values:
            wishes = find_wishes({"gender_presentation": "man", name: value})
            for chosen in [*wishes.stated, *wishes.denied]:
                for phrase in make_phrases(wishes, [chosen], rng):
                    assert phrase.forms, (name, value)


def test_every_role_is_known_and_rules_are_of_the_vocabulary() -> None:
    for rule in load("requests").rules:
        name, equals, value = rule.partition("=")
        if equals and name in VOCABULARY and name not in ("age", "age_group", "beard"):
            values = VOCABULARY[name].values
            allowed = ("yes", "no") if values is None else (*values, "*") if values != "number" else ()
            assert value.removesuffix(" woman") in allowed, rule
            assert forms_of(rule) or adjectives_of(name, value), rule


def test_a_denial_is_wanted_only_where_it_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        wishes = find_wishes(choose_facts(make_attributes(rng)))
        without, denying = (choose_wishes(wishes, rng, 5, deny) for deny in (False, True))
        assert not set(without) & set(wishes.denied)
        assert not wishes.denied or set(denying) & set(wishes.denied)
