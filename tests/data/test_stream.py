"""Streams: every row once an epoch, one order whatever the workers, and going on in the middle as if never stopped."""

from __future__ import annotations

import itertools
import shutil
import sys
from pathlib import Path

import pytest

from limner.data import build as build_module
from limner.data import storage
from limner.data.build import build
from limner.data.shards import iterate, shard_files
from limner.data.sources import open_sources
from limner.data.stages import RecordSettings
from limner.data.stream import Stream
from limner.errors import InputError

sys.path.insert(0, str(Path(__file__).parent))
import plain_reader
from plain_reader import make_pictures

COUNT = 45


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("stream")
    settings = RecordSettings(captions=0, prompts=0, questions=0, min_size=30, shares=(100, 0, 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "BLOCK", 6)
        items = open_sources([make_pictures(place / "photos", COUNT)])
        build(items, place / "set", settings, 1, load_reader=plain_reader.load)
    return place / "set"


def ids(stream: Stream, **where: int) -> list[tuple[int, str]]:
    return [(position, row["id"]) for position, row in stream.rows(**where)]


@pytest.mark.parametrize("buffer", [0, 5, 1000])
def test_every_row_comes_once_an_epoch_in_another_order(folder: Path, buffer: int) -> None:
    stream = Stream(folder, columns=["id"], buffer=buffer, lanes=4)
    first, second = ids(stream), ids(stream, epoch=1)
    assert [position for position, _ in first] == list(range(COUNT)) == list(range(len(stream)))
    assert len({name for _, name in first}) == len({name for _, name in second}) == COUNT
    assert first != second and first == ids(Stream(folder, columns=["id"], buffer=buffer, lanes=4))
    assert first != ids(Stream(folder, columns=["id"], buffer=buffer, lanes=4, seed=1))


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_any_number_of_workers_gives_the_same_order(folder: Path, workers: int) -> None:
    stream = Stream(folder, columns=["id"], buffer=7, lanes=4)
    shares = [ids(stream, worker=worker, workers=workers) for worker in range(workers)]
    assert sorted(itertools.chain(*shares)) == ids(stream)
    assert all(shares)


def test_it_goes_on_from_any_position(folder: Path) -> None:
    stream = Stream(folder, columns=["id"], buffer=7, lanes=4)
    whole = ids(stream)
    for start in range(COUNT + 1):
        assert ids(stream, start=start) == whole[start:]
    assert ids(stream, start=20, worker=1, workers=2) == [x for x in ids(stream, worker=1, workers=2) if x[0] >= 20]


def test_going_on_reads_no_row_that_came_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from limner.data import stream as module

    read = []
    plain = module._Reader.read
    monkeypatch.setattr(module._Reader, "read", lambda self, *place: read.append(place) or plain(self, *place))
    stream = Stream(folder, columns=["id"], buffer=3, lanes=2)
    assert len(ids(stream, start=COUNT - 6)) == 6
    assert len(read) == 6


def test_a_large_buffer_mixes_more(folder: Path) -> None:
    def disorder(buffer: int) -> float:
        numbers = [int(name[-7:-4]) for _, name in ids(Stream(folder, columns=["id"], buffer=buffer, lanes=1))]
        return sum(abs(a - b) != 1 for a, b in itertools.pairwise(numbers))

    assert disorder(0) < 10 < disorder(20)


def test_rows_are_whole(folder: Path) -> None:
    _, row = next(Stream(folder).rows())
    assert row["landmarks"].shape == (468, 3) and row["image"]["bytes"][:2] == b"\xff\xd8"


def test_mistakes_are_named(folder: Path) -> None:
    with pytest.raises(InputError, match="at most 4 workers"):
        next(Stream(folder, lanes=4).rows(worker=0, workers=5))
    with pytest.raises(InputError, match="no rows in the split test"):
        Stream(folder, split="test")
    with pytest.raises(InputError, match="at least one lane"):
        Stream(folder, lanes=0)


def hostile(kind: str, file: Path) -> None:
    """Put something hostile in the place of a set's Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole, table = file.read_bytes(), pq.read_table(file)
    if kind == "cut short":
        file.write_bytes(whole[: len(whole) // 2])
    elif kind == "pages overwritten":
        file.write_bytes(whole[:8] + b"\xff" * (len(whole) // 2) + whole[8 + len(whole) // 2 :])
    elif kind == "no Parquet":
        file.write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    elif kind == "another shape":
        short = pa.array([[1.0, 2.0]] * len(table), pa.list_(pa.float32()))
        pq.write_table(table.set_column(table.schema.get_field_index("landmarks"), "landmarks", short), file)
    elif kind == "words for numbers":
        words = pa.array(["x"] * len(table))
        pq.write_table(table.set_column(table.schema.get_field_index("crop"), "crop", words), file)
    else:  # a bomb: some KB that are many MB
        rows = pa.array([b"\0" * (1 << 20)] * 32, pa.binary())
        pq.write_table(pa.table({"id": rows}), file, compression="zstd", row_group_size=64, use_dictionary=False)


@pytest.mark.parametrize(
    "kind",
    ["cut short", "pages overwritten", "no Parquet", "another shape", "words for numbers", "a bomb"],
)
def test_a_hostile_file_in_a_set_is_one_line(
    folder: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MOST_GROUP_BYTES", 8 << 20)
    shutil.copytree(folder, tmp_path / "set")
    for file in shard_files(tmp_path / "set", "train"):
        hostile(kind, file)
        if kind == "a bomb":
            break
    for read in (
        lambda: list(Stream(tmp_path / "set").rows()),
        lambda: list(iterate(tmp_path / "set")),
    ):
        with pytest.raises(InputError) as caught:
            read()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
