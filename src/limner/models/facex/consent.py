"""Which edits need the consent of the people shown."""

from __future__ import annotations

from .plan import ABSENT, CANVAS, EditPlan

THINGS = ("cloth", "worn", "background", "light")
"""Factors that are no part of a person. Our choice: a hat of another photo asks for no consent, because it shows
nobody; lips do, because parts add up to a face."""


def needs_consent(plan: EditPlan) -> bool:
    """Whether a plan takes a face, a part of one, or its motion from another photo."""
    taken = {photo for factor, photo in plan.factors.items() if factor not in THINGS}
    return bool((taken | {plan.structure}) - {CANVAS, ABSENT, None})
