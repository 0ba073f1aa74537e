"""Known vulnerabilities of what constraints.txt pins, by pip-audit: `make audit`. Needs a network.

    python tools/audit.py PIP_AUDIT [--offline-ok]

Status 0: none known. 1: some. 3: the database could not be reached, or knows none of the packages, so nothing is known
(0 with --offline-ok, which says so all the same).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

UNREACHABLE = re.compile(r"ConnectionError|ConnectTimeout|Max retries|Name or service|ServiceError|ProxyError|resolve")
NOTHING = 3


def audit(pip_audit: str) -> int:
    """Run pip-audit on the pins and tell what it found, what it could not look up, and whether it looked at all."""
    pins = Path(__file__).parents[1] / "constraints.txt"
    ended = subprocess.run(
        [pip_audit, "--requirement", str(pins), "--no-deps", "--disable-pip", "--progress-spinner", "off",
         "--format", "json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ended.returncode and UNREACHABLE.search(ended.stderr):
        print("the vulnerability database cannot be reached from here: nothing was checked", file=sys.stderr)
        return NOTHING
    try:
        packages = json.loads(ended.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"pip-audit failed (status {ended.returncode}):\n{ended.stdout}{ended.stderr}", file=sys.stderr)
        return 1
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        # pip-audit itself calls this "No known vulnerabilities found"
        print("the vulnerability database answers, but knows none of the packages: nothing was checked",
              file=sys.stderr)  # fmt: skip
        return NOTHING
    found = [package for package in packages if package.get("vulns")]
    for package in found:
        for entry in package["vulns"]:
            mended = ", ".join(entry["fix_versions"]) or "no release yet"
            print(f"{package['name']} {package['version']}: {entry['id']}, mended in {mended}")
    if unknown:
        print(f"not in the database, so not checked: {', '.join(unknown)}", file=sys.stderr)
    print(f"vulnerabilities: {len(packages) - len(unknown)} packages checked, {len(found)} to look at")
    return int(bool(found))


def main() -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pip_audit")
    parser.add_argument("--offline-ok", action="store_true")
    given = parser.parse_args()
    status = audit(given.pip_audit)
    return 0 if status == NOTHING and given.offline_ok else status


if __name__ == "__main__":
    sys.exit(main())
