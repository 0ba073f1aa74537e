"""The list of weights, and the files that come with the package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from limner.errors import InputError, WeightsError
from limner.weights.registry import EMBEDDED, REGISTRY_FILE, find_entry, hash_file, parse_registry, refresh, registry
from limner.weights.store import locate, verify

EMBEDDED_NAMES = [entry.name for entry in registry().values() if entry.embedded]


def test_every_entry_says_where_it_comes_from() -> None:
    for entry in registry().values():
        assert entry.summary
        assert entry.licence
        assert entry.source
        assert entry.trained_on


@pytest.mark.parametrize("name", EMBEDDED_NAMES)
def test_embedded_files_are_what_the_registry_says(name: str) -> None:
    assert find_entry(name).files, f"{name} has no files: add them and refresh the registry"
    verify(name)


@pytest.mark.parametrize("name", EMBEDDED_NAMES)
def test_embedded_network_is_credited(name: str) -> None:
    """NOTICE names every network; the registry names the source, and for our own the model card, which is there."""
    root = Path(__file__).parents[2]
    assert name in (root / "NOTICE").read_text(encoding="utf-8")
    source = find_entry(name).source
    if source.startswith("trained with limner"):
        assert (root / "docs" / "models" / f"{name}.md").is_file()
        assert f"docs/models/{name}.md" in source
    else:
        assert "==" in source or "@" in source, "the package and its version"


def test_no_embedded_file_is_unregistered() -> None:
    registered = {
        f"{entry.name}/{file.path}" for entry in registry().values() for file in entry.files if entry.embedded
    }
    found = {p.relative_to(EMBEDDED).as_posix() for p in EMBEDDED.rglob("*") if p.is_file() and p.name[0] != "."}
    assert found == registered


def test_package_stays_within_its_budget() -> None:
    sizes = {name: find_entry(name).size for name in EMBEDDED_NAMES}
    assert sum(sizes.values()) <= 170e6
    for name, limit in {"minilm": 25e6, "face-parser": 6e6, "kl-codec-nano": 14e6}.items():
        assert sizes[name] <= limit, f"{name} is {sizes[name] / 1e6:.1f} MB"


def test_refresh_tells_added_changed_and_removed(tmp_path: Path) -> None:
    words = {"summary": "s", "licence": "l", "source": "o", "trained_on": "t"}
    listing = tmp_path / "registry.json"
    files = tmp_path / "files"
    (files / "net").mkdir(parents=True)
    (files / "net" / "a.bin").write_bytes(b"one")
    listing.write_text(
        json.dumps({"net": words, "far": {**words, "hub": {"repo": "r/m", "revision": None, "patterns": []}}})
    )
    assert refresh(listing, files) == ["added net/a.bin"]
    assert refresh(listing, files) == []
    (file,) = parse_registry(json.loads(listing.read_text()))["net"].files
    assert (file.size, file.sha256) == (3, hash_file(files / "net" / "a.bin"))
    (files / "net" / "a.bin").write_bytes(b"two")
    (files / "net" / "b.bin").write_bytes(b"")
    assert refresh(listing, files) == ["changed net/a.bin", "added net/b.bin"]
    (files / "net" / "a.bin").unlink()
    assert refresh(listing, files) == ["removed net/a.bin"]


def test_refresh_refuses_files_nobody_described(tmp_path: Path) -> None:
    (tmp_path / "files" / "stranger").mkdir(parents=True)
    (tmp_path / "files" / "stranger" / "x.bin").write_bytes(b"x")
    (tmp_path / "registry.json").write_text("{}")
    with pytest.raises(ValueError, match="stranger"):
        refresh(tmp_path / "registry.json", tmp_path / "files")


def test_registry_is_as_refresh_would_write_it() -> None:
    data = json.loads(REGISTRY_FILE.read_text(encoding="utf-8"))
    assert REGISTRY_FILE.read_text(encoding="utf-8") == json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def test_revisions_are_commits_and_paths_stay_inside() -> None:
    words = {"summary": "s", "licence": "l", "source": "o", "trained_on": "t"}
    with pytest.raises(ValueError, match="commit"):
        parse_registry({"x": {**words, "hub": {"repo": "r/m", "revision": "main", "patterns": []}}})
    with pytest.raises(ValueError, match="leaves"):
        parse_registry({"x": {**words, "files": [{"path": "../y", "size": 1, "sha256": ""}]}})


def test_unknown_name_suggests_the_near_one() -> None:
    with pytest.raises(InputError, match="did you mean minilm"):
        find_entry("minilmm")
    with pytest.raises(InputError, match="limner models list"):
        find_entry("zzz")


def test_locate_gives_a_file_a_folder_or_the_users_own_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate("efficientnet-lite0").name == "model.safetensors"  # one file: the file
    assert locate("minilm") == EMBEDDED / "minilm"  # several: the folder
    assert locate(tmp_path) == tmp_path
    assert locate(str(tmp_path)) == tmp_path
    (tmp_path / "minilm").mkdir()
    monkeypatch.chdir(tmp_path)
    assert locate("minilm") == EMBEDDED / "minilm"
    assert locate("./minilm").resolve() == tmp_path / "minilm"


def test_locate_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file or folder"):
        locate(tmp_path / "nothing")
    with pytest.raises(InputError, match="no file or folder"):
        locate("some/where.safetensors")
    with pytest.raises(InputError, match="limner models pull clip-l"):
        locate("clip-l")


@pytest.mark.parametrize(
    ("name", "file"),
    [("face-mesh", "mesh.tflite"), ("age-gender", "age.onnx"), ("face-parser", "model.safetensors")],
)
def test_weights_with_other_content_are_never_loaded(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the right size, so only their hash tells; the whole ones beside it load, before and after."""
    place = tmp_path / "files"
    shutil.copytree(EMBEDDED / name, place / name)
    monkeypatch.setattr("limner.weights.store.EMBEDDED", place)
    assert locate(name).exists()
    whole = (place / name / file).read_bytes()
    middle = len(whole) // 2
    (place / name / file).write_bytes(whole[:middle] + bytes(64) + whole[middle + 64 :])
    with pytest.raises(WeightsError, match=rf"{file} has other content .*`limner models verify`") as caught:
        locate(name)
    assert "\n" not in str(caught.value)
    (place / name / file).write_bytes(whole)
    assert locate(name).exists()


def test_embedded_weights_are_hashed_once_a_process() -> None:
    """The second time a process loads weights, no file is read: the hash is remembered."""
    from limner.weights import store

    for name in EMBEDDED_NAMES:
        locate(name)
    before = store._hash_once.cache_info().misses
    for name in EMBEDDED_NAMES:
        locate(name)
    assert store._hash_once.cache_info().misses == before
