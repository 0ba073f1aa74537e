"""What a text claims about a face, read back from the text alone.

The opposite of writing captions, and independent of it: for judging captions that a model wrote (which claims are so,
which facts are missing), and for testing the writer. Two ways of reading: adjectives go with the noun beside them
("long brown hair", "her hair is long and brown"); everything else is a list of turns of phrase.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from limner.faces.vocabulary import COLOURS
from limner.words.grammar import Value

Claim = tuple[str, tuple[Value, ...]]  # an attribute and the values that fit what is said of it

_COLOURS = COLOURS.split(", ")


def _adjectives(**groups: str) -> dict[str, Claim]:
    """attribute="word word=value …" as word → claim."""
    pairs = ((attribute, *item.partition("=")) for attribute, text in groups.items() for item in text.split())
    return {word: (attribute, ((value or word).replace("_", " "),)) for attribute, word, _, value in pairs}


# Adjectives by the noun they go with. Nouns that mean the same share a table.
_BROWS = _adjectives(
    brow_thickness="thin fine=thin thick bushy=thick of-medium-thickness=medium",
    brow_shape="straight arched curved=arched",
    brow_colour="black brown blond blonde=blond red ginger=red grey gray=grey white",
)
_NOUNS: Mapping[str, Mapping[str, Claim]] = {
    "hair": _adjectives(
        hair_colour="black brown blond blonde=blond red ginger=red grey gray=grey white",
        hair_length="short of-medium-length=medium medium-length=medium mid-length=medium shoulder-length=medium long",
        hair_texture="straight wavy curly",
    ),
    "eyes": _adjectives(
        eye_colour="brown blue green grey gray=grey",
        eye_size="large big=large small of-medium-size=medium",
        eye_shape="narrow almond-shaped=almond round",
        eye_spacing="wide-set=wide wide-apart=wide close-set=close close-together=close",
    ),
    "eyebrows": _BROWS,
    "brows": _BROWS,
    "nose": _adjectives(
        nose_width="narrow slim=narrow wide broad=wide of-medium-width=medium",
        nose_length="long short of-medium-length=medium",
    ),
    "lips": _adjectives(
        lip_fullness="thin full of-medium-fullness=medium", lip_colour="pink red dark of-a-natural-colour=natural"
    ),
    "lipstick": _adjectives(lip_colour="pink red dark"),
    "skin": {
        **_adjectives(
            skin_tone="light pale=very_light medium-toned=medium tan tanned=tan brown dark",
            skin_texture="smooth textured",
        ),
        "fair": ("skin_tone", ("light", "very light")),
    },
    "face": _adjectives(face_shape="oval round rounded=round square long elongated=long heart-shaped=heart"),
    "jaw": _adjectives(jaw="narrow slender=narrow wide broad=wide of-medium-width=medium"),
    "hairline": _adjectives(hairline="high low of-medium-height=medium"),
    "background": {
        **_adjectives(
            background_colour=" ".join([*_COLOURS, "gray=grey"]),
            background_brightness="dark bright light=bright of-medium-brightness=medium",
        ),
        **{word: ("background_plain", (False,)) for word in ("busy", "detailed")},
        "plain": ("background_plain", (True,)),
    },
    "clothes": _adjectives(clothing_colour=" ".join([*_COLOURS, "gray=grey"])),
    "lighting": _adjectives(lighting="dim bright of-normal-brightness=normal"),
    "light": _adjectives(lighting="dim bright of-normal-brightness=normal"),
    "expression": _adjectives(
        emotion="neutral happy cheerful=happy sad unhappy=sad angry fearful frightened=fearful disgusted "
        "surprised astonished=surprised"
    ),
}
_ADJECTIVES = {word for table in _NOUNS.values() for word in table}
_SAME = {"clothing": "clothes", "top": "clothes", "look": "expression"}
_LINKS = {"and", ",", "very"}
_VERBS = re.compile(r"(?:is|are|falls in|is worn|is cut)\b")
_TOKEN = re.compile(r"[\w'-]+|[,.;:]")

# Two or more words that are one adjective: "of medium width", "close together".
_PHRASED = re.compile(r"\bof (?:a )?(?:medium|normal|natural) \w+\b|\b(?:close together|wide apart)\b")
_DENIED = re.compile(r"\b(no|not) ((?:[\w'-]+, )*[\w'-]+) or (?=[\w'-]+)")  # "no beard, moustache or …"
_NO = r"(?:no|without|nor|neither|not|bare of)(?: \w+)? "
# Turns of phrase, tried from the top; the first that says something about an attribute counts.
_PHRASES: tuple[tuple[str, str, Value], ...] = (
    (r"\b(?:woman|female|girl|lady|she|her|hers)\b", "gender_presentation", "woman"),
    (r"\b(?:man|male|boy|gentleman|he|his|him)\b", "gender_presentation", "man"),
    (r"\b(?:girl|boy|child|toddler|baby|infant)\b", "age_group", "child"),
    (r"\byoung (?:[\w-]+ )*(?:woman|man|person)\b", "age_group", "young adult"),
    (r"\byoung adult\b", "age_group", "young adult"),
    (r"\bmiddle-aged\b", "age_group", "middle-aged"),
    (r"\b(?:older|elderly|senior)\b", "age_group", "older"),
    (rf"{_NO}(?:eye)?glasses\b", "glasses", False),
    (rf"{_NO}sunglasses\b", "sunglasses", False),
    (r"\bsunglasses\b", "sunglasses", True),
    (r"\b(?:glasses|eyeglasses|spectacles|bespectacled)\b", "glasses", True),
    (rf"{_NO}hat\b", "hat", False),
    (r"\bhat\b", "hat", True),
    (rf"{_NO}earrings\b", "earrings", False),
    (r"\bearrings\b", "earrings", True),
    (rf"{_NO}necklace\b", "necklace", False),
    (r"\bnecklace\b", "necklace", True),
    (rf"{_NO}lipstick\b", "lipstick", False),
    (r"\blipstick\b", "lipstick", True),
    (rf"{_NO}bangs\b", "bangs", False),
    (r"\b(?:bangs|fringe)\b", "bangs", True),
    (rf"\bclean-shaven\b|{_NO}beard\b", "beard", "none"),
    (r"\bstubble\b", "beard", "stubble"),
    (r"\b(?:beard|bearded)\b", "beard", "full"),
    (rf"\bclean-shaven\b|{_NO}(?:beard nor |)(?:moustache|mustache)\b", "moustache", False),
    (r"\b(?:moustached?|mustache)\b", "moustache", True),
    (rf"{_NO}goatee\b", "goatee", False),
    (r"\bgoatee\b", "goatee", True),
    (rf"{_NO}sideburns\b", "sideburns", False),
    (r"\bsideburns\b", "sideburns", True),
    (r"\bfive o'clock shadow\b", "five_o_clock_shadow", True),
    (rf"{_NO}bald\b", "bald", False),
    (r"\bbald\b", "bald", True),
    (r"\bwaves\b", "hair_texture", "wavy"),
    (r"\bcurls\b", "hair_texture", "curly"),
    (rf"{_NO}rosy\b", "rosy_cheeks", False),
    (r"\brosy\b|\bpink in (?:her|his|their) cheeks\b", "rosy_cheeks", True),
    (rf"{_NO}bags (?:under|beneath)\b", "eye_bags", False),
    (r"\bbags (?:under|beneath)\b", "eye_bags", True),
    (r"\bvery fair\b|\bvery light skin\b|\bskin is very light\b", "skin_tone", "very light"),
    (r"\b(dark|brown)-skinned\b", "skin_tone", "\\1"),
    (r"\bskin looks (smooth|average|textured)\b", "skin_texture", "\\1"),
    (r"\beyes (?:are )?(?:(?:wide apart|close together|[\w-]+) and )?(open|closed|narrowed)\b", "eyes", "\\1"),
    (r"\b(?:not smiling|unsmiling|not smile)\b", "smile", "none"),
    (r"\bsmil\w+ (?:slightly|faintly|a little)\b|\b(?:slight|faint|small|gentle) smile\b", "smile", "slight"),
    (r"\bsmil\w+ (?:broadly|widely)\b|\b(?:broad|wide|big|toothy)(?:, \w+)? smile\b|\bgrin", "smile", "broad"),
    (rf"{_NO}laughing\b", "laugh", False),
    (r"\blaugh", "laugh", True),
    (r"\bno teeth show\b|\bteeth cannot be seen\b", "teeth_visible", False),
    (r"\bteeth (?:are )?(?:visible|show)|\btoothy\b|\bgrin", "teeth_visible", True),
    (r"\bmouth (?:is )?open\b|\blips parted\b", "mouth_open", True),
    (r"\b(?:mouth|lips) (?:is |are )?(?:closed|together)\b", "mouth_open", False),
    (rf"{_NO}winking\b", "wink", False),
    (r"\bwink", "wink", True),
    (rf"{_NO}frowning\b", "frown", False),
    (r"\bfrown|\bdrawn together\b|\bfurrowed\b", "frown", True),
    (rf"{_NO}pouting\b", "pout", False),
    (r"\bpout", "pout", True),
    (r"\beyebrows are not raised\b", "brows_raised", False),
    (r"\beyebrows (?:are )?raised\b|\braises? \w+ eyebrows\b", "brows_raised", True),
    (r"\b(?:look\w*|gaz\w+|eyes meet) (?:straight |directly )?(?:at the camera|into the lens|the camera)\b",
     "gaze", "at the camera"),
    (r"\b(?:look\w*|glanc\w+|gaze goes) (?:off )?to (?:her|his|their) (left|right)\b", "gaze", "\\1"),
    (r"\blook(?:s|ing)? (up|down)\b", "gaze", "\\1"),
    (r"\bgaze is lowered\b", "gaze", "down"),
    (r"\bin profile, facing (?:her|his|their) (left|right)\b", "head_turn", "profile \\1"),
    (r"\bface is turned to the camera\b", "head_turn", "frontal"),
    (r"\b(?:faces?|facing) the camera\b|\bsees (?:her|him|them) from the front\b|\bstraight to the camera\b",
     "head_turn", "frontal"),
    (r"\bturn(?:s|ed)?(?: slightly)?(?: \w+ head)? to (?:her|his|their) (left|right)\b", "head_turn", "\\1"),
    (r"\btilt(?:s|ed)?(?: \w+ head)? to (?:her|his|their) (left|right)\b", "head_tilt", "\\1"),
    (r"\bhead (?:is )?upright\b", "head_tilt", "upright"),
    (r"\bchin (?:is )?raised\b", "head_nod", "up"),
    (r"\bchin (?:is )?lowered\b", "head_nod", "down"),
    (r"\bhead level\b|\bchin is level\b", "head_nod", "level"),
    (r"\b(?:sad)-looking\b|\bsad (?:[\w-]+ )*(?:woman|man|girl|boy|person|child)\b", "emotion", "sad"),
    (r"\b(angry|surprised)-looking\b", "emotion", "\\1"),
    (r"\bcheerful\b|\bhappy smile\b", "emotion", "happy"),
    (r"\b(?:looks?|seems?) (happy|sad|angry|surprised|fearful|disgusted)\b", "emotion", "\\1"),
    (r"\b(?:looks?|seems?) cheerful\b", "emotion", "happy"),
    (r"\b(?:looks?|seems?) unhappy\b", "emotion", "sad"),
    (r"\b(?:looks?|seems?) frightened\b", "emotion", "fearful"),
    (r"\b(?:looks?|seems?) astonished\b", "emotion", "surprised"),
    (r"\bdressed in (\w+)|\bin (\w+) (?:clothes|clothing)\b", "clothing_colour", "\\1\\2"),
    (r"\b(?:lit|light comes|light falls|light) from (?:her|his|their) (left|right)\b", "light_direction", "\\1"),
    (r"\b(?:lit|light comes|light falls) from above\b", "light_direction", "above"),
    (r"\b(?:lit|light comes) from the front\b", "light_direction", "front"),
    (r"\bdimly lit\b", "lighting", "dim"),
    (r"\bbrightly lit\b", "lighting", "bright"),
    (r"\b(?:even|normal) light\b", "lighting", "normal"),
    (r"\bears (?:cannot be seen|are hidden)\b|\bhair hides (?:her|his|their) ears\b", "ears_visible", False),
    (r"\bears (?:are (?:visible|bare)|can be seen)\b", "ears_visible", True),
    (r"\bneck is hidden\b", "neck_visible", False),
    (r"\bneck (?:is visible|can be seen)\b", "neck_visible", True),
    (r"\bblack[ -]and[ -]white\b", "picture_colour", "black and white"),
    (r"\bpicture is (?:\w+ and )?in colou?r\b", "picture_colour", "colour"),
    (r"\bcolou?r (?:portrait|photo|picture|photograph|image|close-up|headshot)\b", "picture_colour", "colour"),
    (r"\bblurr(?:y|ed)\b", "sharpness", "blurred"),
    (r"\b(?:slightly|a little) soft\b", "sharpness", "soft"),
    (r"\bis sharp\b|\bsharp (?:portrait|photo|picture|photograph|image|close-up|headshot)\b", "sharpness", "sharp"),
)  # fmt: skip
_COMPILED = tuple((re.compile(pattern), attribute, value) for pattern, attribute, value in _PHRASES)
# What fits several values; read last, where nothing more exact was said.
_LOOSE: tuple[tuple[re.Pattern[str], str, tuple[Value, ...]], ...] = (
    (re.compile(r"\bsmil(?:es|ing)\b|\b(?<!not )smile\b"), "smile", ("slight", "broad")),
    (re.compile(r"\bdark-haired\b"), "hair_colour", ("black", "brown")),
    (re.compile(r"\bfair-skinned\b"), "skin_tone", ("light", "very light")),
    (re.compile(r"\bin profile\b"), "head_turn", ("profile left", "profile right")),
)
_HAIRED = re.compile(
    r"\b(black|brown|blonde?|red|ginger|gr[ae]y|white|short|long|curly)(?:-| )haired\b"
    r"|\b(blonde?) (?:\w+ )?(?:woman|man|girl|boy|person|child)\b"
)


def read_claims(text: str) -> dict[str, tuple[Value, ...]]:
    """Attribute → the values that fit what the text says of it; ages are left out.

    Mostly there is one value; "smiling" fits two. A text that says two things of one attribute counts with the first
    that is found.
    """
    lowered = text.lower()
    claims: dict[str, tuple[Value, ...]] = {}
    plain = _PHRASED.sub(lambda found: found[0].replace(" ", "-"), re.sub(r"black[ -]and[ -]white", " ", lowered))
    for attribute, values in _with_nouns(plain):
        claims.setdefault(attribute, values)
    lowered = _DENIED.sub(lambda found: f"{found[1]} {found[2].replace(', ', f', {found[1]} ')}, {found[1]} ", lowered)
    for pattern, attribute, value in _COMPILED:
        if (found := pattern.search(lowered)) is None:
            continue
        if isinstance(value, str) and "\\" in value:
            value = re.sub(r"\\(\d)", lambda m, f=found: f[int(m[1])] or "", value)
        if attribute == "clothing_colour":
            value = "grey" if value == "gray" else value
            if value not in _COLOURS:
                continue
        if value == "very light":
            claims[attribute] = (value,)
        claims.setdefault(attribute, (value,))
    if (found := _HAIRED.search(lowered)) is not None:
        attribute, values = _NOUNS["hair"][str(found[1] or found[2])]
        claims.setdefault(attribute, values)
    for pattern, attribute, values in _LOOSE:
        if pattern.search(lowered):
            claims.setdefault(attribute, values)
    return claims


def _with_nouns(text: str) -> list[Claim]:
    tokens: list[str] = _TOKEN.findall(text)
    claims: list[Claim] = []
    for k, token in enumerate(tokens):
        table = _NOUNS.get(_SAME.get(token, token))
        if table is None:
            continue
        before = k - 1
        while before >= 0 and (tokens[before] in table or tokens[before] in _LINKS):
            if tokens[before] == "light" and tokens[before - 1] in ("dim", "bright", "even", "normal"):
                break  # the noun, not the adjective
            if tokens[before : before + 2] == [",", "and"]:
                break  # what was said before is over
            before -= 1
        claims += [table[word] for word in tokens[before + 1 : k] if word in table]
        after = k + 1
        rest = " ".join(tokens[after : after + 3])
        apposition = after < len(tokens) and tokens[after] == ","
        if apposition:
            after += 1
        elif found := _VERBS.match(rest):
            after += len(found[0].split())
        else:
            continue
        while after < len(tokens) and (
            tokens[after] in table
            or tokens[after] in _LINKS
            or _VERBS.match(tokens[after])
            or tokens[after] in ("worn", "cut")
        ):
            if apposition and tokens[after] in table:
                # "thin brows, long brown hair": an adjective that leads up to another noun is that noun's
                ahead = after
                while ahead < len(tokens) and (tokens[ahead] in _ADJECTIVES or tokens[ahead] in _LINKS):
                    ahead += 1
                if ahead < len(tokens) and (tokens[ahead] in _NOUNS or tokens[ahead] in _SAME):
                    break
            if tokens[after] in table:
                claims.append(table[tokens[after]])
            after += 1
    return claims
