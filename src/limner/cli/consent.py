"""Asked before a face, or a part of one, is taken from another photo: may it be?"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path

from limner.errors import InputError
from limner.files import write_json_atomic
from limner.provenance.consent import NOTICE, Statement
from limner.weights.store import home

FILE = "consent.json"


def require_consent(given: bool) -> Statement:
    """How the notice was agreed to: ``flag`` by ``--i-have-consent``, ``asked`` now or earlier.

    Asks on a terminal, once, and notes it in LIMNER_HOME; the flag counts for its own run only. Raises InputError, one
    line, where nobody can be asked or the answer is no.
    """
    if given:
        return "flag"
    record = home() / FILE
    if _noted(record):
        return "asked"
    if not sys.stdin.isatty():
        raise InputError(f"{NOTICE} If they did, add --i-have-consent")
    print(f"{NOTICE} Agreed? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InputError("consent was not confirmed: nothing was done")
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    write_json_atomic(record, {"agreed": True, "when": when, "notice": NOTICE})
    return "asked"


def _noted(record: Path) -> bool:
    """Whether these very words were agreed to; a damaged note says nothing."""
    try:
        noted = json.loads(record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # what is no UTF-8 is a ValueError, too
        return False
    return isinstance(noted, dict) and noted.get("agreed") is True and noted.get("notice") == NOTICE
