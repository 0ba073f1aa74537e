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

Length = Literal["long", "short"]


def request(length: str) -> str:
    """The question `describe` asks: the first of each. ``InputError`` for another length."""
    if length not in ("long", "short"):
        raise InputError(f"length {length!r}: choose long or short")
    return LONG[0] if length == "long" else SHORT[0]
