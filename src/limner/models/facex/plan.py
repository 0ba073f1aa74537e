"""An edit as data: which factor of the face comes from which photo, what is painted anew, and how sliders move.

Every task of FaceX is a named plan; none has code of its own. Plans are validated, printable, stored in the picture's
recipe, and combine: several edits become one plan that runs in one pass.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from limner.errors import InputError

from .masks import FACTORS_OF_PART, GROUPS, PARTS, pack_mask, unpack_mask
from .sliders import EXPRESSIONS, SLIDERS

FACTORS = ("identity", *GROUPS, "expression", "pose", "gaze", "light")
"""Identity; the textures of twelve regions; motion; illumination."""
MOTION = ("expression", "pose", "gaze")
CANVAS = "photo"
"""The photo that is edited: every factor is its own unless the plan says otherwise, and its other pixels stay."""
ABSENT = "none"
"""In place of a photo: the factor is not there (erased glasses), or not known (the texture in a hole)."""
APPEARANCE = ("identity", *GROUPS)
FACE = ("identity", "brows", "eyes", "nose", "lips", "skin")


class EditPlan(BaseModel):
    """One edit. ``EditPlan.swap("her.jpg") + EditPlan.motion(yaw=15)`` is one as well."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factors: dict[str, str] = Field(default={}, description="Factor → photo it comes from, where not the edited one.")
    sliders: dict[str, float] = Field(default={}, description="Changes of motion, see `limner edit --help`.")
    repaint: tuple[str, ...] = Field(default=(), description="Parts of the photo that are painted anew.")
    structure: str | None = Field(default=None, description="Photo whose head in grey guides the new one (head swap).")
    hole: str | None = Field(default=None, description="Packed mask at the photo's size, painted anew as well.")
    prompt: str = Field(default="", description="Words for the base model.")
    dilation: float = Field(default=0.04, ge=0, le=0.25, description="Growth of what is painted, shares of the crop.")

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            said = first["msg"].removeprefix("Value error, ")
            raise InputError(f"EditPlan: {f'{where}: ' if where else ''}{said}") from None

    @field_validator("factors")
    @classmethod
    def _known_factors(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            _known(name, FACTORS, "factor")
        return {name: value[name] for name in FACTORS if name in value and value[name] != CANVAS}

    @field_validator("sliders")
    @classmethod
    def _known_sliders(cls, value: dict[str, float]) -> dict[str, float]:
        for name, amount in value.items():
            _known(name, tuple(SLIDERS), "slider")
            slider = SLIDERS[name]
            if not slider.low <= amount <= slider.high:
                raise ValueError(f"{name}={amount:g}: choose a number from {slider.low:g} to {slider.high:g}")
        return {name: value[name] for name in SLIDERS if name in value}

    @field_validator("repaint")
    @classmethod
    def _known_parts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            _known(name, tuple(PARTS), "part")
        return tuple(name for name in PARTS if name in value)

    @classmethod
    def swap(cls, source: str, head: bool = False) -> EditPlan:
        """The face, or the whole head, of ``source`` in the photo's motion and light."""
        names = (*FACE, "hair", "ears") if head else FACE
        parts = ("head",) if head else ("face",)
        return cls(factors=dict.fromkeys(names, source), repaint=parts, structure=source if head else None)

    @classmethod
    def reenact(cls, driver: str) -> EditPlan:
        """The photo's person with the driver's expression, pose and gaze."""
        return cls(factors=dict.fromkeys(MOTION, driver), repaint=("person",))

    @classmethod
    def motion(cls, expression: str | None = None, **sliders: float) -> EditPlan:
        """Pose, gaze and expression by sliders; ``expression`` adds a named one to them."""
        bundle: Mapping[str, float] = {}
        if expression is not None:
            _known(expression, tuple(EXPRESSIONS), "expression")
            bundle = EXPRESSIONS[expression]
        given = {name: value for name, value in sliders.items() if value is not None}
        moved = cls(sliders=given).sliders  # their names and types are known to be right before they are added
        return cls(sliders=_added(bundle, moved), repaint=("person",))

    @classmethod
    def regions(cls, other: str, parts: str | Iterable[str]) -> EditPlan:
        """Lips, brows, hair, glasses, a beard … of another photo."""
        parts = _names(parts)
        for part in parts:
            _known(part, tuple(FACTORS_OF_PART), "region")
        names = [factor for part in parts for factor in FACTORS_OF_PART[part]]
        return cls(factors=dict.fromkeys(names, other), repaint=parts)

    @classmethod
    def erase(cls, parts: str | Iterable[str]) -> EditPlan:
        """Parts away, and what was behind them painted in: worn things are gone, textures are made up."""
        parts = _names(parts)
        for part in parts:
            _known(part, tuple(FACTORS_OF_PART), "region")
        names = [factor for part in parts for factor in FACTORS_OF_PART[part] if part != "beard"]
        return cls(factors=dict.fromkeys(names, ABSENT), repaint=parts)

    @classmethod
    def inpaint(cls, mask: Any, prompt: str = "") -> EditPlan:
        """A hole filled. mask: (H, W) bool array at the photo's size, True where to paint."""
        return cls(hole=pack_mask(mask), prompt=prompt)

    @classmethod
    def animate(cls) -> EditPlan:
        """Everything as it is, the person painted anew: by a stylised base model."""
        return cls(repaint=("person",))

    def __add__(self, other: EditPlan) -> EditPlan:
        """Both edits in one pass: the later one decides where both speak, sliders add up, what is painted unites."""
        hole = self.hole or other.hole
        if self.hole and other.hole:
            one, two = unpack_mask(self.hole), unpack_mask(other.hole)
            if one.shape != two.shape:
                raise ValueError("masks of different sizes cannot be combined: draw both at the photo's size")
            hole = pack_mask(one | two)
        return EditPlan(
            factors={**self.factors, **other.factors},
            sliders=_added(self.sliders, other.sliders),
            repaint=(*self.repaint, *other.repaint),
            structure=other.structure or self.structure,
            hole=hole,
            prompt=", ".join(words for words in (self.prompt, other.prompt) if words),
            dilation=max(self.dilation, other.dilation),
        )

    @classmethod
    def chain(cls, plans: Iterable[EditPlan]) -> EditPlan:
        """Any number of edits as one."""
        return reduce(lambda one, two: one + two, plans, cls())

    def grown(self, size: int) -> int:
        """Pixels by which what is painted grows in a crop of this side."""
        return round(self.dilation * size)

    def negative(self) -> EditPlan:
        """What the edit is told apart from: the same motion and light on the photo's own face.

        A plan that takes neither identity nor textures from elsewhere (motion, holes, styles) is its own
        negative. Our choice: reenactments with the driver's face as the negative were tried; they move less exactly and
        gain no identity.
        """
        factors = {name: photo for name, photo in self.factors.items() if name not in APPEARANCE}
        return self.model_copy(update={"factors": factors})

    def hole_fill(self) -> tuple[tuple[str, str, bool], ...]:
        """What a hole may show instead of grey: (part, photo, whether without its colours), the later one on top.

        The photo's own person where its motion changes; the other's head in grey where it gives the head or the face,
        since colours are the photo's; the other's part where it gives a part. Nothing where it only is painted anew
        (styles), or away.
        """
        found = []
        if self.structure is not None:
            found.append(("head", self.structure, True))  # it fills the hole, whatever else is painted
        elif "person" in self.repaint and (self.sliders or self.factors):
            found.append(("person", CANVAS, False))
        face = self.factors.get("identity", ABSENT)
        if "face" in self.repaint and face != ABSENT:
            found.append(("face", face, True))
        whole = {photo for _, photo, grey in found if grey}
        for part in (part for part in self.repaint if part in FACTORS_OF_PART):
            gives = self.factors.get(FACTORS_OF_PART[part][0], CANVAS)
            if gives not in (CANVAS, ABSENT, *whole):
                found.append((part, gives, False))
        return tuple(found)

    @property
    def photos(self) -> tuple[str, ...]:
        """Names of the photos it needs, the edited one first."""
        named = dict.fromkeys([CANVAS, *self.factors.values(), *([self.structure] if self.structure else [])])
        return tuple(name for name in named if name != ABSENT)

    @property
    def empty(self) -> bool:
        """Whether it would leave the photo as it is."""
        return not (self.repaint or self.hole)

    def __str__(self) -> str:
        """The plan in one sentence."""
        if self.empty:
            return "the photo stays as it is"
        by_photo: dict[str, list[str]] = {}
        for factor, photo in self.factors.items():
            by_photo.setdefault(photo, []).append(factor)
        said = [f"{_listed(names)} from {photo}" for photo, names in by_photo.items() if photo != ABSENT]
        if ABSENT in by_photo:
            said.append(f"no {_listed(by_photo[ABSENT], 'or')}")
        if self.sliders:
            said.append(_listed([f"{name} {value:+g}" for name, value in self.sliders.items()]))
        if self.structure:
            said.append(f"the shape of the head in {self.structure}")
        if self.prompt:
            said.append(f'"{self.prompt}"')
        painted = _listed([*(f"the {part}" for part in self.repaint), *(["the drawn mask"] if self.hole else [])])
        return "; ".join([*said, f"the rest from the photo; {painted} painted anew"])


def _added(one: Mapping[str, float], two: Mapping[str, float]) -> dict[str, float]:
    """Sums of sliders, each kept in its range."""
    total = {}
    for name in {**one, **two}:
        total[name] = one.get(name, 0.0) + two.get(name, 0.0)
        if name in one and name in two:
            total[name] = min(max(total[name], SLIDERS[name].low), SLIDERS[name].high)
    return total


def _names(parts: str | Iterable[str]) -> tuple[str, ...]:
    """Names of parts; one name alone stands for a list of it."""
    if not isinstance(parts, str | Iterable):
        raise InputError(f"parts must be names of parts, for example 'hat', not {type(parts).__name__}")
    return (parts,) if isinstance(parts, str) else tuple(parts)


def _known(name: str, names: tuple[str, ...], what: str) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(names)}"
        raise ValueError(f"there is no {what} {name!r}: {hint}")


def _listed(names: list[str], word: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"
