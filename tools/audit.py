"""Known vulnerabilities of what constraints.txt pins, by pip-audit: `make audit`. Needs a network.

Status 0: none known. 1: some. 3: the database could not be reached, so nothing is known.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

UNREACHABLE = re.compile(r"ConnectionError|ConnectTimeout|Max retries|Name or service|ServiceError|ProxyError|resolve")


def main(pip_audit: str) -> int:
    """Run pip-audit on the pins, and tell its failures from its findings."""
    pins = Path(__file__).parents[1] / "constraints.txt"
    ended = subprocess.run(
        [pip_audit, "--requirement", str(pins), "--no-deps", "--disable-pip", "--progress-spinner", "off"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ended.returncode and UNREACHABLE.search(ended.stderr):
        print("the vulnerability database cannot be reached from here: nothing was checked", file=sys.stderr)
        return 3
    print(ended.stdout, end="")
    print(ended.stderr, end="", file=sys.stderr)
    return int(bool(ended.returncode))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
