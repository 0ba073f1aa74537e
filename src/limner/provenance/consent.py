"""That people agreed to what is made of their faces: the words they are asked in, and what a recipe says of it."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

NOTICE = "Swap, reenact or mix only faces of people who agreed to it, and say that the result is synthetic."

Statement: TypeAlias = Literal["asked", "flag", "request", "studio"]
"""How consent was stated: to a question, by an option, in a request, by a tick in the studio."""


def stating(recipe: dict[str, Any], consent: Statement | None) -> dict[str, Any]:
    """The recipe with ``consent`` in it; as it is for None, where none was needed or nobody could be asked."""
    return recipe if consent is None else {**recipe, "consent": consent}
