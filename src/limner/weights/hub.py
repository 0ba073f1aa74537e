"""Pulling weights from the Hugging Face hub: one commit, every byte checked, resumable, switched over at the end.

huggingface_hub talks to the hub (endpoint, login, retries); what is on disk is ours, because its own downloads begin
again from zero after a killed process.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from filelock import FileLock

from limner.errors import InputError
from limner.files import make_folder, write_json_atomic, writing
from limner.weights.registry import Entry, WeightFile, hash_file
from limner.weights.store import MANIFEST, Installed, check, entry_folder, installed

T = TypeVar("T")


@dataclass(frozen=True)
class Remote:
    """One file on the hub. `sha256` is known for large (LFS) files, `git` (blob sha1) for the others."""

    path: str
    size: int
    sha256: str | None
    git: str | None


def pull(
    entry: Entry,
    revision: str | None = None,
    offline: bool = False,
    report: Callable[[str], None] = print,
) -> Installed:
    """Bring `entry` to this machine and return where it is; what is already here and whole is not fetched again.

    `revision` overrides the registry's commit (a branch or tag is resolved to its commit, which the manifest keeps).
    An interrupted pull is continued by the next one. `report` gets one line per step, the licence first.
    Raises InputError: no revision, `offline` and not here, no access, a network that fails, content that is not what
    the hub or the registry promised (such a file is removed).
    """
    report(f"{entry.name}: licence {entry.licence}")
    if entry.embedded:
        found = installed(entry)
        if found is None:
            raise InputError(f"weights '{entry.name}' are part of limner but not in this build: reinstall limner")
        check(found, hashes=True)
        report(f"{entry.name}: part of the package, {found.folder}")
        return found
    assert entry.hub is not None
    wanted = revision or entry.hub.revision
    found = _whole(entry, wanted)
    if found is not None:
        report(f"{entry.name}: already here, {found.folder}")
        return found
    if offline:
        raise InputError(f"weights '{entry.name}' are not on this machine: pull them once without --offline")
    if wanted is None:
        raise InputError(
            f"weights '{entry.name}' have no pinned revision yet: choose a commit at "
            f"https://huggingface.co/{entry.hub.repo}/commits/main and name it with --revision"
        )
    folder = entry_folder(entry)
    lock = FileLock(make_folder(folder) / ".lock")
    with writing(folder):
        lock.acquire()
    try:
        return _fetch(entry, wanted, report)
    finally:
        lock.release()


def _whole(entry: Entry, wanted: str | None) -> Installed | None:
    """The installed entry when it is of the wanted revision and its sizes are right."""
    found = installed(entry)
    if found is None or wanted not in (None, found.commit):
        return None
    try:
        check(found, hashes=False)
    except InputError:
        return None
    return found


def _fetch(entry: Entry, revision: str, report: Callable[[str], None]) -> Installed:
    assert entry.hub is not None
    commit, remotes = _list_remote(entry, revision)
    folder = entry_folder(entry)
    target = folder / commit
    total = sum(remote.size for remote in remotes)
    report(f"{entry.name}: {entry.hub.repo} at {commit[:12]}, {len(remotes)} files, {total / 1e6:,.1f} MB")
    registered = {file.path: file for file in entry.files}
    files = []
    for remote in remotes:
        path = target / remote.path
        if not (path.is_file() and path.stat().st_size == remote.size):
            report(f"{entry.name}: fetching {remote.path}")
            _download(entry, commit, remote, target)
        files.append(_accept(entry, remote, registered.get(remote.path), path))
    manifest = {"repo": entry.hub.repo, "commit": commit, "files": [asdict(file) for file in files]}
    write_json_atomic(folder / MANIFEST, manifest)
    shutil.rmtree(target / ".partial", ignore_errors=True)
    for other in folder.iterdir():  # older revisions: the manifest no longer names them
        if other.is_dir() and other != target:
            shutil.rmtree(other)
    report(f"{entry.name}: ready, {target}")
    return Installed(entry, target, tuple(files), commit)


def _list_remote(entry: Entry, revision: str) -> tuple[str, list[Remote]]:
    """The commit behind a revision and the files of the entry there."""
    from huggingface_hub import HfApi

    assert entry.hub is not None
    hub = entry.hub
    info = _ask(entry, lambda: HfApi().model_info(hub.repo, revision=revision, files_metadata=True))
    remotes = []
    for sibling in info.siblings or []:
        if any(fnmatch(sibling.rfilename, pattern) for pattern in hub.patterns):
            path = Path(sibling.rfilename)
            if path.is_absolute() or ".." in path.parts:
                raise InputError(
                    f"{hub.repo} lists the file {sibling.rfilename!r}, which leaves its folder: not pulled"
                )
            sha256 = sibling.lfs.sha256 if sibling.lfs else None
            remotes.append(Remote(sibling.rfilename, sibling.size or 0, sha256, None if sha256 else sibling.blob_id))
    if info.sha is None or not any(remote.path.endswith(".safetensors") for remote in remotes):
        raise InputError(
            f"{hub.repo} at {revision} has no safetensors files that fit {', '.join(hub.patterns)}: "
            "choose a revision that has (pickled weights are never loaded)"
        )
    return info.sha, remotes


def _download(entry: Entry, commit: str, remote: Remote, target: Path) -> None:
    """Fetch one file, continuing a part that an earlier attempt left, and give it its name when its size is right."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    assert entry.hub is not None
    part = target / ".partial" / remote.path
    make_folder(part.parent)
    done = part.stat().st_size if part.exists() else 0
    if done > remote.size:
        part.unlink()
        done = 0
    url = hf_hub_url(entry.hub.repo, remote.path, revision=commit)
    with open(part, "ab") as handle:
        _ask(
            entry,
            lambda: http_get(
                url,
                handle,
                resume_size=done,
                headers=build_hf_headers(),
                expected_size=remote.size,
                displayed_filename=remote.path,
            ),
        )
    final = target / remote.path
    make_folder(final.parent)
    part.replace(final)


def _accept(entry: Entry, remote: Remote, registered: WeightFile | None, path: Path) -> WeightFile:
    """Check a fetched file against what the hub and the registry say; a wrong one is removed."""
    size, digest = path.stat().st_size, hash_file(path)
    promised = [sha for sha in (remote.sha256, registered.sha256 if registered else None) if sha is not None]
    wrong = size != remote.size or any(digest != sha for sha in promised)
    if remote.git is not None:
        wrong = wrong or hash_file(path, "sha1", b"blob %d\0" % size) != remote.git
    if wrong:
        path.unlink()
        raise InputError(
            f"weights '{entry.name}': {remote.path} arrived with other content than promised "
            f"(sha256 {digest[:12]}…, {size:,} bytes); it was removed, pull again"
        )
    return WeightFile(path=remote.path, size=size, sha256=digest)


def _ask(entry: Entry, question: Callable[[], T]) -> T:
    """Put a question to the hub and turn what can go wrong there into one line that says what to do."""
    from huggingface_hub import errors

    assert entry.hub is not None
    page = f"https://huggingface.co/{entry.hub.repo}"
    try:
        return question()
    except errors.GatedRepoError as error:
        raise InputError(
            f"{entry.hub.repo} is gated: accept its licence at {page}, then run `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{entry.hub.repo} has no such revision: {page}/commits/main lists them") from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(f"{entry.hub.repo} was not found, or is private: see {page} and `hf auth login`") from error
    except errors.OfflineModeIsEnabled as error:
        raise InputError(f"weights '{entry.name}' cannot be pulled while HF_HUB_OFFLINE is set: unset it") from error
    except (_http_client().HTTPError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"pulling '{entry.name}' stopped ({reason}); pull again to continue where it was") from error


def _http_client() -> ModuleType:
    """The package huggingface_hub speaks HTTP with: httpx2 from its release 2 on, httpx before (on Python 3.10)."""
    import huggingface_hub

    return import_module("httpx" if huggingface_hub.__version__.startswith("1.") else "httpx2")
