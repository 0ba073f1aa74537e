"""What can be asked about each attribute, from which yes/no, choice and open questions are made.

A template has the slots of `limner.words.grammar`, and `<v>` where the value stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from limner.faces.vocabulary import COLOURS
from limner.words.grammar import Value, spoken


@dataclass(frozen=True)
class Topic:
    """How one attribute is asked for.

    ask: a question that is answered by yes or no for one value, and by a value when several stand in it ("is {their}
    hair <v>?"); say: the answer as a sentence; which: the open question ("" for none); words: value → how it is said
    (a value that is not among them is not asked about); ordered: neighbouring values are alike, so they do not serve as
    wrong answers; neutral: the question must not give the answer away by "she" or "woman"; weight: how often it comes
    up; only_men: it would be odd to ask it of a woman or a child.
    """

    attribute: str
    ask: str
    say: str
    which: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    ordered: bool = False
    neutral: bool = False
    weight: float = 1.0
    only_men: bool = False

    @property
    def about(self) -> str:
        """The measured attribute behind it."""
        return DERIVED[self.attribute][0] if self.attribute in DERIVED else self.attribute

    def word(self, value: Value) -> str | None:
        """How the value is said; None when it is not asked about."""
        return self.words.get(spoken(value))

    def wrong(self, value: Value) -> list[str]:
        """Words of values that are clearly not this one."""
        names = list(self.words)
        here = names.index(spoken(value))
        apart = 2 if self.ordered and len(names) > 2 else 1
        return [self.words[name] for k, name in enumerate(names) if abs(k - here) >= apart]


# Facts that follow from another one, for the questions people ask most: name → (attribute, what its values mean).
DERIVED: Mapping[str, tuple[str, Mapping[Value, bool]]] = {
    "smiling": ("smile", {"none": False, "slight": True, "broad": True}),
    "bearded": ("beard", {"none": False, "full": True}),
    "facing": (
        "head_turn",
        {"frontal": True, "left": False, "right": False, "profile left": False, "profile right": False},
    ),
}


def derive(facts: Mapping[str, Value]) -> dict[str, Value]:
    """The facts and what follows from them (see DERIVED)."""
    more = {name: values[facts[a]] for name, (a, values) in DERIVED.items() if a in facts and facts[a] in values}
    return {**facts, **more}


def _words(text: str) -> dict[str, str]:
    """ "a|b=words for b" as a mapping."""
    pairs = (item.partition("=") for item in text.split("|"))
    return {name: words or name for name, _, words in pairs}


def _pick(
    attribute: str,
    words: str,
    ask: str,
    say: str,
    which: str = "",
    weight: float = 1.0,
    *,
    ordered: bool = False,
    neutral: bool = False,
    only_men: bool = False,
) -> Topic:
    """An attribute with one of several values."""
    return Topic(attribute, ask, say, which, _words(words), ordered, neutral, weight, only_men)


def _flag(attribute: str, ask: str, yes: str, no: str, weight: float = 1.0, *, only_men: bool = False) -> Topic:
    """An attribute that is there or not."""
    return Topic(attribute, ask, "<v>", words={"yes": yes, "no": no}, weight=weight, only_men=only_men)


_COLOURS = COLOURS.replace(", ", "|")
_HAIR = "black|brown|blond|red|grey|white"
_SMALL = "small|medium=of medium size|large"
_WIDE = "narrow|medium=of medium width|wide"

TOPICS: tuple[Topic, ...] = (
    _pick("gender_presentation", "woman=a woman|man=a man", "[is this|is the person in the picture|do we see] <v>?",
          "[this is|we see|the person looks like] <v>", "[who is in the picture|what kind of person is shown]?", 3,
          neutral=True),
    _pick("age_group", "child=a child|young adult=a young adult|middle-aged=a middle-aged person|older=an older person",
          "[is this person|does this look like] <v>?", "[this person is|this looks like] <v>",
          "[what age group is this person in|roughly how old is this person]?", 4, neutral=True, ordered=True),
    _pick("hair_colour", _HAIR, "is {their} hair <v>?", "{their} hair is <v>",
          "[what colour is {their} hair|what is {their} hair colour|which hair colour {q:do} {they} have]?", 5),
    _pick("hair_length", "short|medium=of medium length|long", "is {their} hair <v>?", "{their} hair is <v>",
          "how long is {their} hair?", 2, ordered=True),
    _pick("hair_texture", "straight|wavy|curly", "is {their} hair <v>?", "{their} hair is <v>",
          "[what is the texture of {their} hair|is {their} hair straight or does it curl]?", ordered=True),
    _pick("hairline", "low|medium=of medium height|high", "is {their} hairline <v>?", "{their} hairline is <v>",
          "where is {their} hairline?", 0.5, ordered=True),
    _flag("bangs", "[{q:do} {they} have|are there] bangs over {their} forehead?", "{they} {v:have} bangs",
          "{they} {v:have} no bangs"),
    _flag("bald", "{q:be} {they} bald?", "{they} {v:be} bald", "{they} {v:be} not bald", only_men=True),
    _pick("beard", "none=no beard|stubble=stubble|full=a full beard", "{q:do} {they} have <v>?", "{they} {v:have} <v>",
          "what kind of beard {q:do} {they} have?", 1.5, only_men=True),
    _flag("bearded", "[{q:do} {they} have a beard|{q:be} {they} bearded]?", "{they} {v:have} a beard",
          "{they} {v:have} no beard",
          6, only_men=True),
    _flag("moustache", "{q:do} {they} have a [moustache|mustache]?", "{they} {v:have} a moustache",
          "{they} {v:have} no moustache", only_men=True),
    _flag("goatee", "{q:do} {they} have a goatee?", "{they} {v:have} a goatee", "{they} {v:have} no goatee",
          0.5, only_men=True),
    _flag("sideburns", "{q:do} {they} have sideburns?", "{they} {v:have} sideburns", "{they} {v:have} no sideburns",
          0.5, only_men=True),
    _flag("glasses", "[{q:be} {they} wearing glasses|{q:do} {they} wear glasses|does the {noun} wear glasses]?",
          "{they} {v:wear} glasses", "{they} {v:wear} no glasses", 6),
    _flag("sunglasses", "{q:be} {they} wearing sunglasses?", "{they} {v:wear} sunglasses",
          "{they} {v:wear} no sunglasses"),
    _flag("hat", "[{q:be} {they} wearing a hat|{q:do} {they} have a hat on|is there a hat on {their} head]?",
          "{they} {v:wear} a hat", "{they} {v:wear} no hat", 4),
    _flag("earrings", "[{q:be} {they} wearing earrings|{q:do} {they} wear earrings]?", "{they} {v:wear} earrings",
          "no earrings can be seen", 1.5),
    _flag("necklace", "[{q:be} {they} wearing a necklace|is there a necklace around {their} neck]?",
          "{they} {v:wear} a necklace", "no necklace can be seen"),
    _flag("lipstick", "{q:be} {they} wearing lipstick?", "{they} {v:wear} lipstick", "{they} {v:wear} no lipstick",
          1.5),
    _pick("lip_colour", "natural=of a natural colour|pink|red|dark", "are {their} lips <v>?", "{their} lips are <v>",
          "what colour are {their} lips?"),
    _pick("lip_fullness", "thin|medium=of medium fullness|full", "are {their} lips <v>?", "{their} lips are <v>",
          "[what are {their} lips like|how full are {their} lips]?", ordered=True),
    _pick("skin_tone", "very light|light|medium|tan|brown|dark", "is {their} skin [tone |]<v>?", "{their} skin is <v>",
          "[what is {their} skin tone|which tone does {their} skin have]?", 1.5, ordered=True),
    _pick("skin_texture", "smooth|average|textured", "does {their} skin look <v>?", "{their} skin looks <v>",
          "how does {their} skin look?", 0.7, ordered=True),
    _flag("rosy_cheeks", "[are {their} cheeks rosy|{q:do} {they} have rosy cheeks]?", "{their} cheeks are rosy",
          "{their} cheeks are not rosy"),
    _pick("face_shape", "oval|round|square|long|heart=heart-shaped", "is {their} face <v>?", "{their} face is <v>",
          "[what is the shape of {their} face|which shape does {their} face have]?", 1.5),
    _pick("jaw", _WIDE, "is {their} jaw <v>?", "{their} jaw is <v>", "how wide is {their} jaw?", 0.7, ordered=True),
    _pick("brow_thickness", "thin|medium=of medium thickness|thick", "are {their} [eyebrows|brows] <v>?",
          "{their} eyebrows are <v>", "how thick are {their} [eyebrows|brows]?", ordered=True),
    _pick("brow_shape", "straight|arched", "are {their} eyebrows <v>?", "{their} eyebrows are <v>",
          "which shape do {their} eyebrows have?"),
    _pick("brow_colour", _HAIR, "are {their} eyebrows <v>?", "{their} eyebrows are <v>",
          "what colour are {their} eyebrows?", 0.5),
    _pick("eye_size", _SMALL, "are {their} eyes <v>?", "{their} eyes are <v>", "how big are {their} eyes?",
          ordered=True),
    _pick("eye_shape", "narrow|almond=almond-shaped|round", "are {their} eyes <v>?", "{their} eyes are <v>",
          "which shape do {their} eyes have?"),
    _pick("eye_spacing", "close=close together|wide=wide apart",
          "are {their} eyes <v>?", "{their} eyes are <v>", "", 0.5, ordered=True),
    _pick("eye_colour", "brown|blue|green|grey", "are {their} eyes <v>?", "{their} eyes are <v>",
          "[what colour are {their} eyes|what is {their} eye colour]?", 2),
    _pick("nose_width", _WIDE, "is {their} nose <v>?", "{their} nose is <v>", "how wide is {their} nose?",
          ordered=True),
    _pick("nose_length", "short|medium=of medium length|long", "is {their} nose <v>?", "{their} nose is <v>",
          "how long is {their} nose?", 0.7, ordered=True),
    _flag("eye_bags", "[are there|{q:do} {they} have] bags under {their} eyes?", "there are bags under {their} eyes",
          "there are no bags under {their} eyes"),
    _flag("ears_visible", "[can {their} ears be seen|are {their} ears visible]?", "{their} ears can be seen",
          "{their} ears are hidden"),
    _flag("neck_visible", "can {their} neck be seen?", "{their} neck can be seen", "{their} neck is hidden", 0.4),
    _pick("smile", "none=not smiling|slight=smiling slightly|broad=smiling broadly", "{q:be} {they} <v>?",
          "{they} {v:be} <v>", "[how {q:do} {they} smile|what kind of smile {q:do} {they} have]?"),
    _flag("smiling", "[{q:be} {they} smiling|is the {noun} smiling|{q:do} {they} smile]?", "{they} {v:be} smiling",
          "{they} {v:be} not smiling", 7),
    _flag("laugh", "{q:be} {they} laughing?", "{they} {v:be} laughing", "{they} {v:be} not laughing"),
    _flag("mouth_open", "is {their} mouth open?", "{their} mouth is open", "{their} mouth is closed", 1.5),
    _flag("teeth_visible", "[are {their} teeth visible|can {their} teeth be seen|{q:do} {they} show {their} teeth]?",
          "{their} teeth can be seen", "{their} teeth cannot be seen", 1.5),
    _pick("eyes", "open|narrowed|closed", "are {their} eyes <v>?", "{their} eyes are <v>", "", 1, ordered=True),
    _flag("wink", "{q:be} {they} winking?", "{they} {v:be} winking", "{they} {v:be} not winking", 0.4),
    _pick("gaze", "at the camera|left=to {their} left|right=to {their} right|up|down", "{q:be} {they} looking <v>?",
          "{they} {v:be} looking <v>", "[where {q:be} {they} looking|which way do {their} eyes look]?", 2),
    _pick("head_turn", "frontal=to the camera|left=to {their} left|right=to {their} right",
          "is {their} face turned <v>?", "{their} face is turned <v>",
          "[which way is {their} face turned|which way {q:be} {they} facing]?", 1.5),
    _flag("facing",
          "[{q:be} {they} facing the camera|{q:do} {they} face the camera|is {their} face turned to the camera]?",
          "{they} {v:face} the camera", "{their} face is turned to the side"),
    _pick("head_tilt", "upright|left=tilted to {their} left|right=tilted to {their} right", "is {their} head <v>?",
          "{their} head is <v>", "how {q:do} {they} hold {their} head?"),
    _pick("head_nod", "down=lowered|level|up=raised", "is {their} chin <v>?", "{their} chin is <v>", "", 0.7),
    _flag("brows_raised", "are {their} eyebrows raised?", "{their} eyebrows are raised",
          "{their} eyebrows are not raised"),
    _flag("frown", "{q:be} {they} frowning?", "{they} {v:be} frowning", "{they} {v:be} not frowning"),
    _flag("pout", "{q:be} {they} pouting?", "{they} {v:be} pouting", "{they} {v:be} not pouting", 0.4),
    _pick("emotion", "neutral|happy|sad|angry|fearful|disgusted|surprised", "{q:do} {they} look <v>?",
          "{they} {v:look} <v>", "[what is {their} expression|what mood {q:do} {they} seem to be in]?", 2.5),
    _pick("background_brightness", "dark|medium=of medium brightness|bright", "is the background <v>?",
          "the background is <v>", "how bright is the background?", ordered=True),
    _pick("background_colour", _COLOURS, "is the background <v>?", "the background is <v>",
          "what colour is the background?", 1.5),
    _flag("background_plain", "is the background plain?", "the background is plain", "the background is not plain"),
    _pick("lighting", "dim|normal=of normal brightness|bright", "is the light <v>?", "the light is <v>",
          "how strong is the light?", 1, ordered=True),
    _pick("light_direction", "front=the front|left={their} left|right={their} right|above=above",
          "does the light come from <v>?", "the light comes from <v>", "where does the light come from?"),
    _pick("clothing_colour", _COLOURS, "{q:be} {they} dressed in <v>?", "{they} {v:be} dressed in <v>",
          "[what colour are {their} clothes|what colour {q:do} {they} wear]?", 1.5),
    _pick("sharpness", "sharp|soft|blurred", "is the picture <v>?", "the picture is <v>", "", 0.7, ordered=True),
    _pick("picture_colour", "colour=in colour|black and white=in black and white", "is the picture <v>?",
          "the picture is <v>", "", 0.7),
)  # fmt: skip
