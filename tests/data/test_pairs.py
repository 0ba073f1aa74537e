"""Pair sets: made by a tiny generator around a photograph, read by the real face reader, drawn by seed and step."""

from __future__ import annotations

import json
import shutil
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from limner.data import build as build_module
from limner.data.build import BuildSpec, build, load_face_reader
from limner.data.pair_factors import FACTORS, motion_change
from limner.data.pair_report import pair_sheet, summarise
from limner.data.pairs import PairSet
from limner.data.shards import PAIR_FIELDS, iterate, read_shards, shard_files
from limner.data.stages import RecordSettings
from limner.data.synthetic_pairs import PairModels, PairSettings, SyntheticPerson, draw_moves, make_people
from limner.errors import InputError
from limner.faces.topology import Topology

sys.path.insert(0, str(Path(__file__).parent))
from tiny_generator import PhotoGenerator, plain_directions

SETTINGS = PairSettings(
    variants=3, moved=0.3, differs=0.3, record=RecordSettings(captions=1, prompts=0, questions=0, shares=(50, 25, 25))
)


@cache
def tools() -> PairModels:
    return PairModels(load_face_reader(), PhotoGenerator(), plain_directions(), Topology.load())


def build_spec() -> BuildSpec:
    return BuildSpec(load=tools, make=make_people, fields=PAIR_FIELDS, block=2, batch=1, facts={"directions": {}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pairs") / "set"
    build([SyntheticPerson(k) for k in range(6)], place, SETTINGS, workers=1, build_spec=build_spec())
    return place


def test_moves_follow_from_seed_and_index_and_lead_to_targets() -> None:
    directions, w = plain_directions(), np.zeros(512)
    moves = draw_moves(w, directions, SETTINGS, 5)
    assert moves == draw_moves(w, directions, SETTINGS, 5) != draw_moves(w, directions, SETTINGS, 6)
    assert moves[0] == {} and len(moves) == 3 and all(len(steps) > 0 for steps in moves[1:])
    w[0] = 1.0  # a head that is turned already takes smaller steps to the same place
    near, far = draw_moves(w, directions, SETTINGS, 5), moves
    for one, other in zip(near[1:], far[1:]):
        for name in one:
            shift = other[name] - one[name]
            assert shift == pytest.approx(
                1.0 if name == "yaw" and abs(other[name]) < 2.6 else 0.0, abs=1.01 * (name == "yaw")
            )


def test_rows_are_records_with_what_was_moved_and_measured(folder: Path) -> None:
    rows = list(iterate(folder))
    assert rows and pq.read_schema(shard_files(folder)[0]).names == [name for name, _ in PAIR_FIELDS]
    rows = [row for path in shard_files(folder) for row in pq.read_table(path).to_pylist()]
    people = {row["person"] for row in rows}
    assert all(sum(row["person"] == name for row in rows) >= 2 for name in people)
    for row in rows:
        first = next(each for each in rows if each["person"] == row["person"] and each["variant"] == 0)
        assert first["split"] == row["split"] and first["moves"] == []
        distance = np.linalg.norm(np.subtract(row["identity"], first["identity"]))
        assert row["identity_distance"] == pytest.approx(distance, abs=1e-5) and distance < SETTINGS.limit
        assert (row["variant"] == 0) == (row["identity_distance"] == 0)
        if row["variant"]:
            assert motion_change(np.array(row["factors"]), np.array(first["factors"])) >= SETTINGS.differs
        assert len(row["factors"]) == len(FACTORS)
        assert row["factors"][0] == pytest.approx(row["pose"][0], abs=0.1)  # yaw, measured twice


def test_what_is_dropped_is_said(folder: Path) -> None:
    numbers = summarise(folder)
    errors = [json.loads(line) for line in (folder / "errors.jsonl").read_text().splitlines()]
    table = read_shards(folder, ["variant"])
    moved = sum(v > 0 for v in table["variant"].to_pylist())
    dropped = [e for e in errors if not e["reason"].startswith("no other picture")]
    lonely = len(errors) - len(dropped)
    assert moved + len(dropped) == 6 * 2 and numbers["people"] + lonely == 6
    assert numbers["survived"] == pytest.approx(moved / 12, abs=1e-3)
    assert pair_sheet(folder, people=2).shape[2] == 3


def test_a_set_goes_on_with_more_people(folder: Path, tmp_path: Path) -> None:
    """Made in two goes: the same rows as in one, and the first people are not made again."""
    build([SyntheticPerson(k) for k in range(4)], tmp_path / "set", SETTINGS, workers=1, build_spec=build_spec())
    before = tools().generator.made  # pyright: ignore[reportAttributeAccessIssue]
    build([SyntheticPerson(k) for k in range(6)], tmp_path / "set", SETTINGS, workers=1, build_spec=build_spec())
    assert tools().generator.made - before == 2 * 3  # pyright: ignore[reportAttributeAccessIssue]
    one = {row["id"]: row for path in shard_files(folder) for row in pq.read_table(path).to_pylist()}
    two = {row["id"]: row for path in shard_files(tmp_path / "set") for row in pq.read_table(path).to_pylist()}
    assert one.keys() == two.keys() and all(one[k]["image"] == two[k]["image"] for k in one)
    with pytest.raises(InputError, match="other settings"):
        build(
            [SyntheticPerson(k) for k in range(6)],
            tmp_path / "set",
            PairSettings(seed=1),
            workers=1,
            build_spec=build_spec(),
            keep=True,
        )


def test_what_other_code_made_is_kept_on_request(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder, tmp_path / "set")
    monkeypatch.setattr(build_module, "code_hash", lambda: "another")
    before = tools().generator.made  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(InputError, match="other code"):
        build([SyntheticPerson(k) for k in range(6)], tmp_path / "set", SETTINGS, workers=1, build_spec=build_spec())
    build(
        [SyntheticPerson(k) for k in range(7)],
        tmp_path / "set",
        SETTINGS,
        workers=1,
        build_spec=build_spec(),
        keep=True,
    )
    assert tools().generator.made - before == 3  # pyright: ignore[reportAttributeAccessIssue]


def test_batches_hold_pairs_of_one_person_and_follow_from_seed_and_step(folder: Path) -> None:
    pairs = PairSet.open(folder, None, differs=0.3)
    a, b = pairs.batch(seed=3, step=7, size=16)
    again, _ = pairs.batch(seed=3, step=7, size=16)
    assert np.array_equal(a["image"], again["image"]) and a["image"].shape == (16, 256, 256, 3)
    assert not np.array_equal(a["row"], pairs.batch(3, 8, 16)[0]["row"])
    assert (a["row"] != b["row"]).all() and (pairs.people[a["row"]] == pairs.people[b["row"]]).all()
    assert (np.linalg.norm(a["identity"] - b["identity"], axis=1) < 0.5).all()
    assert (motion_change(a["factors"], b["factors"]) >= 0.3).all()
    assert a["landmarks"].shape == (16, 468, 3) and a["regions"].shape == (16, 256, 256)
    everyone = {int(p) for step in range(30) for p in pairs.people[pairs.draw(0, step, 8)[:, 0]]}
    assert everyone == set(pairs.people[pairs.pairs[:, 0]].tolist())


def test_splits_share_no_person(folder: Path) -> None:
    found = {}
    for split in ("train", "validation", "test"):
        table = read_shards(folder, ["person"], split)
        found[split] = set(table["person"].to_pylist())
    assert sum(map(len, found.values())) == len(set.union(*found.values())) and len(found["train"]) > 0


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no built set"):
        PairSet.open(tmp_path)
    with pytest.raises(InputError, match="variants is 1"):
        PairSettings(variants=1)
    with pytest.raises(InputError, match="limit is 0"):
        PairSettings(limit=0.0)
