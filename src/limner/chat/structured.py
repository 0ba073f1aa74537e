"""JSON out of what models call JSON, held against a form."""

from __future__ import annotations

import json
import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError

Form = TypeVar("Form", bound=BaseModel)


class Unreadable(ValueError):
    """A text that is not the JSON that was asked for; the message can be sent back to its writer."""


def read_answer(text: str, form: type[Form]) -> Form:
    """The one JSON object in a text, as `form`.

    Mended are only slips that cannot change what is said: a fence or talk around the object, and commas before a
    closing bracket. Raises Unreadable for everything else.
    """
    found = None
    for candidate in _candidates(text):
        try:
            found = json.loads(candidate, parse_constant=_refuse_constant)
            break
        except ValueError:
            continue
    if not isinstance(found, dict):
        raise Unreadable("the answer is not one JSON object")
    try:
        return form.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the object"
        raise Unreadable(f"{place}: {first['msg']}") from error


def _candidates(text: str) -> list[str]:
    whole = text.strip()
    inner = whole[whole.find("{") : whole.rfind("}") + 1]
    return [whole, inner, re.sub(r",(\s*[}\]])", r"\1", inner)]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
