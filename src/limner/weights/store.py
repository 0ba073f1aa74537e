"""Where weights lie on this machine, and whether they are what the registry says.

Embedded files live in the package, and are hashed once a process when an engine loads them (34 MB for a reader, under
0.1 s). Pulled ones live in `LIMNER_HOME`:

    <home>/weights/<name>/manifest.json     which commit, and the size and sha256 of every file; written last
    <home>/weights/<name>/<commit>/…        the files
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import platformdirs

from limner.errors import InputError, WeightsError
from limner.parsing import TextError, parse_json
from limner.weights.registry import EMBEDDED, Entry, WeightFile, find_entry, hash_file, registry

MANIFEST = "manifest.json"


def home() -> Path:
    """The one folder Limner writes downloads to: `LIMNER_HOME`, or the platform's cache folder for limner."""
    chosen = os.environ.get("LIMNER_HOME")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("limner")


def entry_folder(entry: Entry) -> Path:
    """The folder of an entry in the store (not of one revision of it)."""
    return home() / "weights" / entry.name


@dataclass(frozen=True)
class Installed:
    """Weights that are on this machine: the folder, the files expected in it, and the commit when they were pulled."""

    entry: Entry
    folder: Path
    files: tuple[WeightFile, ...]
    commit: str | None


def installed(entry: Entry) -> Installed | None:
    """What of `entry` is on this machine, or None. Looks at lists only; see `check` for the files themselves."""
    if entry.embedded:
        return Installed(entry, EMBEDDED / entry.name, entry.files, None) if entry.files else None
    manifest = entry_folder(entry) / MANIFEST
    try:
        data = parse_json(manifest.read_text(encoding="utf-8"))
        files = tuple(WeightFile(**file) for file in data["files"])
        return Installed(entry, entry_folder(entry) / data["commit"], files, data["commit"])
    except FileNotFoundError:
        return None
    except (TextError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{manifest} is damaged: remove it and run `limner models pull {entry.name}`") from error


@cache
def _hash_once(path: Path, size: int, modified: int) -> str:
    """The sha256 of a file; one that has since changed, by size or time, is another to this cache."""
    return hash_file(path)


def _remembered_hash(path: Path) -> str:
    facts = path.stat()
    return _hash_once(path, facts.st_size, facts.st_mtime_ns)


def check(found: Installed, hashes: bool, hash_of: Callable[[Path], str] = hash_file) -> None:
    """Raise WeightsError, one line, for the first file that is absent or of the wrong size (with `hashes`: content)."""
    if found.entry.embedded:
        remedy = "reinstall limner (`limner models verify` checks every file)"
    else:
        remedy = f"run `limner models pull {found.entry.name} --revision {found.commit}`"
    for file in found.files:
        path = found.folder / file.path
        if not path.is_file():
            raise WeightsError(f"weights '{found.entry.name}': {path} is missing; {remedy}")
        size = path.stat().st_size
        if size != file.size:
            fault = "truncated" if size < file.size else "over-long"
            raise WeightsError(
                f"weights '{found.entry.name}': {path} is {fault}, {size:,} bytes instead of {file.size:,}; {remedy}"
            )
        if hashes and (digest := hash_of(path)) != file.sha256:
            raise WeightsError(
                f"weights '{found.entry.name}': {path} has other content than registered "
                f"(sha256 {digest[:12]}… instead of {file.sha256[:12]}…); {remedy}"
            )


def require(name: str) -> Installed:
    """The installed weights of that name with their sizes checked; InputError says how to get them."""
    entry = find_entry(name)
    found = installed(entry)
    if found is None:
        way = "this build of limner does not contain them" if entry.embedded else f"run `limner models pull {name}`"
        raise WeightsError(f"weights '{name}' are not on this machine: {way}")
    check(found, hashes=False)
    return found


def known(source: str | os.PathLike[str]) -> Entry | Path:
    """What `source` means: an entry of the registry, or an existing file or folder. Looks at no weights.

    A registry name wins; write ./name for a folder of the same name. Raises InputError with the way out.
    """
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"weights are a registry name or a path, not {type(source).__name__}")
    path = Path(source).expanduser()
    if not (isinstance(source, str) and source in registry()) and path.exists():
        return path
    if not isinstance(source, str) or len(path.parts) > 1 or path.suffix == ".safetensors":
        raise InputError(
            f"there is no file or folder {path}: give an existing path or a name from `limner models list`"
        )
    return find_entry(source)


def locate(source: str | os.PathLike[str]) -> Path:
    """The folder of the weights called `source`, or the file itself when there is just one, for an engine to load.

    Where a name does, the path of an existing folder or file does too (see `known`). Sizes are checked here, and hashes
    of embedded files; those of pulled ones when pulling and by `limner models verify`, because they can take minutes.
    Raises InputError with the way out when nothing fits.
    """
    meant = known(source)
    if isinstance(meant, Path):
        return meant
    found = require(meant.name)
    if meant.embedded:
        check(found, hashes=True, hash_of=_remembered_hash)
    return found.folder / found.files[0].path if len(found.files) == 1 else found.folder


def verify(name: str) -> None:
    """Check size and sha256 of every file of the weights called `name`; InputError names the first bad one."""
    check(require(name), hashes=True)
