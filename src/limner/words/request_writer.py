"""Writes one request from the phrases for its facts: a noun phrase, tags, a relative clause or a sentence.

A writer stands for one person at the keyboard: it keeps to one way of spelling, with or without articles, and it
remembers what it has stated.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Literal

import numpy as np

from limner.words.facts import who
from limner.words.grammar import Value, polish
from limner.words.request_facts import Wishes, age_words
from limner.words.request_phrases import NOUN_PHRASE, Form, Phrase, bare, plain_texts

Kind = Literal["phrase", "mixed", "tags", "telegram", "clause", "sentence"]
"""How a request is put. phrase: "a man with a beard"; mixed: a phrase, then tags; tags: "man, beard, no glasses";
telegram: "man beard glasses"; clause: "a man who has a beard"; sentence: "he has a beard"."""

_NEGATIVE = ("doesn't", "isn't", "is not", "has no", "not")
_AMERICAN = (("grey", "gray"), ("moustache", "mustache"))
# Facts of one kind: "a moustache but no beard", "happy but not smiling".
_KINDRED = (
    {"beard", "moustache", "goatee", "sideburns", "five_o_clock_shadow"},
    {"smile", "emotion", "laugh", "teeth_visible", "mouth_open"},
    {"hair_length", "hair_texture", "bangs", "bald"},
    {"earrings", "necklace"},
)
# Nouns that state the colour of the hair.
_HAIR_NOUNS = {"red": ("redhead", "redhead", "ginger")}
_WOMEN_HAIR_NOUNS = {"blond": ("blonde",), "brown": ("brunette",)}


class RequestWriter:
    """One request being written: its noun, its habits (articles, spelling, capitals) and what it has stated."""

    def __init__(self, wishes: Wishes, rng: np.random.Generator, gendered: bool) -> None:
        self.wishes, self.rng, self.gendered = wishes, rng, gendered
        pronoun = who(wishes.facts)[0].pronoun if gendered else "they"
        self.their = {"she": "her", "he": "his", "they": "their"}[pronoun]
        self.ask = self.chance(0.15)  # tells the machine to draw
        self.terse = self.chance(0.15 if self.ask else 0.45)  # leaves out articles
        self.film = ""  # "black and white", once that stands before "photo"
        self.stated: dict[str, Value] = {}
        self.full_stop = 0.04
        self.fills = {"their": self.their, **age_words(wishes.facts.get("age"), rng)}

    def chance(self, share: float) -> bool:
        """True in this share of all cases."""
        return bool(self.rng.random() < share)

    def say(self, phrase: Phrase, form: Form) -> str:
        """The phrase in one form; its facts count as stated."""
        self.state(*phrase.states)
        text = phrase.draw(form, self.rng)
        if "{" in text:
            text = text.format_map(self.fills)
        return bare(text) if self.terse and form in ("with", "lack") else text

    def state(self, *names: str) -> None:
        """These facts count as stated."""
        self.stated.update((name, self.wishes.facts[name]) for name in names)

    # --- the noun

    def noun(self, phrases: list[Phrase]) -> str:
        """A noun for the person. Which one depends on the age, so that no old man is a boy."""
        life, rng = self.wishes.life, self.rng
        if not self.gendered:
            return self._anybody(phrases)
        self.state("gender_presentation")
        woman = self.wishes.facts["gender_presentation"] == "woman"
        child = life == "child" or self.wishes.facts.get("age_group") == "child"
        if woman:
            if child or (life == "teen" and self.chance(0.7)):
                return "girl"
            # A young girl is a child, and nobody of thirty is called a girl beside the number.
            plain = not any({"age", "age_group"}.intersection(phrase.states) for phrase in phrases)
            young = life in ("young", "teen") and plain and _years(self.wishes.facts) < 32
            return plain_texts("woman young" if young else "woman older" if life == "old" else "woman").draw(rng)
        if child:  # a woman can be called a girl, but no man a boy
            self.state("age_group" if "age_group" in self.wishes.facts else "age")
            return "boy"
        return plain_texts("man older" if life in ("old", "middle") else "man").draw(rng)

    def _anybody(self, phrases: list[Phrase]) -> str:
        colour = next((phrase for phrase in phrases if phrase.states == ("hair_colour",)), None)
        woman = self.wishes.facts.get("gender_presentation") == "woman"
        nouns = (_HAIR_NOUNS | (_WOMEN_HAIR_NOUNS if woman else {})).get(str(self.wishes.facts.get("hair_colour")), ())
        if colour is not None and nouns and self.chance(0.5):
            phrases.remove(colour)
            self.state("hair_colour")
            return nouns[self.rng.integers(len(nouns))]
        if self.wishes.facts.get("age_group") == "child":
            self.state("age_group")
            return plain_texts("person child").draw(self.rng)
        return plain_texts("person").draw(self.rng)

    def determined(self, text: str) -> str:
        """With an article, unless this person leaves articles out."""
        return text if self.terse else f"a {text}"

    def picture(self) -> str:
        """What the picture is called."""
        text = plain_texts("picture").draw(self.rng)
        if self.film:
            text = f"a {self.film} " + ("photo", "portrait", "picture", "headshot")[self.rng.integers(4)]
        return re.sub("^(a|the) ", "", text) if self.terse else text

    # --- whole requests

    def plain(self) -> str:
        """A noun, or what the picture is called."""
        self.full_stop = 0.0
        if not self.gendered or self.chance(0.3):
            return self._finished(plain_texts("bare picture").draw(self.rng))
        noun = self.determined(self.noun([]))
        return self._finished(f"{self.picture()} of {noun}" if self.chance(0.35) else noun)

    def write(self, phrases: list[Phrase], kind: Kind) -> str:
        """A request of one kind; a phrase that the kind has no form for goes between commas at the end."""
        return self._finished(self._written(phrases, kind))

    def _written(self, phrases: list[Phrase], kind: Kind) -> str:
        if kind in ("tags", "telegram"):
            return self._tags(phrases, telegram=kind == "telegram" and len(phrases) <= 3)
        if kind == "sentence":
            return self._sentence(phrases)
        tags: list[Phrase] = []
        film = next((phrase for phrase in phrases if "picture_colour" in phrase.states), None)
        if film is not None and self.chance(0.5):
            self.state("picture_colour")
            self.film = ("black and white", "black-and-white", "b&w")[self.rng.integers(3)]
            phrases = [phrase for phrase in phrases if phrase is not film]
        if kind == "mixed":
            here = int(self.rng.integers(1, 4))
            order = [phrases[k] for k in self.rng.permutation(len(phrases))]
            # What is denied stands last: "without a beard, glasses" would deny the glasses too.
            tags = [phrase for k, phrase in enumerate(order) if k >= here or phrase.denial]
            phrases = [phrase for phrase in order[:here] if not phrase.denial]
        text, left = self._clause(phrases) if kind == "clause" else self._noun_phrase(phrases)
        text = self._framed(text)
        tags = [*left, *tags]
        parts = [text, *(self.say(p, "tag" if "tag" in p.forms else "adj") for p in tags)]
        return ", ".join(self._with_quality(parts, 0.06))

    def _framed(self, text: str, please: bool = True) -> str:
        """Perhaps "portrait of ...", "draw ...", "can you make a photo of ..."."""
        if self.film or self.chance(0.3):
            text = f"{self.picture()} of {text}"
        if self.ask:
            frame = plain_texts("ask").draw(self.rng)
            text = f"{frame} {text}" + (" please" if please and "please" not in frame and self.chance(0.08) else "")
        return text

    def _with_quality(self, parts: list[str], share: float) -> list[str]:
        """Perhaps a photo word more: "portrait", "realistic"."""
        if not self.chance(share) or self.wishes.facts.get("sharpness") == "blurred":
            return parts
        word = plain_texts("quality" if " of " in parts[0] else "photo word").draw(self.rng)
        return [word, *parts] if self.terse and self.chance(0.5) else [*parts, word]

    # --- a noun with what belongs to it

    def _head(self, phrases: list[Phrase], share: float) -> tuple[str, list[Phrase]]:
        """The noun with some adjectives, and the phrases that are left. share: how readily one becomes an adjective."""
        most = 3 if self.chance(0.15) else 2
        noun = self.noun(phrases)
        adjectives: list[Phrase] = []
        for k in self.rng.permutation(len(phrases)):
            phrase, only = phrases[k], set(phrases[k].forms) == {"adj"}
            if only or (len(adjectives) < most and self.chance(share * phrase.share("adj"))):
                adjectives.append(phrase)
        left = [phrase for phrase in phrases if not any(phrase is other for other in adjectives)]
        words = [self.say(phrase, "adj") for phrase in sorted(adjectives, key=lambda phrase: phrase.place)]
        return " ".join([*words, noun]), left

    def _noun_phrase(self, phrases: list[Phrase]) -> tuple[str, list[Phrase]]:
        """ "an old man with glasses and no beard, smiling", and the phrases that found no place."""
        head, left = self._head(phrases, 1.5)
        text = self.determined(head)
        slots: dict[str, list[str]] = {"near": [], "with": [], "lack": [], "doing": [], "scene": []}
        tags: list[Phrase] = []
        for phrase in left:
            forms: list[Form] = [form for form in NOUN_PHRASE[1:] if form in phrase.forms]
            if not forms:
                tags.append(phrase)
                continue
            form = self._form(phrase, forms)
            slots["near" if phrase.near else form].append(self.say(phrase, form))
        text = " ".join([text, *slots["near"]])
        having = self._having(slots["with"], slots["lack"], _at_odds(left))
        acting = _listed(_grouped(slots["doing"]), "and" if self.chance(0.7) else ",")
        if having and acting:
            comma = ", " if slots["lack"] or acting.startswith("not") or self.chance(0.5) else " "
            swap = self.chance(0.3) and not slots["lack"]
            text += f" {acting}{comma}{having}" if swap else f" {having}{comma}{acting}"
        elif having or acting:
            text += f" {having or acting}" if having or self.chance(0.75) else f", {acting}"
        if slots["scene"]:
            text += (", " if slots["doing"] and self.chance(0.6) else " ") + " ".join(slots["scene"])
        return text, tags

    def _form(self, phrase: Phrase, forms: Sequence[Form]) -> Form:
        """One of these forms, by how many wordings the phrase has for each."""
        sums = list(accumulate(phrase.forms[form].weight for form in forms))
        return forms[bisect(sums, self.rng.random() * sums[-1])]

    def _having(self, things: list[str], lacking: list[str], but: bool) -> str:
        """ "with a beard and no glasses", "without a hat". but: a denied thing is of one kind with one there."""
        link = "and" if self.chance(0.8) else "&" if self.chance(0.2) else ","
        if not lacking:
            return "with " + _listed(things, link) if things else ""
        none = [f"no {bare(thing)}" for thing in lacking]
        nothing = ", ".join(none) if self.chance(0.35) else _listed([none[0], *map(bare, lacking[1:])], "or")
        without = "without " + _listed(lacking, "or")
        if not things:
            return f"with {nothing}" if self.chance(0.35) else without
        have, point = "with " + _listed(things, "and"), self.rng.random()
        if but and point < 0.5:
            return f"{have} but {nothing}"
        if point < 0.7:
            return "with " + _listed([*things, nothing], link)
        return f"{have}, {nothing}" if point < 0.85 else f"{have} and {without}"

    def _clause(self, phrases: list[Phrase]) -> tuple[str, list[Phrase]]:
        """ "a blonde woman who isn't smiling"."""
        verbal = [p for p in phrases if "verb" in p.forms]
        if not verbal:
            return self._noun_phrase(phrases)
        denied = [p for p in verbal if p.denial]
        verbal = denied if denied and self.chance(0.6) else verbal
        kept = verbal[int(self.rng.integers(len(verbal)))]
        head, left = self._head([p for p in phrases if p is not kept], 1.8)
        verbs = [p for p in left if "verb" in p.forms]
        scenes = [p for p in left if "verb" not in p.forms and "scene" in p.forms]
        rest = [p for p in left if "verb" not in p.forms and "scene" not in p.forms]
        said = self._verbs([kept, *verbs])
        text = f"{self.determined(head)} {'that' if self.chance(0.1) else 'who'} {said}"
        return " ".join([text, *(self.say(p, "scene") for p in scenes)]), rest

    def _verbs(self, phrases: list[Phrase], plural: bool = False) -> str:
        """ "has a beard, wears glasses and isn't smiling"; what is denied comes last."""
        said = _grouped([self.say(phrase, "verb") for phrase in phrases])
        if plural:
            said = [_plural(text) for text in said]
        denied = [text for text in said if text.startswith((*_NEGATIVE, "don't", "aren't", "are not", "have no"))]
        said = [text for text in said if text not in denied]
        if said and denied and _at_odds(phrases) and self.chance(0.6):
            return f"{_listed(said, 'and')} but {_listed(denied, 'and')}"
        return _listed([*said, *denied], "and")

    def _sentence(self, phrases: list[Phrase]) -> str:
        """ "she has long hair and isn't smiling", perhaps after a noun phrase that says the first things."""
        self.full_stop = 0.5
        few = len(phrases) < 4
        opening, left = "", phrases
        if not few or self.chance(0.15):
            count = max(1, len(phrases) // 2)
            order = [phrases[k] for k in self.rng.permutation(len(phrases))]
            opening, rest = self._noun_phrase(order[:count])
            left = [*rest, *order[count:]]
            opening = self._framed(opening, please=False) + ". "
        verbs = [phrase for phrase in left if "verb" in phrase.forms]
        others = [phrase for phrase in left if "verb" not in phrase.forms]
        if not verbs:
            text, rest = self._noun_phrase(others) if not opening else ("", others)
            tags = ", ".join(self._tag(phrase) for phrase in rest)
            return ", ".join(part for part in (opening.removesuffix(". "), text, tags) if part)
        they = {"her": "she", "his": "he"}.get(self.their, "they")
        if opening or (self.gendered and self.chance(0.45)):
            if self.gendered:
                self.state("gender_presentation")
            subject, said = they, self._verbs(verbs, plural=they == "they")
        else:
            head, verbs = self._head(verbs, 0.7)
            subject = f"{'this' if self.chance(0.3) else 'the'} {head}"
            if not verbs:
                return ", ".join([self.determined(head), *(self._tag(p) for p in others)])
            said = self._verbs(verbs)
        scenes = [self._ending(phrase) for phrase in others]
        return opening + f"{subject} {said}" + "".join(scenes)

    def _ending(self, phrase: Phrase) -> str:
        if "scene" in phrase.forms and (self.chance(0.6) or "tag" not in phrase.forms):
            return " " + self.say(phrase, "scene")
        return ", " + self._tag(phrase)

    # --- words between commas

    def _tag(self, phrase: Phrase) -> str:
        return self.say(phrase, next(form for form in ("tag", "scene", "adj", "doing") if form in phrase.forms))

    def _tags(self, phrases: list[Phrase], telegram: bool) -> str:
        """ "old man, white beard, no glasses", or the same without commas."""
        self.terse = True
        if self.gendered or self.chance(0.5) or any(set(phrase.forms) == {"adj"} for phrase in phrases):
            head, left = self._head(phrases, 1.5)
            parts = [head]
        else:
            left, parts = phrases, []
        order = [left[k] for k in self.rng.permutation(len(left))]
        order.sort(key=lambda phrase: "scene" in phrase.forms and self.chance(0.8))  # the background usually last
        if telegram:
            order.sort(key=lambda phrase: phrase.denial)  # "no beard glasses" would deny the glasses
        tags = [self._tag(phrase) for phrase in order]
        if telegram:
            first = bool(tags) and not any(phrase.denial for phrase in order) and self.chance(0.15)
            first = first and not re.search("ing |with ", " ".join(tags))
            return " ".join([*tags, *parts] if first else [*parts, *tags])
        if self.chance(0.12) and parts:
            parts[0] = f"{self.picture()} of {parts[0]}"
        elif tags and not order[0].denial and self.chance(0.05):
            parts = [*tags[:1], *parts]
            tags = tags[1:]
        return ", ".join(self._with_quality([*parts, *tags], 0.2))

    def _finished(self, text: str) -> str:
        """Articles, capitals, hyphens, apostrophes and spelling as this person types."""
        text = polish(text).replace(" on on ", " on, on ")  # "with glasses on, on a white background"
        if self.chance(0.55):
            for british, american in _AMERICAN:
                text = re.sub(rf"\b{british}", american, text)
        if self.chance(0.5):
            text = text.replace("-", " ")
        if self.chance(0.12):
            text = text.replace("'", "")
        if self.chance(0.04):
            text = text.replace(" with ", " w/ ")
        if re.match(r"(can|could) ", text, re.IGNORECASE) and self.chance(0.5):
            text += "?"
        elif self.chance(self.full_stop):
            text += "."
        return text if self.chance(0.36) else text.lower()


def _years(facts: Mapping[str, Value]) -> float:
    age = facts.get("age")
    return float(age) if isinstance(age, int | float) else 25.0


def _at_odds(phrases: list[Phrase]) -> bool:
    """Whether a denial and something stated are of one kind, so that "but" can stand between them."""
    for kind in _KINDRED:
        denials = {phrase.denial for phrase in phrases if kind.intersection(phrase.states)}
        if len(denials) == 2:
            return True
    return False


def _grouped(items: list[str]) -> list[str]:
    """Items "head + rest" with the same head become one: "has a beard and long hair", "isn't bald or smiling"."""
    groups: dict[str, list[str]] = {}
    for item in items:
        head, plus, rest = item.partition(" + ")
        groups.setdefault(head if plus else "", []).append(rest if plus else head)
    loose = groups.pop("", [])
    groups.get("is", []).sort(key=lambda rest: rest.split()[0].endswith("ing"))  # "is young and looking left"
    joined = [f"{head} {_listed(rest, 'or' if head.startswith(_NEGATIVE) else 'and')}" for head, rest in groups.items()]
    return [*loose, *joined]


def _listed(things: list[str], link: str) -> str:
    """ "a, b and c"; with the link "," only commas."""
    if len(things) < 2 or link == ",":
        return ", ".join(things)
    return ", ".join(things[:-1]) + f" {link} {things[-1]}"


def _plural(text: str) -> str:
    """A verb phrase after "they"."""
    first, _, rest = text.partition(" ")
    forms = {"is": "are", "has": "have", "isn't": "aren't", "doesn't": "don't", "wears": "wear", "tilts": "tilt"}
    return f"{forms[first]} {rest}"
