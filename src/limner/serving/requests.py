"""What can be asked for, as JSON: strict types, nothing unknown, every limit stated; pictures as ids or data URLs."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from limner.models.facex.consent import needs_consent
from limner.models.facex.plan import ABSENT, CANVAS, EditPlan
from limner.provenance.consent import NOTICE, Statement
from limner.serving.limits import MOST_PICTURES, MOST_STEPS
from limner.serving.picture_refs import PATTERN, picture_reference

PictureRef = Annotated[
    str,
    AfterValidator(picture_reference),
    Field(
        description="Id of an uploaded or made picture, or a data URL. Never a path, never an address to fetch.",
        examples=["pic_0123456789abcdef0123"],
        json_schema_extra={"pattern": PATTERN},
    ),
]
Words = Annotated[str, Field(max_length=2000)]
INSIDE = {"inside": True}
"""Context of ``model_validate`` for requests that come from the server itself: its page, and its table of jobs."""


def _stated_here(consent: bool | str, info: ValidationInfo) -> bool | str:
    if consent == "studio" and info.context != INSIDE:  # else whoever asks could say that somebody ticked the box
        raise ValueError("has to be true or false")
    return consent


Consent: TypeAlias = Annotated[
    bool | Literal["studio"], AfterValidator(_stated_here), WithJsonSchema({"type": "boolean", "title": "Consent"})
]
"""Whether the people shown agreed; the page says by its own word that somebody ticked the box."""


def _agreed(consent: bool | str) -> bool | str:
    if consent is False:
        raise ValueError(f'{NOTICE} If they did, add "consent": true')
    return consent


Agreed = Annotated[
    Consent, AfterValidator(_agreed), Field(validate_default=True, description=f"Has to be true. {NOTICE}")
]


class Request(BaseModel):
    """Strict: true is a boolean and "true" is not; a field that does not exist is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    def batch_key(self) -> str | None:
        """Requests of equal batch_key may be computed as one batch; None: alone."""
        return None


class FacesRequest(Request):
    """Read the faces in a photo."""

    photo: PictureRef
    min_score: float = Field(default=0.5, ge=0.1, le=1, description="Minimum detection score.")
    regions: bool = Field(default=False, description="Also store each face's region map and give its picture id.")


class DescribeRequest(Request):
    """Describe a photo in words."""

    photo: PictureRef
    by: Literal["unif2ace", "reader"] = Field(
        default="unif2ace",
        description="unif2ace: the language model. reader: a caption composed of what was read.",
    )
    length: Literal["long", "short", "full"] = Field(
        default="long",
        description="Of the language model's description: long, several sentences; short, one; full, all that it is "
        "sure of when asked for every attribute.",
    )


class AskRequest(Request):
    """Ask a question about a photo."""

    photo: PictureRef
    question: str = Field(min_length=1, max_length=2000, examples=["Is she smiling?"])
    stream: bool = Field(default=False, description="Server-sent events, a piece of the answer each.")


class Sampling(Request):
    """How to paint, whatever is painted."""

    n: int = Field(default=1, ge=1, le=MOST_PICTURES, description="How many pictures.")
    steps: int = Field(default=28, ge=1, le=MOST_STEPS, description="Sampling steps; 8 give a quick preview.")
    guidance: float | None = Field(
        default=None, ge=0, le=100, description="Guidance scale of the prompt; 1 disables it."
    )
    mask_guidance: float | None = Field(
        default=None, ge=0, le=100, description="Guidance scale of the region map; 1 disables it."
    )
    seed: int = Field(default=0, ge=0, le=2**53 - 1, description="Random seed. Picture k uses seed + k.")
    sampler: Literal["euler", "heun"] = "euler"
    merge: Annotated[int, Field(ge=1, le=4096)] | Literal["regions"] | None = Field(
        default=None,
        description="Merge mask tokens after encoding: how many to keep, or 'regions'. Faster, approximate.",
    )
    size: int | None = Field(
        default=None, ge=16, le=4096, description="Side in pixels, for engines that paint several."
    )
    watermark: bool = Field(default=True, description="Embed an invisible watermark.")

    def settings(self) -> dict[str, Any]:
        """As ``MDiTFace.paint`` takes them."""
        return self.model_dump(include=set(Sampling.model_fields) - {"watermark"})

    def batch_key(self) -> str | None:
        """Requests with the same text here may be painted as one batch."""
        from limner.models.mditface.engine import BATCH_SETTINGS

        return ",".join(f"{name}={getattr(self, name)}" for name in BATCH_SETTINGS)


class PaintRequest(Sampling):
    """Paint portraits from words, regions, or both."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "a smiling woman with grey hair", "n": 2, "steps": 8, "seed": 7}]}
    )

    text: Words | None = Field(default=None, description="Prompt.")
    mask: PictureRef | None = Field(
        default=None, description="Region map to follow: ids, or a known palette's colours."
    )
    like: PictureRef | None = Field(default=None, description="Photo whose largest face's regions to follow.")
    edit_mask: Words | None = Field(
        default=None, description="Change the regions first: 'hair: longer 15; glasses: removed'."
    )

    @model_validator(mode="after")
    def _fits(self) -> PaintRequest:
        if self.mask is not None and self.like is not None:
            raise ValueError("mask and like both say which regions to follow: give one of them")
        if self.edit_mask is not None and self.mask is None and self.like is None:
            raise ValueError("edit_mask needs regions to change: give mask or like")
        if not (self.text or "").strip() and self.mask is None and self.like is None:
            raise ValueError("nothing to generate: give a prompt, a mask, or both")
        return self

    def batch_key(self) -> str | None:
        """As for ``Sampling``; all have words or none, and regions alike."""
        has_regions = self.mask is not None or self.like is not None
        return f"paint:{super().batch_key()},words={bool((self.text or '').strip())},regions={has_regions}"


class RepaintRequest(Sampling):
    """Paint a part of a photo's face again, by the face's own regions and words."""

    photo: PictureRef
    text: Words | None = Field(default=None, description="What to paint there.")
    mask: PictureRef = Field(
        description="A picture of the photo's size; what is transparent in it is painted, the rest stays."
    )
    edit_mask: Words | None = Field(default=None, description="Change the regions first.")

    def batch_key(self) -> str | None:
        """As for ``Sampling``; all have words or none."""
        return f"repaint:{super().batch_key()},words={bool((self.text or '').strip())}"


class Editing(Request):
    """How to edit, whatever is edited."""

    seed: int = Field(default=0, ge=0, le=2**53 - 1)
    steps: int = Field(default=25, ge=1, le=MOST_STEPS, description="Sampling steps.")

    def batch_key(self) -> str | None:
        """Edits of one kind and the same number of steps may be painted as one batch."""
        return f"{type(self).__name__}:steps={self.steps}"

    def stated(self) -> Statement | None:
        """How consent was stated, for the recipe."""
        consent = getattr(self, "consent", False)
        return "studio" if consent == "studio" else "request" if consent else None


class EditRequest(Editing):
    """Edit a photo by a plan. The other photos that the plan names are ids."""

    photo: PictureRef
    plan: EditPlan
    consent: Consent = Field(
        default=False,
        validate_default=True,
        description=f"Has to be true where the plan takes part of a face, or its motion, from another photo. {NOTICE}",
    )

    @field_validator("consent")
    @classmethod
    def _agreed_where_needed(cls, consent: bool | str, info: ValidationInfo) -> bool | str:
        plan = info.data.get("plan")  # not there if it is wrong itself, which is said then
        return _agreed(consent) if plan is not None and needs_consent(plan) else consent

    @model_validator(mode="after")
    def _names_pictures_only(self) -> EditRequest:
        for name in self.others(CANVAS, ABSENT):
            if re.fullmatch(r"pic_[0-9a-f]{20}", name) is None:
                raise ValueError(f"the plan names {name[:40]!r}: upload the photo and name it by its id")
        return self

    def others(self, *known: str) -> list[str]:
        """The photos that the plan names, besides those ``known``."""
        names = {*self.plan.factors.values(), self.plan.structure} - {None, *known}
        return sorted(name for name in names if name is not None)


class SwapRequest(Editing):
    """Put the face of one photo into another."""

    source: PictureRef
    target: PictureRef
    head: bool = Field(default=False, description="Swap the whole head instead of the face.")
    consent: Agreed = False


class ReenactRequest(Editing):
    """Let one face do what another does."""

    source: PictureRef
    driver: PictureRef
    consent: Agreed = False


KINDS: dict[str, type[Request]] = {
    "paint": PaintRequest,
    "repaint": RepaintRequest,
    "edit": EditRequest,
    "swap": SwapRequest,
    "reenact": ReenactRequest,
}
"""What runs as a job."""
