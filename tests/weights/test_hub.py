"""Pulling from a hub that behaves, breaks off, lies, or is not there."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from limner.errors import InputError
from limner.weights.hub import pull
from limner.weights.registry import Entry, HubSource, WeightFile
from limner.weights.store import check, installed

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


def make_entry(revision: str | None = COMMIT, files: tuple[WeightFile, ...] = ()) -> Entry:
    source = HubSource(repo="some/model", revision=revision, patterns=("*.json", "*.safetensors"))
    return Entry(
        name="some-model", summary="", licence="Some Licence 1.0", source="", trained_on="", hub=source, files=files
    )


def silent(_: str) -> None:
    pass


def test_pull_brings_the_wanted_files_and_only_those(hub, limner_home: Path) -> None:
    lines: list[str] = []
    found = pull(make_entry(), report=lines.append)
    assert found.folder == limner_home / "weights" / "some-model" / COMMIT
    assert {p.relative_to(found.folder).as_posix() for p in found.folder.rglob("*") if p.is_file()} == {
        "config.json",
        "net/model.safetensors",
    }
    assert (found.folder / "net/model.safetensors").read_bytes() == hub.files["net/model.safetensors"]
    assert "Some Licence 1.0" in lines[0]
    assert installed(make_entry()) == found
    check(found, hashes=True)


def test_second_pull_asks_for_no_file(hub) -> None:
    pull(make_entry(), report=silent)
    before = len(hub.requests)
    pull(make_entry(), report=silent)
    assert len(hub.requests) == before


def test_offline_uses_what_is_here_and_refuses_what_is_not(hub) -> None:
    with pytest.raises(InputError, match="without --offline"):
        pull(make_entry(), offline=True, report=silent)
    assert hub.requests == []
    pull(make_entry(), report=silent)
    assert pull(make_entry(), offline=True, report=silent).commit == COMMIT


def test_broken_connection_is_continued_where_it_stopped(hub) -> None:
    content = os.urandom(1 << 20) * 14
    hub.files["net/model.safetensors"] = content
    hub.cut["net/model.safetensors"] = 12 << 20
    found = pull(make_entry(), report=silent)
    assert (found.folder / "net/model.safetensors").read_bytes() == content
    first, second = hub.ranges("net/model.safetensors")
    assert first is None
    assert second is not None
    assert second.startswith("bytes=10485760-")  # huggingface_hub writes pieces of 10 MiB


def test_killed_pull_is_continued_by_the_next_process(hub, limner_home: Path) -> None:
    """`kill -9` in the middle: nothing counts as installed, and the next pull asks only for the rest."""
    content = os.urandom(1 << 20) * 12
    hub.files["net/model.safetensors"] = content
    hub.stall["net/model.safetensors"] = 11 << 20
    code = (
        "from limner.weights.hub import pull; from limner.weights.registry import Entry, HubSource;"
        f"source = HubSource(repo='some/model', revision='{COMMIT}', patterns=('*.json', '*.safetensors'));"
        "pull(Entry(name='some-model', summary='', licence='', source='', trained_on='', hub=source))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "HF_ENDPOINT": hub.url})
    part = limner_home / "weights" / "some-model" / COMMIT / ".partial" / "net" / "model.safetensors"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size >= 10 << 20):
        assert time.monotonic() < deadline, "the pull never got to the middle of the file"
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert installed(make_entry()) is None
    hub.stall.clear()
    hub.released.set()

    size = part.stat().st_size
    found = pull(make_entry(), report=silent)
    assert (found.folder / "net/model.safetensors").read_bytes() == content
    assert hub.ranges("net/model.safetensors") == [None, f"bytes={size}-"]
    assert hub.ranges("config.json") == [None]
    assert not part.exists()


def test_swapped_content_is_refused_and_removed(hub, limner_home: Path) -> None:
    true = hub.files["net/model.safetensors"]
    hub.instead["net/model.safetensors"] = bytes(reversed(true))
    with pytest.raises(InputError, match=r"net/model\.safetensors arrived with other content than promised") as caught:
        pull(make_entry(), report=silent)
    assert "\n" not in str(caught.value)
    assert installed(make_entry()) is None
    assert not list(limner_home.rglob("model.safetensors"))
    hub.instead.clear()
    pull(make_entry(), report=silent)


def test_swapped_small_file_is_refused_by_its_git_hash(hub) -> None:
    hub.instead["config.json"] = b'{"a": 2}'
    with pytest.raises(InputError, match=r"config\.json arrived with other content"):
        pull(make_entry(), report=silent)


def test_registered_hash_outranks_the_hub(hub) -> None:
    """The hub may be consistent with itself and still serve other weights than were registered."""
    size = len(hub.files["net/model.safetensors"])
    wrong = WeightFile(path="net/model.safetensors", size=size, sha256=hashlib.sha256(b"other").hexdigest())
    with pytest.raises(InputError, match="other content than promised"):
        pull(make_entry(files=(wrong,)), report=silent)


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"x"], ids=["short", "long"])
def test_file_of_another_size_stops_in_one_line(hub, change) -> None:
    hub.instead["net/model.safetensors"] = change(hub.files["net/model.safetensors"])
    with pytest.raises(InputError, match="stopped") as caught:
        pull(make_entry(), report=silent)
    assert "\n" not in str(caught.value)
    assert installed(make_entry()) is None
    hub.instead.clear()
    found = pull(make_entry(), report=silent)
    check(found, hashes=True)


def test_no_pinned_revision_must_be_named(hub) -> None:
    with pytest.raises(InputError, match="--revision"):
        pull(make_entry(revision=None), report=silent)
    found = pull(make_entry(revision=None), revision="main", report=silent)
    assert found.commit == COMMIT  # a branch is written down as the commit it meant


def test_another_revision_replaces_the_old_one(hub, limner_home: Path) -> None:
    pull(make_entry(), report=silent)
    hub.commit = OTHER
    hub.files["config.json"] = b'{"a": 3}'
    found = pull(make_entry(), revision=OTHER, report=silent)
    assert (found.folder / "config.json").read_bytes() == b'{"a": 3}'
    assert installed(make_entry()) == found
    folders = [p.name for p in (limner_home / "weights" / "some-model").iterdir() if p.is_dir()]
    assert folders == [OTHER]


def test_pickled_weights_are_not_pulled(hub) -> None:
    del hub.files["net/model.safetensors"]
    with pytest.raises(InputError, match="no safetensors"):
        pull(make_entry(), report=silent)


def test_listing_may_not_leave_its_folder(hub) -> None:
    hub.files["../../escape.safetensors"] = b"x" * 200
    with pytest.raises(InputError, match="leaves its folder"):
        pull(make_entry(), report=silent)


def test_faults_of_the_hub_are_one_line_each(hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no such revision"):
        pull(make_entry(revision=OTHER), report=silent)
    hub.gated = True
    with pytest.raises(InputError, match="accept its licence"):
        pull(make_entry(), report=silent)


def test_no_network_is_one_line(hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="pulling 'some-model' stopped") as caught:
        pull(make_entry(), report=silent)
    assert "\n" not in str(caught.value)


def test_damaged_store_is_noticed(hub) -> None:
    found = pull(make_entry(), report=silent)
    file = found.folder / "net/model.safetensors"
    content = file.read_bytes()
    for damaged, fault in ((content[:-1], "truncated"), (content + b"x", "over-long")):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=fault):
            check(found, hashes=False)
    file.write_bytes(bytes(reversed(content)))
    check(found, hashes=False)
    with pytest.raises(InputError, match="other content than registered"):
        check(found, hashes=True)
    file.unlink()
    with pytest.raises(InputError, match="missing"):
        check(found, hashes=False)


def test_damaged_manifest_is_one_line(hub, limner_home: Path) -> None:
    pull(make_entry(), report=silent)
    manifest = limner_home / "weights" / "some-model" / "manifest.json"
    manifest.write_text(json.dumps({"commit": COMMIT}))
    with pytest.raises(InputError, match="damaged"):
        installed(make_entry())
