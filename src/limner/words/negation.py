"""Negation in prompts, turned into what is there instead: "a man without a beard" is "a clean-shaven man".

Text encoders of the painters' size hear the thing that is denied louder than the denial.
"""

from __future__ import annotations

import re

PERSONS = (
    "woman", "man", "girl", "boy", "person", "lady", "guy", "gentleman", "child", "kid", "baby", "toddler", "teenager",
    "teen", "adult", "female", "male", "human", "grandmother", "grandfather", "grandma", "grandpa", "mother", "father",
    "mom", "dad", "sister", "brother", "daughter", "son", "wife", "husband", "actor", "actress", "student", "teacher",
    "doctor", "nurse", "soldier", "king", "queen", "prince", "princess", "model", "singer", "worker", "businessman",
    "businesswoman", "farmer", "senior", "pensioner", "individual", "someone", "somebody",
)  # fmt: skip
FEMALE = ("woman", "girl", "lady", "female", "mother", "grandmother", "grandma", "mom", "sister", "daughter", "wife",
          "actress", "queen", "princess", "businesswoman", "child", "kid", "baby", "toddler")  # fmt: skip
_SHAVEN = "clean-shaven"
# What is denied → the word before the noun that says so positively; "" for what is simply not mentioned.
BEFORE: dict[str, str] = {
    **dict.fromkeys(("facial hair", "beard", "full beard", "stubble", "goatee", "whiskers", "bearded", "moustache",
                     "mustache", "moustached", "five o'clock shadow", "unshaven"), _SHAVEN),
    **dict.fromkeys(("smiling", "smile", "grinning", "grin", "laughing", "laugh", "happy", "cheerful", "joyful",
                     "smiling broadly", "laughter", "smirking"), "unsmiling"),
    **dict.fromkeys(("sad", "crying", "angry", "frowning", "frown", "upset", "unhappy", "serious", "stern"), "smiling"),
    **dict.fromkeys(("young",), "older"),
    **dict.fromkeys(("old", "elderly", "older", "aged"), "young"),
    **dict.fromkeys(("hair", "hair on the head", "any hair"), "bald"),
    **dict.fromkeys(("bald", "balding"), "short-haired"),
    **dict.fromkeys(("long hair", "long-haired"), "short-haired"),
    **dict.fromkeys(("short hair", "short-haired"), "long-haired"),
    **dict.fromkeys(("curly hair", "wavy hair", "curls", "curly-haired"), "straight-haired"),
    **dict.fromkeys(("straight hair",), "curly-haired"),
    **dict.fromkeys(("dark hair", "black hair", "brown hair", "dark-haired"), "blond-haired"),
    **dict.fromkeys(("blond hair", "blonde hair", "grey hair", "gray hair", "white hair", "red hair", "blond",
                     "blonde"), "brown-haired"),
    **dict.fromkeys(("wrinkles", "wrinkled", "lines"), "young"),
}  # fmt: skip
AFTER: dict[str, str] = {
    **dict.fromkeys(
        ("open mouth", "mouth open", "teeth", "visible teeth", "showing teeth", "open lips"), "mouth closed"
    ),
    **dict.fromkeys(("closed mouth", "mouth closed"), "mouth open"),
    **dict.fromkeys(("closed eyes", "eyes closed"), "eyes open"),
    **dict.fromkeys(("open eyes", "eyes open"), "eyes closed"),
    **dict.fromkeys(("looking at the camera", "looking at camera", "facing the camera"), "looking to the side"),
    **dict.fromkeys(("looking away", "looking to the side"), "looking at the camera"),
}
LEFT_OUT = (
    "glasses", "eyeglasses", "spectacles", "sunglasses", "eyewear", "shades", "goggles", "hat", "cap", "headwear",
    "helmet", "hood", "scarf", "headscarf", "earrings", "earring", "necklace", "jewelry", "jewellery", "piercing",
    "piercings", "makeup", "make-up", "lipstick", "bangs", "fringe", "freckles", "moles", "mole", "scars", "scar",
    "tattoo", "tattoos", "sideburns", "ponytail", "tie", "bags under the eyes", "eye bags", "dimples", "rosy cheeks",
    "background", "text", "watermark", "frame", "mask", "hands", "hat or cap", "blush",
)  # fmt: skip
OF_ITSELF = {
    "beardless": _SHAVEN, "unbearded": _SHAVEN,
    "smileless": "serious", "hairless": "bald", "expressionless": "serious", "toothless smile": "smiling",
    "bareheaded": "", "hatless": "", "glassesless": "",
}  # fmt: skip
_ITEMS = "|".join(re.escape(item) for item in sorted({*BEFORE, *AFTER, *LEFT_OUT}, key=len, reverse=True))
_ARTICLE = r"(?:(?:a|an|any|his|her|their|the|of|much|visible|big|broad|black|thick|full|long|some|kind of)\s+)*?"
_TRAILING = (
    r"(?:\s+(?:at all|whatsoever|broadly|widely|at the camera|on \w+ (?:face|head|chin)|shows?|visible|"
    r"(?:is|are) visible|can be seen))?"
)
_ITEM = rf"{_ARTICLE}(?:{_ITEMS}){_TRAILING}"
_ANYTHING = r"(?:(?:a|an|any|his|her|their|the)\s+)?[\w'-]+"
_MORE = rf"(?:\s*(?:,|\bor\b|\bnor\b|\band\b)+\s*(?:(?:a|an|no|without|not|with no)\s+)*(?:{_ITEM}))*"
_WHO = r"(?:\s*,)?\s*(?:\b(?:and|but)\s+)?(?:\b(?:who|that|which|he|she|they|with|has|have|having|wearing|wears)\s+)*"
_PATTERNS = tuple(
    re.compile(pattern, re.I)
    for pattern in (
        # without a beard; with no moustache; no glasses; neither … nor …
        rf"{_WHO}\b(?:without|no|w/o|lacking|lacks|free of|minus|sans|neither)\s+(?P<things>{_ITEM}{_MORE})\b",
        # is not smiling; isn't wearing glasses; doesn't have a beard; not bald; never smiling
        rf"{_WHO}(?:\b(?:is|are|was|does|do|has|have|did)(?:n['’]t|\s+not|\s+never)|\b(?:isnt|arent|doesnt|dont|hasnt|not|never))"
        rf"\s+(?:(?:wear(?:ing)?|hav(?:e|ing)|got|with|sport(?:ing)?|show(?:ing)?|in|even|really|currently|very|too|so|that|particularly)\s+)*"
        rf"(?P<things>{_ITEM}{_MORE})\b",
        r"\bnon[- ](?P<things>smiling|bearded|bald)\b",
        rf"{_WHO}\b(?:without|w/o|lacking|free of|minus|sans)\s+(?P<things>{_ANYTHING})",
        rf"{_WHO}\b(?:is|are|does|do|has|have)(?:n['’]t|\s+not)\s+(?:wear(?:ing)?\s+|hav(?:e|ing)\s+)?(?P<things>{_ANYTHING})",
        rf"{_WHO}\b(?:no|not|never)\s+(?P<things>{_ANYTHING})",
    )
)
_CLOSED = re.compile(
    r"\b(?P<part>eyes|mouth|lips)(?:\s+(?:is|are|that are))?(?:n['’]t|\s+not)\s+(?P<how>open|closed|shut)\b", re.I
)
_BEARD = re.compile(r"\b(?:beard|bearded|stubble|goatee|sideburns|moustache|mustache)\b", re.I)
_PERSON = re.compile(rf"\b(?:{'|'.join(sorted(PERSONS, key=len, reverse=True))})\b", re.I)


def positive(text: str) -> tuple[str, list[str]]:
    """A prompt without negation, and a line for each thing that was denied."""
    before: list[str] = []
    after: list[str] = []
    notes: list[str] = []
    for word, instead in OF_ITSELF.items():
        text, count = re.subn(rf"\b{re.escape(word)}\b", "", text, flags=re.I)
        if count and instead:
            before.append(instead)
    female = bool(re.search(rf"\b(?:{'|'.join(FEMALE)})\b", text, re.I))

    def replaced(found: re.Match[str]) -> str:
        things = found["things"]
        items = [item.lower() for item in re.findall(rf"\b(?:{_ITEMS})\b", things, re.I)]
        for item in items:
            instead = BEFORE.get(item, "")
            if instead == _SHAVEN and female:
                instead = ""
            if instead:
                before.append(instead)
            elif item in AFTER:
                after.append(AFTER[item])
        shown = ", ".join(items) or things.strip()
        said = [
            *(BEFORE[i] for i in items if i in BEFORE and BEFORE[i] in before),
            *(AFTER[i] for i in items if i in AFTER),
        ]
        notes.append(
            f"'no {shown}' is painted as '{', '.join(dict.fromkeys(said))}'" if said else f"'no {shown}': left out"
        )
        return " "

    text = _CLOSED.sub(lambda found: f"{found['part']} {'open' if found['how'] != 'open' else 'closed'}", text)
    for pattern in _PATTERNS:
        text = pattern.sub(replaced, text)
    if _SHAVEN in before and _BEARD.search(text):  # a beard without a moustache
        before.remove(_SHAVEN)
        notes = [note.replace(f" is painted as '{_SHAVEN}'", ": left out") for note in notes]
    text = _put_before(text, [word for word in dict.fromkeys(before) if word.lower() not in text.lower()])
    for words in dict.fromkeys(after):
        text = f"{text.strip(' ,.')}, {words}"
    return text, notes


def _put_before(text: str, words: list[str]) -> str:
    """Adjectives before the first noun that is a person; after a comma where there is none."""
    if not words:
        return text
    person = _PERSON.search(text)
    if person is None:
        return f"{text.strip(' ,.')}, {', '.join(words)}".strip(" ,")
    start = person.start()
    return f"{text[:start]}{' '.join(words)} {text[start:]}"
