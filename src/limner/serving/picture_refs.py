"""How a request names a picture: by its id, or as a data URL; what is neither is told apart, and refused with the way
out."""

from __future__ import annotations

import re

from limner.errors import InputError

PATTERN = r"^(pic_[0-9a-f]{20}|data:image/[a-z0-9.+-]{1,20};base64,[A-Za-z0-9+/]+={0,2})$"
_ID = re.compile(r"pic_[0-9a-f]{20}")
_HEAD = re.compile(r"data:image/[a-z0-9.+-]{1,20};base64", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_SPACE = str.maketrans("", "", " \t\r\n")
_WAY_OUT = "upload it (POST /v1/uploads) and give its id, or send it as a data URL (data:image/png;base64,…)"
RAW = 64  # characters from which base64 without a head is taken for a picture


def picture_reference(text: str) -> str:
    """The id or data URL that a text gives; base64 that is wrapped into lines is joined.

    Raises ``InputError``, one sentence with the way out, for an address, raw base64, a path, and a damaged data URL.
    """
    if _ID.fullmatch(text):
        return text
    head, comma, body = text.strip().partition(",")
    if head.lower().startswith("data:"):
        if not comma or not head.lower().endswith(";base64"):
            raise InputError("this data URL is not in base64: write data:image/png;base64,…")
        if not _HEAD.fullmatch(head):
            raise InputError(f"a data URL of a picture begins with data:image/png;base64, and not with {head[:40]!r}")
        joined = body.translate(_SPACE)
        if not _BASE64.fullmatch(joined) or len(joined) % 4:
            raise InputError("the base64 of this data URL is damaged: encode the file again")
        return f"{head.lower()},{joined}"
    if re.match(r"[a-z][a-z0-9+.-]*://", text.strip(), re.IGNORECASE):
        raise InputError(f"{text.strip()[:60]!r} is an address, and this server fetches nothing: {_WAY_OUT}")
    joined = text.translate(_SPACE)
    if len(joined) >= RAW and _BASE64.fullmatch(joined):
        raise InputError("this looks like base64 without its head: put data:image/png;base64, in front of it")
    raise InputError(f"{text[:60]!r} names no picture of this server: {_WAY_OUT}")
