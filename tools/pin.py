"""Write constraints.txt: the exact versions in the environment this runs in, except limner itself.

    make constraints

Local version labels (torch's +cpu) are left out, so that the pins fit every build of a release. A release that an older
Python we support cannot take is pinned for the newer ones only; the older takes what the ranges allow.
"""

from __future__ import annotations

from importlib.metadata import distribution, distributions
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from limner.files import write_bytes_atomic

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
NOT_PINNED = {"limner", "pip", "setuptools", "wheel"}
HEADER = "# What the test suite ran with. Ranges stand in pyproject.toml; `make constraints` writes this file.\n"


def marker(requires: str, ours: Marker | None) -> str:
    """`; python_version >= '3.11'` for a package that not every Python of ours can take; "" for one that all can.

    requires: the package's own Requires-Python. ours: what pyproject.toml says of the range that holds here.
    """
    fitting = [
        python
        for python in PYTHONS
        if SpecifierSet(requires).contains(f"{python}.99")
        and (ours is None or ours.evaluate({"python_version": python, "extra": ""}))
    ]
    return "" if fitting[0] == PYTHONS[0] else f"; python_version >= '{fitting[0]}'"


def main() -> None:
    """The command line above."""
    ranges = [Requirement(line) for line in distribution("limner").requires or []]
    ours = {canonicalize_name(given.name): given.marker for given in ranges if given.marker and given.marker.evaluate()}
    pins = {}
    for package in distributions():
        name = canonicalize_name(package.metadata["Name"])
        if name not in NOT_PINNED:
            requires = str(package.metadata.json.get("requires_python") or "")
            pins[name] = package.version.partition("+")[0] + marker(requires, ours.get(name))
    text = HEADER + "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))
    write_bytes_atomic(Path(__file__).parents[1] / "constraints.txt", text.encode())
    print(f"{len(pins)} packages pinned")


if __name__ == "__main__":
    main()
