"""Write constraints.txt: the exact versions in the environment this runs in, except limner itself.

    make constraints

Local version labels (torch's +cpu) are left out, so that the pins fit every build of a release.
"""

from __future__ import annotations

import re
from importlib.metadata import distributions
from pathlib import Path

from limner.files import write_bytes_atomic

NOT_PINNED = {"limner", "pip", "setuptools", "wheel"}
HEADER = "# What the test suite ran with. Ranges stand in pyproject.toml; `make constraints` writes this file.\n"


def main() -> None:
    pins = {}
    for distribution in distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if name not in NOT_PINNED:
            pins[name] = distribution.version.partition("+")[0]
    text = HEADER + "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))
    write_bytes_atomic(Path(__file__).parents[1] / "constraints.txt", text.encode())
    print(f"{len(pins)} packages pinned")


if __name__ == "__main__":
    main()
