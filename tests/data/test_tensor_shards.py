"""Sets in shards: rows come back exactly, whatever they are cut into, and in an order that any process can continue."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from limner.data.order import EpochOrder, buffered, turns
from limner.data.preparing import Portion, Share, write_shards
from limner.data.tensor_shards import TensorShards, finish, flatten, pack, shard_file, write_shard
from limner.errors import InputError

ROWS = torch.arange(22, dtype=torch.float16).reshape(11, 2)
WORDS = [torch.arange(k % 4 + 1) + k for k in range(11)]


def write_set(folder: Path, size: int) -> TensorShards:
    """Eleven rows in shards of that size, each with a table of pieces of one to four numbers."""
    counts = []
    for number, start in enumerate(range(0, 11, size)):
        part = ROWS[start : start + size]
        counts.append(len(part))
        write_shard(folder, number, {"rows": part} | pack("words", WORDS[start : start + size]), len(part), {})
    finish(folder, {"kind": "test"}, counts, {"number": np.arange(11)})
    return TensorShards.read(folder, "a set")


@pytest.mark.parametrize("size", [1, 3, 11])
def test_rows_and_pieces_come_back_in_the_order_asked_for(tmp_path: Path, size: int) -> None:
    data = write_set(tmp_path, size)
    wanted = np.array([10, 0, 3, 3, 7])
    assert torch.equal(data.take(["rows"], wanted)["rows"], ROWS[wanted])
    assert torch.equal(data.column("rows"), ROWS) and data.shape("rows") == (2,) and len(data) == 11
    for number, places, inside in data.places(wanted):
        with data.shard(number) as shard:
            for place, piece in zip(places, shard.pieces("words", inside), strict=True):
                assert torch.equal(piece, WORDS[wanted[place]])
    rows = np.array([0, 2, 5, 9, 10])
    assert np.array_equal(np.concatenate(data.by_shard(rows)), rows) and len(data.by_shard(rows)) == -(-11 // size)


def test_latents_of_several_tensors_keep_their_names() -> None:
    grid, style = torch.zeros(2, 4, 8, 8), torch.ones(2, 64)
    assert flatten("latents", grid) == {"latents": grid}
    assert flatten("latents", (grid, style)) == {"latents.0": grid, "latents.1": style}
    assert flatten("latents", {"grid": grid, "style": style}) == {"latents.grid": grid, "latents.style": style}


def test_what_is_not_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a set"):
        TensorShards.read(tmp_path, "a set")
    data = write_set(tmp_path, 4)
    shard = shard_file(tmp_path, 1)
    shard.write_bytes(shard.read_bytes()[:-3])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        data.take(["rows"], np.arange(11))


@pytest.mark.parametrize(("buffer", "lanes"), [(0, 1), (3, 2), (1000, 4)])
def test_every_row_comes_once_an_epoch(buffer: int, lanes: int) -> None:
    order = EpochOrder([np.arange(5), np.arange(5, 6), np.empty(0, np.int64), np.arange(10, 21)], 7, buffer, lanes)
    epochs = np.concatenate([order.rows(step, 4) for step in range(17)]).reshape(4, 17)
    expected = [*range(6), *range(10, 21)]
    assert len(order) == 17 and all(sorted(epoch.tolist()) == expected for epoch in epochs)
    assert buffer == 0 or not np.array_equal(epochs[0], epochs[1])
    again = EpochOrder(order.shards, 7, buffer, lanes)
    assert np.array_equal(again.rows(9, 4), order.rows(9, 4)), "step 9 is the same for a process that starts there"


def test_a_buffer_holds_rows_back_by_no_more_than_its_size() -> None:
    order = buffered(50, 5, 0, 0, 0)
    places = np.arange(50)
    assert (order - places <= 5).all() and sorted(order) == places.tolist() and not np.array_equal(order, places)
    assert np.array_equal(buffered(50, 0, 0, 0, 0), places) and turns([3, 0, 1]).tolist() == [0, 2, 0, 0]


def make(items: list[int], first: int) -> tuple[dict[str, torch.Tensor], int]:
    """A row a number."""
    return {"value": torch.tensor(items) * 10, "first": torch.full((len(items),), first)}, len(items)


def portions(count: int) -> list[Portion[int]]:
    return [Portion(partial(range, k, k + 2), k, {"of": k}) for k in range(0, count, 2)]


def test_a_stopped_preparation_continues_and_a_changed_one_is_made_again(tmp_path: Path) -> None:
    made = []

    def counted(items: list[int], first: int) -> tuple[dict[str, torch.Tensor], int]:
        made.append(first)
        if first == stop:
            raise KeyboardInterrupt
        return make(items, first)

    def run(how: dict, count: int = 6) -> list[int]:
        made.clear()
        return write_shards(portions(count), tmp_path, counted, how, Share(), lambda done, total: None)

    stop = 2
    with pytest.raises(KeyboardInterrupt):
        run({"codec": "a"})
    stop = -1
    assert run({"codec": "a"}) == [2, 2, 2] and made == [2, 4]
    shard = shard_file(tmp_path, 2)
    shard.write_bytes(shard.read_bytes()[:-1])  # the machine crashed while it was written
    run({"codec": "a"})
    assert made == [4]
    run({"codec": "b"})
    assert made == [0, 2, 4]
    finish(tmp_path, {}, run({"codec": "b"}, 4), {})
    assert len(TensorShards.read(tmp_path, "a set")) == 4 and not shard.exists()


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from data.test_tensor_shards import make, portions
from limner.data.preparing import join, write_shards
from limner.data.tensor_shards import finish
with join() as share:
    out = Path(sys.argv[1])
    counts = write_shards(portions(10), out, make, {}, share, lambda done, total: None)
    if share.first:
        finish(out, {}, counts, {})
"""


@pytest.mark.slow
def test_several_processes_write_the_same_bytes(tmp_path: Path) -> None:
    script, port = tmp_path / "worker.py", 29500 + os.getpid() % 500
    script.write_text(WORKER)
    for place, world in (("alone", 1), ("crew", 2)):
        running = []
        for rank in range(world):
            where = {"RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            command = [sys.executable, str(script), str(tmp_path / place)]
            running.append(subprocess.Popen(command, env={**os.environ, **where}))
        assert [process.wait(timeout=120) for process in running] == [0] * world
    files = [sorted(path for path in (tmp_path / place).rglob("*") if path.is_file()) for place in ("alone", "crew")]
    assert len(files[0]) == len(files[1]) == 7
    for one, other in zip(*files):
        assert one.name == other.name and one.read_bytes() == other.read_bytes()
