"""The attributes Limner may say about a face: their family and the values they can take. Words are made from this list.

An attribute is in a face's record only when it could be measured there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["appearance", "action", "emotion", "picture"]


@dataclass(frozen=True)
class Term:
    """One attribute. values: the words it can take; None when it is a yes or no; "number" for a quantity (years)."""

    family: Family
    values: tuple[str, ...] | Literal["number"] | None

    def allows(self, value: object) -> bool:
        """Whether a measured value belongs to this attribute."""
        if self.values is None:
            return isinstance(value, bool)
        if self.values == "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        return value in self.values


def _words(family: Family, **terms: str) -> dict[str, Term]:
    """Terms from `name="value, value"`; "yes or no" and "number" are not values."""
    special: dict[str, Literal["number"] | None] = {"yes or no": None, "number": "number"}
    return {
        name: Term(family, special[text] if text in special else tuple(text.split(", ")))
        for name, text in terms.items()
    }


COLOURS = "black, white, grey, red, orange, yellow, green, blue, purple, pink, brown"

VOCABULARY: dict[str, Term] = {
    **_words(
        "appearance",
        gender_presentation="woman, man",
        age="number",
        age_group="child, young adult, middle-aged, older",
        hair_colour="black, brown, blond, red, grey, white",
        hair_length="bald, short, medium, long",
        hair_texture="straight, wavy, curly",
        hairline="low, medium, high",
        bangs="yes or no",
        bald="yes or no",
        beard="none, stubble, full",
        five_o_clock_shadow="yes or no",
        moustache="yes or no",
        sideburns="yes or no",
        goatee="yes or no",
        glasses="yes or no",
        sunglasses="yes or no",
        hat="yes or no",
        earrings="yes or no",
        necklace="yes or no",
        lipstick="yes or no",
        lip_colour="natural, pink, red, dark",
        lip_fullness="thin, medium, full",
        skin_tone="very light, light, medium, tan, brown, dark",
        skin_texture="smooth, average, textured",
        rosy_cheeks="yes or no",
        face_shape="oval, round, square, long, heart",
        jaw="narrow, medium, wide",
        brow_thickness="thin, medium, thick",
        brow_shape="straight, arched",
        brow_colour="black, brown, blond, red, grey, white",
        eye_size="small, medium, large",
        eye_shape="narrow, almond, round",
        eye_spacing="close, average, wide",
        eye_colour="brown, blue, green, grey",
        eye_bags="yes or no",
        nose_width="narrow, medium, wide",
        nose_length="short, medium, long",
        ears_visible="yes or no",
        neck_visible="yes or no",
    ),
    **_words(
        "action",
        smile="none, slight, broad",
        laugh="yes or no",
        mouth_open="yes or no",
        teeth_visible="yes or no",
        eyes="open, narrowed, closed",
        wink="yes or no",
        gaze="at the camera, left, right, up, down",
        head_turn="frontal, left, right, profile left, profile right",
        head_tilt="upright, left, right",
        head_nod="level, up, down",
        brows_raised="yes or no",
        frown="yes or no",
        pout="yes or no",
    ),
    **_words("emotion", emotion="neutral, happy, sad, angry, fearful, disgusted, surprised"),
    **_words(
        "picture",
        background_brightness="dark, medium, bright",
        background_colour=COLOURS,
        background_plain="yes or no",
        lighting="dim, normal, bright",
        light_direction="front, left, right, above",
        clothing_colour=COLOURS,
        sharpness="sharp, soft, blurred",
        picture_colour="colour, black and white",
    ),
}
