"""JSON and TOML that strangers wrote: parsed within limits, so that a hostile text is a sentence and no crash."""

from __future__ import annotations

import json
import math
import sys
from typing import Any, NoReturn

from limner.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

MOST_CHARACTERS = 16_000_000
MOST_DEPTH = 64  # of lists and objects in each other
MOST_DIGITS = 300  # of a whole number


class TextError(InputError):
    """The text is not what it should be, or beyond the limits. The message says in a few words what is wrong."""


def parse_json(text: str, most_characters: int = MOST_CHARACTERS) -> Any:
    """What a JSON text says; ``TextError`` for damaged and hostile ones.

    NaN, infinities and numbers that no float holds are refused, as are more than ``MOST_DEPTH`` levels.
    """
    _check_length(text, most_characters)
    try:
        found = json.loads(text, parse_constant=_refuse, parse_int=_whole)
    except RecursionError:
        raise TextError(f"it is nested more than {MOST_DEPTH} levels deep") from None
    except json.JSONDecodeError as error:
        raise TextError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    check_values(found)
    return found


def parse_toml(text: str, most_characters: int = MOST_CHARACTERS) -> dict[str, Any]:
    """What a TOML text says; ``TextError`` as ``parse_json``."""
    _check_length(text, most_characters)
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise TextError(f"it is nested more than {MOST_DEPTH} levels deep") from None
    except ValueError as error:  # TOMLDecodeError is one; so is what Python says to a number of thousands of digits
        raise TextError(str(error).splitlines()[0][:200]) from None
    check_values(found)
    return found


def check_values(found: Any) -> None:
    """``TextError`` for what is nested too deeply, and for numbers beyond the limits."""
    level, depth = [found], 0
    while level:
        if depth > MOST_DEPTH:
            raise TextError(f"it is nested more than {MOST_DEPTH} levels deep")
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, float) and not math.isfinite(value):
                raise TextError("a number in it is not finite")
            elif isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
                raise TextError(f"a number in it has more than {MOST_DIGITS} digits")
        level, depth = below, depth + 1


def _check_length(text: str, most: int) -> None:
    if len(text) > most:
        raise TextError(f"it has more than {most:,} characters")


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise TextError(f"a number in it has more than {MOST_DIGITS} digits")
    return int(digits)


def _refuse(constant: str) -> NoReturn:
    raise TextError(f"{constant} is not JSON")
