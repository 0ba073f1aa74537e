"""FLUX.1 corrections on several processes: each holds its pieces of the base, and all train what one would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from limner.data.tensor_shards import finish, pack, write_shard
from limner.training.checkpoint import find_checkpoints
from limner.training.config import TrainingConfig
from limner.training.loop import export
from mditface.parts import write_flux
from training import crew
from training.tiny_sets import losses, train_on

pytestmark = pytest.mark.xdist_group("ranks")
STEPS = 4


def prepare(folder: Path) -> None:
    """A tiny FLUX.1-dev, its shards in bfloat16, and six faces with random features."""
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

    write_flux(folder / "flux")
    place = folder / "flux" / "transformer"
    flux: Any = FluxTransformer2DModel.from_pretrained(place)
    flux.to(torch.bfloat16)
    (place / "diffusion_pytorch_model.safetensors").unlink()
    flux.save_pretrained(place, max_shard_size="60KB")
    assert len(list(place.glob("*.safetensors"))) > 3
    random, data = np.random.default_rng(0), folder / "set"
    rows = {
        "latents": random.standard_normal((6, 4, 8, 8)).astype(np.float16),
        "palette": random.standard_normal((6, 4, 8, 8)).astype(np.float16),
        "regions": random.integers(0, 19, (6, 64, 64), dtype=np.uint8),
        "captions": random.integers(0, 3, (6, 2)).astype(np.int32),
        "validation": np.arange(6) >= 5,
    }
    texts = [torch.from_numpy(random.standard_normal((512, 24)).astype(np.float16)) for _ in range(3)]
    table = pack("tokens", texts) | {"pooled": torch.from_numpy(random.standard_normal((3, 20)).astype(np.float32))}
    write_shard(data, 0, {name: torch.from_numpy(array) for name, array in rows.items()} | table, 6, {})
    index = {"validation": rows["validation"], "weights": np.ones(6, np.float32)}
    finish(data, {"codec": "none", "text_length": 512, "live": False}, [6], index)


def made(**train: Any) -> TrainingConfig:
    task = {"kind": "mditface", "data": "set", "flux": "flux", "rank": 2, "lora_streams": ["image", "text"],
            "lora_rank": 2, "drop_text": 0.2, "drop_mask": 0.3, "drop_both": 0.1}  # fmt: skip
    fields = {
        "steps": STEPS, "batch_size": 2, "accumulate": 4, "learning_rate": 1e-2, "warmup": 1, "precision": "bf16",
        "ema": 0.5, "log_every": 1, "validate_every": 4, "sample_every": 10_000, "threads": 1, "device": "cpu",
    }  # fmt: skip
    return TrainingConfig.model_validate({"name": "flux", "task": task, "train": fields | train})


def test_two_ranks_train_what_one_does_from_pieces_of_the_base(tmp_path: Path, monkeypatch) -> None:
    data = tmp_path / "data"
    prepare(data)
    train_on(data, tmp_path / "alone", made())
    pieces = made(strategy="fsdp", mixed_precision_param="bf16")
    errors = crew.run(2, train_on, data, tmp_path / "fsdp", pieces, False, 2, folder=tmp_path / "two")
    assert errors == ["", ""]
    one, two = losses(tmp_path / "alone"), losses(tmp_path / "fsdp")
    assert np.allclose([loss for _, loss in one[:2]], [loss for _, loss in two], rtol=2e-2)

    # the checkpoint holds corrections, averages and moments; the base, which the files have, is in none
    found = find_checkpoints(tmp_path / "fsdp" / "checkpoints")[-1]
    names = set()
    for file in (found.path / "pieces").glob("*.safetensors"):
        with safe_open(file, framework="pt") as handle:
            names |= {name for name in handle.keys() if not name.startswith("optimizer.")}  # noqa: SIM118
    assert names and all(".adapter." in name for name in names)

    # one process goes on with what two began, and exports it; exporting needs no base at all
    train_on(data, tmp_path / "fsdp", made(), resume=True)
    two = losses(tmp_path / "fsdp")
    assert [step for step, _ in two] == [1, 2, 3, 4]
    assert np.allclose([loss for _, loss in one], [loss for _, loss in two], rtol=3e-2)
    from limner.cli.train import make_task

    monkeypatch.setenv("LIMNER_DATA", str(data))
    recipe = made()
    task = make_task(recipe.task, 2, 0)
    first = load_file(tmp_path / "fsdp" / "weights.safetensors")
    monkeypatch.setattr(type(task), "fill", lambda self, model: pytest.fail("the base was read"))
    again = load_file(export(task, recipe, tmp_path / "fsdp"))
    assert first.keys() == again.keys() and all(torch.equal(first[name], again[name]) for name in first)
    facts = json.loads((tmp_path / "fsdp" / "summary.json").read_text())
    assert facts


def test_pieces_are_filled_with_their_own_rows(tmp_path: Path) -> None:
    """Every rank's piece of every weight is that of the whole; and it reads no row that it does not keep."""
    prepare(tmp_path)
    errors = crew.run(3, check_pieces, tmp_path, folder=tmp_path / "three")
    assert errors == ["", "", ""]


def check_pieces(data: Path) -> None:
    """What a rank does."""
    import os

    import torch.distributed as dist
    from torch.distributed.tensor import DTensor

    from limner.cli.train import make_task
    from limner.models.mditface.flux import from_flux
    from limner.training.parallel import Replica
    from limner.training.ranks import join
    from limner.weights.shards import Shards, local_rows

    os.environ["LIMNER_DATA"] = str(data)
    recipe = made(strategy="fsdp", accumulate=3)
    read = [0]
    plain = Shards.rows

    def counted(self: Shards, name: str, start: int, stop: int) -> torch.Tensor:
        rows = plain(self, name, start, stop)
        read[0] += rows.numel()
        return rows

    Shards.rows = counted  # type: ignore[method-assign]
    with join(recipe.train) as ranks:
        task = make_task(recipe.task, 2, 0)
        model = Replica(task.build(), recipe.train, ranks, task.fill).model
        kept = sum(p.to_local().numel() for n, p in model.named_parameters() if ".adapter." not in n)  # type: ignore[union-attr]
        assert read[0] == kept, (read, kept)
        whole = dict(from_flux(data / "flux", torch.bfloat16).named_parameters())
        for name, parameter in model.named_parameters():
            assert isinstance(parameter, DTensor)
            local, start, stop = local_rows(parameter)
            if name in whole:
                assert torch.equal(local, whole[name][start:stop]), name
        total = torch.tensor(kept)
        dist.all_reduce(total)
        assert int(total) == sum(p.numel() for p in whole.values())
