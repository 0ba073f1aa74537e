"""What weights there are: name, files, sizes, sha256, licence, source, and what they were trained on.

`registry.json` beside this file is the list. Its texts are written by hand; sizes and hashes of embedded files are
written by `python -m limner.weights.registry --refresh`, which prints what changed.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from limner.errors import InputError
from limner.files import write_json_atomic

REGISTRY_FILE = Path(__file__).with_name("registry.json")
EMBEDDED = Path(__file__).with_name("files")


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """One file of an entry. `size` in bytes; `sha256` in lower-case hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """Where on the Hugging Face hub an entry is pulled from.

    `revision` is a full commit hash, or None when no commit has been checked yet: the user then names one.
    `patterns` select files as shell globs. `gated` means the licence must be accepted on the model's page first.
    """

    repo: str
    revision: str | None
    patterns: tuple[str, ...]
    gated: bool = False


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One set of weights. `hub` is None when its files come with the package (see `files`)."""

    name: str
    summary: str
    licence: str
    source: str
    trained_on: str
    files: tuple[WeightFile, ...] = ()
    hub: HubSource | None = None

    @property
    def embedded(self) -> bool:
        """Whether the files come with the package."""
        return self.hub is None

    @property
    def size(self) -> int:
        """Bytes of all listed files; 0 for an entry whose files only the hub lists."""
        return sum(file.size for file in self.files)


@lru_cache(maxsize=1)
def registry() -> MappingProxyType[str, Entry]:
    """All entries by name, in the order of the file."""
    return parse_registry(json.loads(REGISTRY_FILE.read_text(encoding="utf-8")))


def parse_registry(data: dict[str, Any]) -> MappingProxyType[str, Entry]:
    """Entries from decoded JSON.

    Raises ValueError for a revision that is not a commit and for a file path that leaves its folder.
    """
    entries: dict[str, Entry] = {}
    for name, fields in data.items():
        fields = dict(fields)
        hub = fields.pop("hub", None)
        if hub is not None:
            hub = HubSource(**{**hub, "patterns": tuple(hub["patterns"])})
            if hub.revision is not None and not re.fullmatch(r"[0-9a-f]{40}", hub.revision):
                raise ValueError(f"registry entry '{name}': revision {hub.revision!r} is not a 40-digit commit hash")
        files = tuple(WeightFile(**file) for file in fields.pop("files", []))
        for file in files:
            if Path(file.path).is_absolute() or ".." in Path(file.path).parts:
                raise ValueError(f"registry entry '{name}': file {file.path!r} leaves the entry's folder")
        entries[name] = Entry(name=name, hub=hub, files=files, **fields)
    return MappingProxyType(entries)


def find_entry(name: str) -> Entry:
    """The entry of that name; InputError with the nearest names otherwise."""
    known = registry()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else "`limner models list` shows all names"
    raise InputError(f"no weights are called '{name}': {hint}")


def hash_file(path: Path, algorithm: str = "sha256", prefix: bytes = b"") -> str:
    """Hex digest of `prefix` followed by a file's content, read in pieces."""
    digest = hashlib.new(algorithm, prefix)
    with open(path, "rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def refresh(registry_file: Path = REGISTRY_FILE, embedded: Path = EMBEDDED) -> list[str]:
    """Measure every embedded file again, write the registry, and return one line per change.

    Raises ValueError for a folder under `embedded` that no entry describes: licence and source must be written first.
    """
    data = json.loads(registry_file.read_text(encoding="utf-8"))
    folders = {folder.name for folder in embedded.iterdir() if folder.is_dir() and any(folder.iterdir())}
    strangers = sorted(folders - {name for name, fields in data.items() if "hub" not in fields})
    if strangers:
        raise ValueError(f"{embedded / strangers[0]} has no entry in {registry_file.name}: describe it there first")
    changes: list[str] = []
    for name, fields in data.items():
        if "hub" in fields:
            continue
        before = {file["path"]: file for file in fields.get("files", [])}
        folder = embedded / name
        after: dict[str, dict[str, Any]] = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                key = path.relative_to(folder).as_posix()
                after[key] = {"path": key, "size": path.stat().st_size, "sha256": hash_file(path)}
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key):
                verb = "added" if key not in before else "removed" if key not in after else "changed"
                changes.append(f"{verb} {name}/{key}")
        fields["files"] = list(after.values())
    write_json_atomic(registry_file, data)
    return changes


def main() -> None:
    """Maintainer's command; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m limner.weights.registry", description=main.__doc__)
    parser.add_argument(
        "--refresh", action="store_true", required=True, help="measure embedded files and rewrite the list"
    )
    parser.parse_args()
    for line in refresh() or ["nothing changed"]:
        print(line)


if __name__ == "__main__":
    main()
