"""What is installed and under which licences, read from packages' own metadata; needs no network.

    python tools/metadata.py licences            # refuse what the list below does not allow
    python tools/metadata.py sbom [--out FILE]   # a CycloneDX 1.6 bill of materials: packages and embedded weights

Both look at limner and everything it asks for, extras included, as far as it is installed here.
"""

from __future__ import annotations

import argparse
import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ALLOWED = (
    "0bsd", "apache", "boost", "bsd", "bsl-1.0", "hpnd", "historical permission", "isc", "mit", "mpl",
    "mozilla public", "psf", "python", "unlicense", "zlib", "cc0", "public domain", "expat",
)  # fmt: skip
# What says too little in its metadata, looked up in its own licence file.
LOOKED_UP: dict[str, str] = {}


def normal(name: str) -> str:
    """A package's name as pip compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(root: str = "limner") -> dict[str, Distribution]:
    """The package and all it requires that is installed, by name. Extras of the root count, of others what is asked."""
    found: dict[str, Distribution] = {}
    waiting = [(root, frozenset({"*"}))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (normal(name), extras) in seen:
            continue
        seen.add((normal(name), extras))
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # an extra that is not installed here
        found[normal(name)] = package
        for line in package.requires or []:
            need = Requirement(line)
            wanted = extras or {""}
            if "*" in wanted:
                wanted = set(package.metadata.get_all("Provides-Extra") or []) | {""}
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in wanted):
                waiting.append((need.name, frozenset(need.extras)))
    return dict(sorted(found.items()))


def licence(package: Distribution) -> str:
    """What a package says of its licence: the SPDX expression, the classifiers, or the free text's first line."""
    facts = package.metadata
    if expressions := facts.get_all("License-Expression"):
        return expressions[0]
    classifiers = [c.rpartition(" :: ")[2] for c in facts.get_all("Classifier") or [] if c.startswith("License ::")]
    classifiers = [c for c in classifiers if c != "OSI Approved"]
    if classifiers:
        return "; ".join(classifiers)
    text = (facts.get_all("License") or [""])[0].strip()
    return text.splitlines()[0][:80] if text else LOOKED_UP.get(normal(facts["Name"]), "unknown")


def allowed(said: str) -> bool:
    """Whether one of the alternatives is permissive, or weak copyleft of single files."""
    alternatives = re.split(r"\bOR\b|;", said, flags=re.IGNORECASE)
    return any(
        all(any(word in part.lower() for word in ALLOWED) for part in re.split(r"\bAND\b", one, flags=re.IGNORECASE))
        for one in alternatives
    )


def check() -> int:
    """Print packages whose licence is not on the list; the number of them is the status."""
    packages = closure()
    bad = {name: said for name, package in packages.items() if not allowed(said := licence(package))}
    for name, said in bad.items():
        print(f"{name}: {said}", file=sys.stderr)
    print(f"licences: {len(packages)} packages, {len(bad)} to look at")
    return int(bool(bad))


def bill() -> dict[str, Any]:
    """CycloneDX 1.6: packages with version and licence, weights with hashes and source."""
    from limner.weights.registry import registry

    packages = closure()
    own = packages.pop("limner")
    components: list[dict[str, Any]] = [
        {
            "type": "library", "name": name, "version": package.version.partition("+")[0],
            "purl": f"pkg:pypi/{name}@{package.version.partition('+')[0]}",
            "licenses": [{"license": {"name": licence(package)}}],
        }
        for name, package in packages.items()
    ]  # fmt: skip
    components += [
        {
            "type": "machine-learning-model", "name": f"{entry.name}/{file.path}",
            "hashes": [{"alg": "SHA-256", "content": file.sha256}],
            "licenses": [{"license": {"name": entry.licence}}],
        }
        for entry in registry().values() if entry.embedded for file in entry.files
    ]  # fmt: skip
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {"component": {"type": "application", "name": "limner", "version": own.version}},
        "components": components,
    }  # fmt: skip


def main() -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("licences", "sbom"))
    parser.add_argument("--out", type=Path, default=Path("sbom.json"))
    given = parser.parse_args()
    if given.what == "licences":
        return check()
    from limner.files import write_json_atomic

    write_json_atomic(given.out, bill())
    print(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
