"""Ray: the same bytes as a local build, whoever dies on the way."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import pytest
import ray

from limner.data import build as build_module
from limner.data.build import build
from limner.data.ray_build import start
from limner.data.shards import read_shards, shard_files
from limner.data.sources import open_sources
from limner.data.stages import RecordSettings
from limner.errors import InputError

sys.path.insert(0, str(Path(__file__).parent))
import plain_reader
from plain_reader import make_pictures

SETTINGS = RecordSettings(captions=1, prompts=1, questions=2, min_size=30)
BLOCK_SIZE = 8


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine, small; without a token in the home folder of whoever runs the tests."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    start(
        num_cpus=2, object_store_memory=100_000_000,
        runtime_env={"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}},
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_pictures(tmp_path_factory.mktemp("sources") / "photos", 29)
    (folder / "005.png").write_text("not a picture")
    return folder


@pytest.fixture
def local(photos: Path, tmp_path: Path) -> Path:
    build(open_sources([photos]), tmp_path / "local", SETTINGS, 1, load_reader=plain_reader.load, block_size=BLOCK_SIZE)
    return tmp_path / "local"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*.*")}


class DiesOnce:
    """A reader whose process dies at a certain picture, the first time."""

    def __init__(self, marker: Path) -> None:
        self.marker, self.plain = marker, plain_reader.PlainReader()

    def read(self, photo, min_score: float = 0.5):
        if not self.marker.exists():
            self.marker.write_text("")
            os._exit(1)
        return self.plain.read(photo, min_score)

    def read_crops(self, pictures):
        return self.plain.read_crops(pictures)


def test_the_same_files_as_a_local_build_though_a_worker_dies(
    cluster, photos: Path, local: Path, tmp_path: Path
) -> None:
    """Nothing is lost or there twice, and no row differs."""
    out, seen = tmp_path / "ray", []
    manifest = build(
        open_sources([photos]), out, SETTINGS, 1, progress=seen.append, engine="ray", block_size=BLOCK_SIZE,
        load_reader=partial(DiesOnce, tmp_path / "died"),
    )  # fmt: skip
    assert (tmp_path / "died").exists() and contents(out) == contents(local)
    assert manifest["rows"] == 28 and seen[-1].done == 29 and seen[-1].errors == 1 and seen[0].done == 0
    ids = read_shards(out, ["id"])["id"].to_pylist()
    assert len(ids) == len(set(ids)) == 28


def test_it_goes_on_where_a_local_build_stopped(cluster, photos: Path, local: Path, tmp_path: Path) -> None:
    whole = contents(local)
    for file in [*shard_files(local)[:1], local / "blocks" / "00002.json"]:
        file.unlink()
    seen = []
    build(
        open_sources([photos]), local, SETTINGS, 1, progress=seen.append, load_reader=plain_reader.load, engine="ray",
        block_size=BLOCK_SIZE,
    )  # fmt: skip
    assert contents(local) == whole and 0 < seen[0].kept < 29


def test_what_the_user_can_mend_is_one_line(cluster, photos: Path, tmp_path: Path) -> None:
    def missing():
        raise InputError("weights 'face-mesh' are not on this machine")

    with pytest.raises(InputError, match="face-mesh"):
        build(open_sources([photos]), tmp_path / "a", SETTINGS, 1, load_reader=missing, engine="ray")
    with pytest.raises(InputError, match="engine is 'slurm'"):
        build(open_sources([photos]), tmp_path / "b", SETTINGS, 1, load_reader=missing, engine="slurm")
    assert build_module.ENGINES == ("local", "ray")
