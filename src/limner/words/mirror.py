"""Words about a mirrored picture."""

from __future__ import annotations

import re

SIDES = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}


def mirror_words(text: str) -> str:
    """A text about the mirrored face. Sides are the subject's or the light's; both change."""
    return re.sub(r"\b[Ll]eft\b|\b[Rr]ight\b", lambda match: SIDES[match.group()], text)
