"""Training from shards: a run that was stopped and resumed is the uninterrupted one, bit for bit, for every system."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from limner.data.prepared_set import PreparedSet
from limner.data.tensor_shards import TensorShards, finish, flatten, pack, write_shard
from training.tiny_sets import config, losses, prepare, train_on


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prepare(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unif2ace", "mditface", "facex"])
def test_a_resumed_run_is_the_uninterrupted_one(data: Path, tmp_path: Path, kind: str) -> None:
    """Ten faces in shards of five, eight a step: both stops lie within an epoch."""
    made = config(kind, steps=4, validate_every=4, loader_threads=2)
    train_on(data, tmp_path / "whole", made)
    train_on(data, tmp_path / "stopped", made, stop_after=1)
    train_on(data, tmp_path / "stopped", made, resume=True, stop_after=3)
    train_on(data, tmp_path / "stopped", made, resume=True)
    assert losses(tmp_path / "whole") == losses(tmp_path / "stopped")
    names = ("weights.safetensors", "weights/controller.safetensors")
    runs = (tmp_path / "whole", tmp_path / "stopped")
    first, second = (load_file(next(run / n for n in names if (run / n).exists())) for run in runs)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_latents_of_several_tensors_reach_the_batch(tmp_path: Path) -> None:
    """A codec may give a grid and a vector: both are stored, and both come back by their names."""
    grid, style = torch.randn(4, 4, 2, 2).half(), torch.randn(4, 6).half()
    rows = {**flatten("latents", {"grid": grid, "style": style}), "regions": torch.zeros(4, 8, 8, dtype=torch.uint8)}
    rows |= {"captions": torch.zeros(4, 1, dtype=torch.int32), "validation": torch.arange(4) > 2}
    table = pack("tokens", [torch.ones(2, 3).half()]) | {"pooled": torch.ones(1, 3)}
    for number in range(2):
        part = {name: value[2 * number : 2 * number + 2] for name, value in rows.items()}
        write_shard(tmp_path, number, part | table, 2, {})
    header = {"codec": "none", "text_length": 5, "live": False}
    finish(tmp_path, header, [2, 2], {"validation": rows["validation"].numpy()})
    data = PreparedSet(TensorShards.read(tmp_path, "a set"))
    order = data.rows(validation=False)[::-1].copy()
    batch = data.batch(order, torch.zeros(3, dtype=torch.int64).numpy())
    assert torch.equal(batch["latents.grid"], grid[[2, 1, 0]].float())
    assert torch.equal(batch["latents.style"], style[[2, 1, 0]].float())
    assert batch["keep"].tolist() == [[True, True, False, False, False]] * 3
