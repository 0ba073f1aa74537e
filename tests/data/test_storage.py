"""Sources and sets in stores: the same as on a disk, over a real client and a real server on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from limner.data import build as build_module
from limner.data import storage
from limner.data.build import build
from limner.data.shards import made_with, read_shards, shard_files
from limner.data.sources import open_sources
from limner.data.stages import RecordSettings
from limner.data.storage import Remote, list_files, open_place, walk, write
from limner.data.stream import Stream
from limner.errors import InputError

sys.path.insert(0, str(Path(__file__).parent))
import plain_reader
from plain_reader import make_pictures
from store_server import Store, serving

SETTINGS = RecordSettings(captions=1, prompts=1, questions=2, min_size=30)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch):
    with serving() as running:
        for name, value in {
            "AWS_ENDPOINT_URL": running.url, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        storage._system.cache_clear()
        yield running
    storage._system.cache_clear()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "BLOCK", 8)
    monkeypatch.setattr(build_module, "BATCH", 3)


def upload(store: Store, folder: Path, below: str) -> None:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            store.objects[f"{below}/{file.relative_to(folder).as_posix()}"] = file.read_bytes()


@pytest.mark.parametrize("scheme", ["s3", "memory"])
def test_a_place_in_a_store_answers_like_a_path(store: Store, scheme: str) -> None:
    folder = open_place(f"{scheme}://shelf/deep/er")
    assert isinstance(folder, Remote) and str(folder / "a.txt") == f"{scheme}://shelf/deep/er/a.txt"
    assert not (folder / "a.txt").exists() and not (folder / "a.txt").is_file()
    for name in ("b.json", "a.txt", "low/c.json", ".hidden/d.json"):
        write(folder / name, name.encode() * 1000)
    assert (folder / "a.txt").is_file() and folder.is_dir() and folder.exists() and not folder.is_file()
    assert (folder / "a.txt").read_bytes() == b"a.txt" * 1000 and (folder / "a.txt").stat().st_size == 5000
    assert [place.name for place in list_files(folder, ".json")] == ["b.json"]
    below = [place.relative_to(folder).as_posix() for place in walk(folder)]  # type: ignore[arg-type]
    assert below == ["a.txt", "b.json", "low/c.json"]
    write(folder / "a.txt", b"new")
    assert (folder / "a.txt").read_text() == "new"
    (folder / "a.txt").unlink()
    (folder / "a.txt").unlink(missing_ok=True)
    assert not (folder / "a.txt").exists()
    with pytest.raises(OSError):
        (folder / "a.txt").read_bytes()


def test_a_set_built_from_and_into_a_store_is_the_same_set(store: Store, tmp_path: Path) -> None:
    photos = make_pictures(tmp_path / "photos", 13)
    upload(store, photos, "shelf/photos")
    here = build(open_sources([photos]), tmp_path / "set", SETTINGS, 1, load_reader=plain_reader.load)
    items = open_sources(["s3://shelf/photos"])
    there = build(items, "s3://shelf/set", SETTINGS, 1, load_reader=plain_reader.load)
    assert there == here
    built = {
        key.removeprefix("shelf/set/"): data for key, data in store.objects.items() if key.startswith("shelf/set/")
    }
    on_disk = {f.relative_to(tmp_path / "set").as_posix(): f.read_bytes() for f in (tmp_path / "set").rglob("*.*")}
    assert built == on_disk
    assert read_shards("s3://shelf/set").equals(read_shards(tmp_path / "set"))
    assert made_with(shard_files("s3://shelf/set")[0])["version"]
    rows = [row["id"] for _, row in Stream("s3://shelf/set", columns=["id"], lanes=2).rows()]
    assert rows == [row["id"] for _, row in Stream(tmp_path / "set", columns=["id"], lanes=2).rows()]


def test_a_build_into_a_store_goes_on(store: Store, tmp_path: Path) -> None:
    upload(store, make_pictures(tmp_path / "photos", 21), "shelf/photos")
    items = open_sources(["s3://shelf/photos"])
    build(items, "s3://shelf/set", SETTINGS, 1, load_reader=plain_reader.load)
    whole = dict(store.objects)
    for name in [key for key in store.objects if "00001" in key]:
        del store.objects[name]
    seen = []
    build(items, "s3://shelf/set", SETTINGS, 1, load_reader=plain_reader.load, progress=seen.append)
    assert seen[0].kept == 13 and store.objects == whole
    build(items, "s3://shelf/set", SETTINGS, 1, load_reader=lambda: pytest.fail("nothing is left to read"))
    with pytest.raises(InputError, match="settings"):
        build(items, "s3://shelf/set", RecordSettings(captions=2), 1, load_reader=plain_reader.load)


def test_lists_and_built_sets_in_a_store_are_sources(store: Store, tmp_path: Path) -> None:
    upload(store, make_pictures(tmp_path / "photos", 3), "shelf/photos")
    lines = [{"path": "photos/000.png"}, {"path": "s3://shelf/photos/002.png", "licence": "CC0"}]
    store.objects["shelf/list.jsonl"] = "\n".join(map(json.dumps, lines)).encode()
    items = open_sources(["s3://shelf/list.jsonl"])
    assert [item.load()[:4] for item in items] == [b"\x89PNG"] * 2 and items[1].licence == "CC0"
    build(items, "s3://shelf/set", SETTINGS, 1, load_reader=plain_reader.load)
    again = open_sources(["s3://shelf/set"])
    assert [item.id for item in again] == [item.id for item in items] and again[0].load()[:2] == b"\xff\xd8"
    one = open_sources(["s3://shelf/photos/001.png"])
    assert [item.id for item in one] == ["001/001.png"]


def test_what_fsspec_knows_is_a_store_too(tmp_path: Path) -> None:
    """Its own file system in memory, in the place of those that need a network, such as hf://."""
    folder = make_pictures(tmp_path / "photos", 3)
    for file in folder.iterdir():
        write(open_place(f"memory://shelf/photos/{file.name}"), file.read_bytes())
    build(open_sources([folder]), tmp_path / "set", SETTINGS, 1, load_reader=plain_reader.load)
    build(open_sources(["memory://shelf/photos"]), "memory://shelf/set", SETTINGS, 1, load_reader=plain_reader.load)
    found, on_disk = read_shards("memory://shelf/set", ["id", "image"]), read_shards(tmp_path / "set", ["id", "image"])
    assert found.equals(on_disk) and found.num_rows == 3
    rows = [row["id"] for _, row in Stream("memory://shelf/set", columns=["id"]).rows()]
    assert sorted(rows) == sorted(found["id"].to_pylist())


def test_what_cannot_be_opened_is_one_line(store: Store) -> None:
    for place, message in (("s3://shelf/nothing", "no file or folder"), ("what://ever/x", "cannot open what://ever")):
        with pytest.raises(InputError, match=message) as caught:
            open_sources([place])
        assert "\n" not in str(caught.value)


def test_pictures_that_vanish_are_errors_of_their_own(store: Store, tmp_path: Path) -> None:
    upload(store, make_pictures(tmp_path / "photos", 3), "shelf/photos")
    items = open_sources(["s3://shelf/photos"])
    del store.objects["shelf/photos/001.png"]
    manifest = build(items, "s3://shelf/set", SETTINGS, 1, load_reader=plain_reader.load)
    assert manifest["rows"] == 2 and manifest["errors"] == 1
