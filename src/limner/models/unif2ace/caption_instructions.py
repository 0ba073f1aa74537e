"""How descriptions are asked for, in training and by the verb `describe`."""

from __future__ import annotations

from typing import Literal

from limner.errors import InputError

LONG = (
    "Describe this face in detail.",
    "What does this person look like?",
    "Give a detailed description of the face.",
    "Write a caption for this portrait.",
    "Describe the picture.",
    "Tell me everything you see in this face.",
)

SHORT = (
    "Describe this face in one sentence.",
    "Give a short description of the face.",
    "Describe the picture briefly.",
    "Sum this portrait up in a few words.",
)

FULL = "Describe everything you are sure of."
"""What a full description answers. No model is asked it: it is asked for each attribute (``survey``)."""

Length = Literal["long", "short", "full"]


def request(length: str) -> str:
    """The question `describe` asks: the first of each. ``InputError`` for another length."""
    asked = {"long": LONG[0], "short": SHORT[0], "full": FULL}
    if length not in asked:
        raise InputError(f"length {length!r}: choose long, short or full")
    return asked[length]
