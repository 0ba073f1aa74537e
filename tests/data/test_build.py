"""Building sets: whatever happens to the machine or the files, the rows are the same, whole, and there once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from limner.data import build as build_module
from limner.data.build import build
from limner.data.shards import FIELDS, as_arrays, iterate, made_with, read_shards, shard_files, unpack_attributes
from limner.data.sources import open_sources
from limner.data.stages import RecordSettings, choose_split
from limner.errors import InputError, WeightsError
from limner.weights.registry import find_entry

sys.path.insert(0, str(Path(__file__).parent))
import plain_reader
from plain_reader import make_pictures

SETTINGS = RecordSettings(captions=1, prompts=1, questions=2, min_size=30)


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read_shards(folder).to_pylist()}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "BLOCK", 8)
    monkeypatch.setattr(build_module, "BATCH", 3)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("sources") / "photos", 21)


@pytest.fixture
def built(photos: Path, tmp_path: Path) -> Path:
    build(open_sources([photos]), tmp_path / "set", SETTINGS, workers=1, load_reader=plain_reader.load)
    return tmp_path / "set"


def test_every_picture_gives_one_whole_row(built: Path) -> None:
    table = read_shards(built)
    assert table.column_names == [name for name, _ in FIELDS]
    assert table.num_rows == 21 == len(set(table["id"].to_pylist()))
    row = as_arrays(rows_of(built)["photos/004.png"])
    assert row["image"]["bytes"][:2] == b"\xff\xd8" and row["regions"]["bytes"][:4] == b"\x89PNG"
    assert row["landmarks"].shape == (468, 3) and row["crop"].shape == (2, 3) and row["identity"].shape == (128,)
    assert row["w"] is None and len(row["captions"]) == 1 and len(row["questions"]) == 2 and len(row["stated"]) == 2
    assert row["source"] == "photos" and row["licence"] == "unknown" and row["person"] == "photos/004.png"


def test_attributes_come_back_as_they_were(built: Path) -> None:
    stored = rows_of(built)["photos/000.png"]["attributes"]
    found = unpack_attributes(stored)
    assert isinstance(found["age"].value, float) and isinstance(found["glasses"].value, bool)
    assert isinstance(found["hair_colour"].value, str) and 0 <= found["hair_colour"].confidence <= 1


def test_words_state_what_the_row_measured(built: Path) -> None:
    for row in iterate(built):
        found = unpack_attributes(row["attributes"])
        for entry in row["stated"]:
            for name, value in json.loads(entry["facts"]).items():
                assert found[name].value == pytest.approx(value) if name == "age" else found[name].value == value


def test_rows_do_not_depend_on_workers(photos: Path, built: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    build(open_sources([photos]), other, SETTINGS, workers=2, load_reader=plain_reader.load)
    assert rows_of(other) == rows_of(built)
    for one, two in zip(shard_files(built), shard_files(other), strict=True):
        assert one.name == two.name and one.read_bytes() == two.read_bytes()


def test_datasets_opens_it_with_pictures(built: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    rows = load_dataset("parquet", data_dir=str(built / "data"), cache_dir=str(tmp_path / "cache"))
    assert sum(part.num_rows for part in rows.values()) == 21  # type: ignore[union-attr]
    row = rows["train"][0]  # type: ignore[index]
    assert row["image"].size == (256, 256) and row["regions"].mode == "L"
    assert len(row["landmarks"]) == 468 * 3 and isinstance(row["captions"][0], str) and row["questions"][0]["kind"]
    whole = load_dataset(str(built), cache_dir=str(tmp_path / "cache"))
    assert set(whole) == set(rows)  # type: ignore[arg-type]


def test_a_second_run_changes_nothing(photos: Path, built: Path) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in shard_files(built)}
    seen = []
    build(
        open_sources([photos]), built, SETTINGS, 1, progress=seen.append, load_reader=lambda: pytest.fail("read again")
    )
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in shard_files(built)} == before
    assert seen[0].kept == 21


def test_a_larger_limit_goes_on(photos: Path, built: Path, tmp_path: Path) -> None:
    items = open_sources([photos])
    build(items[:10], tmp_path / "grown", SETTINGS, 1, load_reader=plain_reader.load)
    build(items, tmp_path / "grown", SETTINGS, 1, load_reader=plain_reader.load)
    assert rows_of(tmp_path / "grown") == rows_of(built)
    with pytest.raises(InputError, match="more than these sources"):
        build(items[:5], tmp_path / "grown", SETTINGS, 1, load_reader=plain_reader.load)
    build(items[:5], tmp_path / "grown", SETTINGS, 1, rebuild=True, load_reader=plain_reader.load)
    assert len(rows_of(tmp_path / "grown")) == 5


def test_other_settings_are_refused_or_rebuilt(photos: Path, built: Path) -> None:
    other = RecordSettings(captions=2, prompts=1, questions=2, min_size=30)
    with pytest.raises(InputError, match=r"settings.*--rebuild"):
        build(open_sources([photos]), built, other, 1, load_reader=plain_reader.load)
    build(open_sources([photos]), built, other, 1, rebuild=True, load_reader=plain_reader.load)
    assert all(len(row["captions"]) == 2 for row in rows_of(built).values())


def test_a_lost_shard_is_made_again(photos: Path, built: Path) -> None:
    before = rows_of(built)
    shard_files(built)[0].unlink()
    build(open_sources([photos]), built, SETTINGS, 1, load_reader=plain_reader.load)
    assert rows_of(built) == before


def test_bad_files_are_reported_and_skipped(photos: Path, tmp_path: Path) -> None:
    mixed = make_pictures(tmp_path / "mixed", 6)
    (mixed / "001.png").write_bytes((mixed / "001.png").read_bytes()[:300])
    (mixed / "002.png").write_text("not a picture")
    Image.new("RGB", (96, 96)).save(mixed / "003.png")  # dark: no face
    Image.new("RGB", (40, 40), "red").save(mixed / "004.png")  # the face in it is 20 pixels wide
    manifest = build(open_sources([mixed]), tmp_path / "set", SETTINGS, 1, load_reader=plain_reader.load)
    assert sorted(rows_of(tmp_path / "set")) == ["mixed/000.png", "mixed/005.png"] and manifest["errors"] == 4
    errors = {
        e["id"]: e["reason"] for e in map(json.loads, (tmp_path / "set" / "errors.jsonl").read_text().splitlines())
    }
    assert set(errors) == {f"mixed/00{k}.png" for k in (1, 2, 3, 4)}
    assert all(errors[f"mixed/00{k}.png"].startswith(f"00{k}.png is ") for k in (1, 2))
    assert errors["mixed/003.png"] == "no face found" and "20 pixels wide" in errors["mixed/004.png"]


def test_splits_keep_people_together(tmp_path: Path) -> None:
    for k in range(20):
        make_pictures(tmp_path / "people" / f"person{k}", 3)
    items = open_sources([tmp_path / "people"])
    build(
        items,
        tmp_path / "set",
        RecordSettings(captions=0, prompts=0, questions=0, shares=(40, 30, 30), min_size=30),
        1,
        load_reader=plain_reader.load,
    )
    splits: dict[str, set[str]] = {}
    for row in rows_of(tmp_path / "set").values():
        splits.setdefault(row["person"], set()).add(row["split"])
    assert len(splits) == 20 and all(len(found) == 1 for found in splits.values())
    assert len({name for found in splits.values() for name in found}) == 3
    for split in ("train", "validation", "test"):
        assert set(read_shards(tmp_path / "set", ["split"], split)["split"].to_pylist()) == {split}


def test_shares_are_kept() -> None:
    splits = [choose_split(f"person {k}", (90, 5, 5)) for k in range(4000)]
    assert abs(splits.count("train") / 4000 - 0.9) < 0.02 and abs(splits.count("test") / 4000 - 0.05) < 0.015
    assert {choose_split("x", (0, 0, 100))} == {"test"}


def test_shards_say_what_made_them(built: Path) -> None:
    made = made_with(shard_files(built)[0])
    assert made["version"] and len(made["code"]) == 16 and "face-mesh" in made["weights"]
    manifest = json.loads((built / "manifest.json").read_text())
    assert manifest["complete"] and manifest["rows"] == 21 and sum(manifest["splits"].values()) == 21
    assert str(Path.home()) not in json.dumps(manifest)


def test_a_folder_with_other_things_is_left_alone(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="other files"):
        build(open_sources([photos]), tmp_path / "mine", SETTINGS, 1, load_reader=plain_reader.load)
    with pytest.raises(InputError, match="no built set"):
        read_shards(tmp_path / "mine")
    with pytest.raises(InputError, match="workers"):
        build(open_sources([photos]), tmp_path / "new", SETTINGS, 0, load_reader=plain_reader.load)


def test_every_network_that_is_read_with_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """All engines of the reader, loaded: whatever they ask the store for stands in a shard's `weights`."""
    from limner.faces.reader import FaceReader
    from limner.weights import store

    asked: set[str] = set()

    def noted(name: str):
        asked.add(name)
        return store.Installed(entry := find_entry(name), store.EMBEDDED / name, entry.files, None)

    monkeypatch.setattr(store, "require", noted)
    reader = FaceReader.load()
    for engine, value in vars(FaceReader).items():
        if isinstance(value, cached_property):
            getattr(reader, engine)
    assert len(asked) >= 9 and asked <= set(build_module.weight_hashes())


def test_damaged_weights_end_the_build(photos: Path, tmp_path: Path) -> None:
    """They are no picture's fault: nothing is marked as done, so the build goes on once they are mended."""

    class Damaged(plain_reader.PlainReader):
        def read(self, photo, min_score=0.5):
            raise WeightsError("weights 'face-mesh': damaged")

    with pytest.raises(WeightsError, match="face-mesh"):
        build(open_sources([photos]), tmp_path / "set", SETTINGS, 1, load_reader=Damaged)
    assert not list((tmp_path / "set").rglob("0*.json"))


def test_a_killed_build_goes_on(photos: Path, built: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    script = f"""
import sys, time
sys.path[:0] = {[str(Path(plain_reader.__file__).parent), *sys.path]!r}
import plain_reader
from limner.data import build as b
from limner.data.sources import open_sources
from limner.data.stages import RecordSettings
b.BLOCK, b.BATCH = 8, 3
def slow(progress): time.sleep(600 if progress.done > 8 else 0)  # in the second block, until it is killed
if __name__ == "__main__":
    settings = RecordSettings(captions=1, prompts=1, questions=2, min_size=30)
    b.build(open_sources([{str(photos)!r}]), {str(out)!r}, settings, 2, progress=slow, load_reader=plain_reader.load)
"""
    path = tmp_path / "job_progress.py"
    path.write_text(script)
    process = subprocess.Popen([sys.executable, str(path)], start_new_session=True)
    marker = out / "blocks" / "00000.json"
    end = time.monotonic() + 600
    while not marker.exists():
        assert process.poll() is None and time.monotonic() < end, "it never finished a block"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "blocks" / "00002.json").exists()
    kept = []
    build(open_sources([photos]), out, SETTINGS, 1, progress=kept.append, load_reader=plain_reader.load)
    assert kept[0].kept >= 8
    assert rows_of(out) == rows_of(built)
    ids = [i for path in shard_files(out) for i in pq.read_table(path, columns=["id"])["id"].to_pylist()]
    assert len(ids) == len(set(ids)) == 21
    assert not list(out.rglob("*.partial*"))


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    script = f"""
import os, sys, time
sys.path[:0] = {[str(Path(plain_reader.__file__).parent), *sys.path]!r}
import plain_reader
from limner.data import workers
def work(_):
    print(os.getpid(), flush=True); time.sleep(60)
if __name__ == "__main__":
    from concurrent.futures import ProcessPoolExecutor
    import multiprocessing
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, spawn, workers._start_worker, (plain_reader.load, os.getpid()))
    pool.submit(work, 0).result()
"""
    path = tmp_path / "job_progress.py"
    path.write_text(script)
    parent = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker lived on")
