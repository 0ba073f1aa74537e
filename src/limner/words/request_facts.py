"""Which of a face's facts a request states, and the phrases for them.

What people ask for first is drawn most often, and what few faces have (sunglasses, a hat, a bald head) most often of
all where a face has it. Denials are drawn apart: few people deny a hat, many deny glasses. All weights are our choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from limner.words.facts import decade
from limner.words.grammar import Value, spoken
from limner.words.request_phrases import Phrase, adjectives_of, forms_of, forms_of_all

Life = Literal["child", "teen", "young", "middle", "old", ""]  # "": unknown

# How often a fact is asked for, relative to the others, by its value or (a number) for every value.
_ASKED: Mapping[str, float | Mapping[Value, float]] = {
    "age": 9.0,
    "hair_colour": 8.0,
    "hair_length": {"bald": 10.0, "long": 6.0, "short": 4.0, "medium": 2.0},
    "hair_texture": {"curly": 7.0, "wavy": 4.0, "straight": 2.5},
    "bald": {True: 14.0},
    "bangs": {True: 7.0},
    "hairline": {"high": 0.4, "low": 0.1},
    "beard": {"full": 10.0, "stubble": 6.0},
    "five_o_clock_shadow": {True: 3.0},
    "moustache": {True: 6.0},
    "goatee": {True: 7.0},
    "sideburns": {True: 2.0},
    "glasses": {True: 11.0},
    "sunglasses": {True: 16.0},
    "hat": {True: 16.0},
    "earrings": {True: 5.5},
    "necklace": {True: 4.0},
    "lipstick": {True: 3.0},
    "lip_colour": {"red": 0.7, "pink": 0.6, "dark": 0.9},
    "lip_fullness": {"full": 0.7, "thin": 0.4},
    "skin_tone": {"very light": 2.5, "light": 1.8, "tan": 2.5, "brown": 4.5, "dark": 6.0},
    "skin_texture": {"smooth": 0.4},
    "rosy_cheeks": {True: 1.2},
    "face_shape": {"round": 1.0, "oval": 0.4, "square": 0.8, "long": 0.8, "heart": 0.8},
    "jaw": {"wide": 0.5, "narrow": 0.3},
    "brow_thickness": {"thick": 1.0, "thin": 0.5},
    "brow_shape": {"arched": 0.3, "straight": 0.15},
    "brow_colour": 0.1,
    "eye_size": {"large": 0.9, "small": 0.5},
    "eye_shape": {"narrow": 0.3, "almond": 0.12, "round": 0.3},
    "eye_colour": {"blue": 4.0, "green": 4.0, "brown": 3.0, "grey": 0.4},  # most "grey" eyes are dim photos
    "nose_width": {"wide": 0.6, "narrow": 0.5},
    "nose_length": {"long": 0.5, "short": 0.4},
    "eye_bags": {True: 0.6},
    "ears_visible": {True: 0.03},
    "smile": {"broad": 8.0, "slight": 5.0},
    "laugh": {True: 7.0},
    "mouth_open": {True: 1.6},
    "teeth_visible": {True: 1.2},
    "eyes": {"closed": 9.0, "narrowed": 0.8},
    "wink": {True: 5.0},
    "gaze": {"at the camera": 1.1, "left": 2.5, "right": 2.5, "up": 3.0, "down": 3.0},
    "head_turn": {"frontal": 0.6, "left": 1.7, "right": 1.7, "profile left": 6.0, "profile right": 6.0},
    "head_tilt": {"left": 2.5, "right": 2.5},
    "head_nod": {"up": 0.7, "down": 0.7},
    "brows_raised": {True: 1.2},
    "frown": {True: 2.5},
    "pout": {True: 2.5},
    # "disgusted" is not asked for: most faces that it is measured on just talk or squint.
    "emotion": {"happy": 2.7, "neutral": 2.5, "sad": 6.0, "angry": 6.0, "surprised": 6.0, "fearful": 3.0},
    "background_brightness": {"dark": 3.0, "bright": 2.8},
    "background_colour": {
        **{"white": 2.5, "black": 2.5, "grey": 1.2, "brown": 0.8, "red": 2.5, "orange": 2.5, "yellow": 2.5},
        **{"green": 2.5, "blue": 2.5, "purple": 2.5, "pink": 2.5},
    },
    "background_plain": {True: 1.3, False: 0.2},
    "lighting": {"dim": 2.5, "bright": 1.8},
    "light_direction": {"left": 0.7, "right": 0.7, "above": 0.25},
    "clothing_colour": 1.5,
    "picture_colour": {"black and white": 10.0},
    "sharpness": {"blurred": 1.0},
}

DENIED: Mapping[str, float] = {
    "glasses": 5.0,
    "beard": 6.0,
    "shaven": 4.0,
    "moustache": 1.8,
    "smile": 9.0,
    "earrings": 1.4,
    "bangs": 1.1,
    "lipstick": 0.9,
    "hat": 0.6,
    "bald": 0.8,
    "teeth_visible": 0.7,
    "mouth_open": 0.9,
    "five_o_clock_shadow": 0.4,
    "sunglasses": 0.25,
    "laugh": 0.15,
    "frown": 0.1,
    "goatee": 0.2,
    "sideburns": 0.1,
    "eye_bags": 0.1,
}
"""How often the absence of something is asked for. Its value is False or "none"; "shaven" is neither beard nor
moustache."""

# Whose: nobody asks for a woman without a beard.
_OF_MEN = {"beard", "shaven", "moustache", "bald", "five_o_clock_shadow", "goatee", "sideburns"}
_OF_WOMEN = {"earrings", "bangs", "lipstick"}
_FACIAL_HAIR = ("beard", "moustache", "goatee", "five_o_clock_shadow", "sideburns")

# Facts that nobody names together: one follows from the other, or the two answer the same question.
_APART: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("shaven", _FACIAL_HAIR),
    ("beard", ("five_o_clock_shadow", "goatee")),
    ("goatee", ("five_o_clock_shadow",)),
    ("bald", ("hair_colour", "hair_length", "hair_texture", "hairline", "bangs", "hat")),
    ("bangs", ("hairline",)),
    ("sunglasses", ("glasses",)),
    ("laugh", ("smile", "emotion", "mouth_open", "teeth_visible")),
    ("mouth_open", ("teeth_visible",)),
    ("frown", ("emotion", "smile")),
    ("pout", ("smile", "mouth_open")),
    ("brows_raised", ("emotion",)),
    ("head_turn", ("gaze",)),
    ("eyes", ("gaze", "wink")),
    ("lighting", ("light_direction",)),
    ("ears_visible", ("earrings",)),
)
_AVOID: dict[str, set[str]] = {}
for _name, _others in _APART:
    for _other in _others:
        _AVOID.setdefault(_name, set()).add(_other)
        _AVOID.setdefault(_other, set()).add(_name)

# Adjectives of one noun, in their order; the noun's rule in requests.grammar.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "hair": ("hair_length", "hair_texture", "hair_colour"),
    "eyes": ("eye_size", "eye_shape", "eye_colour"),
    "nose": ("nose_length", "nose_width"),
    "lips": ("lip_fullness", "lip_colour"),
    "brows": ("brow_thickness", "brow_shape", "brow_colour"),
    "face": ("face_shape",),
    "jaw": ("jaw",),
    "skin": ("skin_texture", "skin_tone"),
    "background": ("background_plain", "background_brightness", "background_colour"),
}
# Adjectives in front of a noun: mood, age, length, skin, hair. The rest comes last.
_PLACES = {"emotion": 0, "smile": 0, "laugh": 0, "frown": 0, "age": 1, "age_group": 1, "hair_length": 2, "skin_tone": 3}


@dataclass(frozen=True)
class Wishes:
    """What can be asked of one face: its facts, and how often each is stated or denied (attribute → weight)."""

    facts: Mapping[str, Value]
    life: Life
    stated: Mapping[str, float]
    denied: Mapping[str, float]


def find_wishes(facts: Mapping[str, Value]) -> Wishes:
    """What can be asked of a face with these facts (see `choose_facts`)."""
    life, gender = _life(facts), facts.get("gender_presentation")
    stated = {name: weight for name in _ASKED if (weight := _asked(name, facts)) > 0}
    denied = {name: weight for name, weight in DENIED.items() if _deniable(name, facts)}
    if gender == "man":
        stated.pop("lip_colour", None)
    if gender != "man" or life in ("child", "teen"):
        denied = {name: weight for name, weight in denied.items() if name not in _OF_MEN}
    if gender != "woman" or life == "child":
        denied = {name: weight for name, weight in denied.items() if name not in _OF_WOMEN}
    return Wishes(facts, life, stated, denied)


def _deniable(name: str, facts: Mapping[str, Value]) -> bool:
    """Whether something is absent, and its absence worth a word."""
    if name == "shaven":
        none = facts.get("beard") == "none" and facts.get("moustache") is False
        return none and not any(facts.get(other) for other in ("goatee", "five_o_clock_shadow"))
    if name in ("five_o_clock_shadow", "goatee") and facts.get("beard") != "none":
        return False  # within a beard nobody looks for stubble
    return facts.get(name) in (False, "none")


def _asked(name: str, facts: Mapping[str, Value]) -> float:
    if name == "age":  # in years, or as a group
        return 9.0 if "age" in facts or "age_group" in facts else 0.0
    weights = _ASKED[name]
    if name not in facts:
        return 0.0
    return weights.get(facts[name], 0.0) if isinstance(weights, Mapping) else weights


def _life(facts: Mapping[str, Value]) -> Life:
    """The time of life, for choosing nouns."""
    age, group = facts.get("age"), facts.get("age_group")
    years = float(age) if isinstance(age, int | float) else None
    if years is not None and 13 <= years < 20:
        return "teen"
    if group == "child" or (group is None and years is not None and years < 18):
        return "child"
    if group == "older" or (group is None and years is not None and years >= 60):
        return "old"
    if group == "middle-aged" or (group is None and years is not None and years >= 38):
        return "middle"
    return "young" if group == "young adult" or years is not None else ""


def choose_wishes(wishes: Wishes, rng: np.random.Generator, count: int, deny: bool) -> list[str]:
    """About `count` attributes to state, the most wanted first; "shaven" stands for two of them.

    deny: at least one of them is denied, if anything can be; without it none is. "No facial hair" alone is two facts.
    """
    chosen: list[str] = []
    if deny and wishes.denied:
        order = _order(wishes.denied, rng)
        chosen = [order[0]]
        if count > 3 and len(order) > 1 and rng.random() < 0.3 and order[1] not in _AVOID.get(order[0], ()):
            chosen.append(order[1])
    gender = "gender_presentation" in wishes.facts and rng.random() < (0.3 if count == 1 else 0.9)
    if gender and len(chosen) + ("shaven" in chosen) < count:
        chosen.append("gender_presentation")
    for name in _order(wishes.stated, rng):
        if len(chosen) + ("shaven" in chosen) >= count:
            break
        if not _AVOID.get(name, set()).intersection(chosen) and not _repeats({name, *chosen}, wishes.facts):
            chosen.append(name)
    return chosen


def _repeats(chosen: set[str], facts: Mapping[str, Value]) -> bool:
    """Whether these facts on the background read as one: "dark black", "busy bright"."""
    colour = facts["background_colour"] if "background_colour" in chosen else None
    bright = "background_brightness" in chosen
    busy = "background_plain" in chosen and facts["background_plain"] is False
    return (bright and colour in ("black", "white")) or (busy and (bright or colour is not None))


def _order(weights: Mapping[str, float], rng: np.random.Generator) -> list[str]:
    """All names in weighted random order: the smallest exponential waiting time first."""
    waits = rng.exponential(size=len(weights)).tolist()
    return [name for _, name in sorted((wait / weight, name) for wait, (name, weight) in zip(waits, weights.items()))]


def make_phrases(wishes: Wishes, chosen: Sequence[str], rng: np.random.Generator) -> list[Phrase]:
    """The phrases for chosen attributes, but for the gender, which the noun states. Attributes of one noun share a
    phrase ("long curly hair")."""
    facts, left = wishes.facts, [name for name in chosen if name != "gender_presentation"]
    woman = facts.get("gender_presentation") == "woman" and "gender_presentation" in chosen
    phrases: list[Phrase] = []
    if "age" in left:
        left.remove("age")
        phrases.append(_age(wishes, rng))
    if {"lipstick", "lip_colour"}.issubset(left):
        left = [name for name in left if name not in ("lipstick", "lip_colour")]
        phrases.append(_part("lipstick", ("lip_colour",), facts, rng, also=("lipstick",)))
    for part, attributes in _PARTS.items():
        here = [name for name in attributes if name in left]
        left = [name for name in left if name not in here]
        if len(here) > 1 and "hair_colour" in here and rng.random() < 0.4:
            short = _short_colour(facts, woman)
            if short is not None:  # "a blonde woman with long hair"
                here.remove("hair_colour")
                phrases.append(short)
        if here and facts.get(here[0]) != "bald":
            phrases.append(_part(part, here, facts, rng, woman=woman))
        elif here:
            phrases.append(_single("hair_length", facts))
    for name in left:
        if name == "shaven":
            phrases.append(Phrase(("beard", "moustache"), forms_of("beard=shaven"), 4))
        else:
            phrases.append(_beard(facts, rng) if name == "beard" else _single(name, facts))
    return phrases


def _part(
    part: str,
    names: Sequence[str],
    facts: Mapping[str, Value],
    rng: np.random.Generator,
    also: tuple[str, ...] = (),
    woman: bool = False,
) -> Phrase:
    words = []
    for name in names:
        options = adjectives_of(name, spoken(facts[name]))
        assert options is not None, f"no adjective for {name}={facts[name]}"
        words.append(options.draw(rng))
    if len(words) > 1 and rng.random() < 0.1:
        words = [words[k] for k in rng.permutation(len(words))]  # "blonde long hair"
    if len(names) > 1 or also:
        return Phrase((*names, *also), forms_of(part), 4, " ".join(words))
    own = f"{names[0]}={spoken(facts[names[0]])}"
    rules = (part, own if forms_of(own) else f"{names[0]}=*", f"{own} woman" if woman else "")
    return Phrase((names[0],), forms_of_all(*rules), _PLACES.get(names[0], 4), words[0])


def _short_colour(facts: Mapping[str, Value], woman: bool) -> Phrase | None:
    """The hair's colour as a word before the noun ("blonde"), where people have one."""
    forms = forms_of(f"short {facts['hair_colour']}") or (woman and forms_of(f"short {facts['hair_colour']} woman"))
    return Phrase(("hair_colour",), forms, 4) if forms else None


def _single(name: str, facts: Mapping[str, Value]) -> Phrase:
    value = spoken(facts[name])
    rule = f"{name}={value}"
    forms = forms_of(rule) or forms_of(f"{name}=*")
    assert forms, f"no words for {rule}"
    return Phrase((name,), forms, _PLACES.get(name, 4), value, denial=facts[name] in (False, "none"))


def _beard(facts: Mapping[str, Value], rng: np.random.Generator) -> Phrase:
    """A beard; a white or grey one where an older man's hair is that colour and not under a hat."""
    old = facts["beard"] == "full" and facts.get("age_group") == "older" and not facts.get("hat")
    if old and facts.get("hair_colour") in ("white", "grey") and rng.random() < 0.4:
        return Phrase(("beard",), forms_of(f"beard={facts['hair_colour']}"), 4)
    return _single("beard", facts)


def _age(wishes: Wishes, rng: np.random.Generator) -> Phrase:
    """The age as a word, in years or as a decade; what is stated is the group or the age."""
    facts = wishes.facts
    group, age = facts.get("age_group"), facts.get("age")
    years = float(age) if isinstance(age, int | float) else None
    ways: dict[str, float] = {"group": 0.62} if group is not None else {}
    if years is not None:
        ways |= {"years": 0.24}
        ways |= {"decade": 0.2} if years >= 20 else {}
        ways |= {"teen": 0.9} if 13 <= years < 20 else {}
    way = list(ways)[int(np.searchsorted(np.cumsum(list(ways.values())), rng.random() * sum(ways.values())))]
    if way == "group":
        rule = f"age_group={group}"
        if group == "child" and (years is None or years < 11):
            rule = "age_group=small child"
        elif group == "older" and (years is None or years >= 62):
            rule = "age_group=old"
        return Phrase(("age_group",), forms_of(rule), 1, near=True)
    return Phrase(("age",), forms_of(f"age={way}"), 1, near=True)


def age_words(age: Value | None, rng: np.random.Generator) -> dict[str, str]:
    """What stands for {years}, {tens} and {decade}: 52 → "50" or "52", "50s", "early fifties" or "early 50s"."""
    if not isinstance(age, int | float):
        return {}
    rounded = max(1, round(age)) if age < 14 or rng.random() < 0.4 else 5 * round(age / 5)
    words = {"years": str(rounded)}
    if age >= 20:
        tens, part = str(10 * int(min(age, 99.0) // 10)) + "s", decade(min(age, 99.0))
        prefix = part.replace("-", " ").rpartition(" ")[0]
        spelled = rng.random() < 0.3
        words["tens"] = part.replace("-", " ").rpartition(" ")[2] if spelled else tens
        words["decade"] = part if spelled else f"{prefix} {tens}".strip()
    return words
