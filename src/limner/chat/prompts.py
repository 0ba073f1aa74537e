"""Prompts and rubrics: text files beside this one, each with a version, a system part and a user part.

    version: 1
    --- system
    …
    --- user
    … $attributes …

The first line is bumped with every change of wording, so that what was written with which prompt can be told later.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from limner.errors import InputError

FOLDER = Path(__file__).with_name("prompts")
_FORM = re.compile(r"version: (\S+)\n--- system\n(.*?)\n--- user\n(.*)", re.DOTALL)


@dataclass(frozen=True)
class Prompt:
    """One prompt file. `digest` tells whether two files are the same."""

    name: str
    version: str
    system: str
    user: str
    digest: str

    def messages(self, picture: str | None = None, **values: str) -> list[dict[str, Any]]:
        """The messages of a request, with values put in for `$name` and the picture (a data URL) after the text.

        Raises InputError for a `$name` that has no value.
        """
        try:
            text = Template(self.user).substitute(values)
        except (KeyError, ValueError) as error:
            raise InputError(f"the prompt '{self.name}' asks for {error}: it can use ${', $'.join(values)}") from error
        content: Any = text
        if picture is not None:
            content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": picture}}]
        return [{"role": "system", "content": self.system}, {"role": "user", "content": content}]


def load_prompt(name: str, folder: Path | None = None) -> Prompt:
    """The prompt of that name, from the user's folder when it is there, else ours. Raises InputError."""
    places = [place / f"{name}.txt" for place in (folder, FOLDER) if place is not None]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        known = ", ".join(sorted(place.stem for place in FOLDER.glob("*.txt")))
        raise InputError(f"there is no prompt {name!r}: there are {known}")
    text = path.read_text("utf-8")
    found = _FORM.fullmatch(text.rstrip() + "\n")
    if found is None:
        raise InputError(f"{path} is no prompt: it needs 'version: …', then '--- system' and '--- user' on lines")
    version, system, user = (part.strip() for part in found.groups())
    return Prompt(name, version, system, user, hashlib.sha256(text.encode()).hexdigest()[:16])
