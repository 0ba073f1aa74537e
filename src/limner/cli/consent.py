"""Asked once before somebody's face is put on somebody else, or made to move: may it be?"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone

from limner.errors import InputError
from limner.files import write_json_atomic
from limner.weights.store import home

NOTICE = "Swap or reenact only faces of people who agreed to it, and say that the result is synthetic."
FILE = "consent.json"


def require_consent(given: bool) -> None:
    """Return when the notice was agreed to: now, by ``--i-have-consent``, or earlier, as it is noted in LIMNER_HOME.

    Asks on a terminal, once. Raises InputError, one line, where nobody can be asked or the answer is no.
    """
    record = home() / FILE
    if record.is_file() and json.loads(record.read_text(encoding="utf-8")).get("agreed"):
        return
    if not given:
        if not sys.stdin.isatty():
            raise InputError(f"{NOTICE} If they did, add --i-have-consent")
        print(f"{NOTICE} Agreed? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise InputError("not agreed: nothing was done")
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    write_json_atomic(record, {"agreed": True, "when": when, "notice": NOTICE})
