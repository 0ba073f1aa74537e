"""Many processes train what one would: same losses, same weights, same data, whatever their number and strategy."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from limner.cli.train import make_task
from limner.errors import InputError
from limner.training.checkpoint import find_checkpoints
from limner.training.loop import export, train
from training import crew
from training.tiny import TinyTask
from training.tiny import config as tiny_recipe
from training.tiny_sets import config, prepare, train_on, train_tiny

STEPS = 8
pytestmark = pytest.mark.xdist_group("ranks")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prepare(folder)
    return folder


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory):
    """Runs of one process, made once a kind."""
    made: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            train_on(data, made[kind], config(kind))
        return made[kind]

    return of


def curve(run: Path, kind: str = "train") -> list[dict]:
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    drop = ("time", "samples_per_second", "seconds_left", "utilisation", "kind")
    return [{k: v for k, v in line.items() if k not in drop} for line in lines if line["kind"] == kind]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    """What a whole run ended in: one file, or FaceX's folder of that name."""
    return load_file(next(path for path in (run / "weights.safetensors", run / "weights/controller.safetensors")
                          if path.exists()))  # fmt: skip


def assert_same_run(one: Path, other: Path, steps: int = STEPS) -> None:
    """Losses, norms and rates to 1e-5; validations, which MDiTFace computes in bfloat16, to 1e-3; and the weights."""
    for kind, close in (("train", 1e-5), ("validate", 1e-3)):
        a, b = ([line for line in curve(run, kind) if line["step"] <= steps] for run in (one, other))
        assert len(a) == len(b) and (kind == "validate" or a[-1]["step"] == steps)
        for first, second in zip(a, b):
            assert first == pytest.approx(second, rel=close, abs=close)
    if steps < STEPS:
        return
    first, second = weights_of(one), weights_of(other)
    assert first.keys() == second.keys()
    # AdamW turns the rounding of a gradient that is zero (a key's bias) into steps of full size, so: as a whole
    a, b = (torch.cat([found[key].flatten().float() for key in sorted(found)]) for found in (first, second))
    assert (a - b).norm() < 3e-3 * a.norm()


@pytest.mark.parametrize(
    ("kind", "strategy", "world", "steps"),  # all of them, at 50 steps: drills/ranks.py; UniF²ace in pieces: below
    [
        ("unif2ace", "ddp", 2, STEPS), ("mditface", "ddp", 2, STEPS), ("mditface", "fsdp", 2, 4),
        ("facex", "ddp", 2, STEPS), ("facex", "fsdp", 2, 4),
    ],
)  # fmt: skip
def test_many_processes_train_what_one_would(
    data, alone, tmp_path: Path, kind: str, strategy: str, world: int, steps: int
) -> None:
    made = config(kind, strategy=strategy, recompute=world == 2)  # recomputing changes no number either
    assert crew.run(world, train_on, data, tmp_path / "run", made, False, steps, folder=tmp_path) == [""] * world
    assert_same_run(alone(kind), tmp_path / "run", steps)
    in_pieces = (find_checkpoints(tmp_path / "run" / "checkpoints")[-1].path / "pieces").is_dir()
    assert in_pieces == (strategy == "fsdp")


def test_resumed_on_another_number_of_ranks(data, alone, tmp_path: Path) -> None:
    """Pieces of 4 ranks read whole by 2, whole files in pieces by 2, pieces by 1; losses as of an undisturbed run."""
    run, kind = tmp_path / "run", "unif2ace"
    for leg, (world, strategy) in enumerate([(4, "fsdp"), (2, "ddp"), (2, "fsdp")]):
        made = config(kind, strategy=strategy)
        assert crew.run(world, train_on, data, run, made, leg > 0, 2 * leg + 2, folder=tmp_path) == [""] * world
    train_on(data, run, config(kind), resume=True, stop_after=8)
    assert_same_run(alone(kind), run, 8)


def test_a_sharded_checkpoint_becomes_one_file(data, tmp_path: Path, monkeypatch) -> None:
    run, made = tmp_path / "run", config("unif2ace", strategy="fsdp", steps=4, ema=0.5)
    assert crew.run(2, train_on, data, run, made, folder=tmp_path) == ["", ""]
    written = (run / "weights.safetensors").read_bytes()  # by the first rank
    monkeypatch.setenv("LIMNER_DATA", str(data))
    path = export(make_task(made.task, 2, 0), made, run)
    assert path.read_bytes() == written
    train_on(data, tmp_path / "alone", config("unif2ace", steps=4, ema=0.5))
    one, other = load_file(path), load_file(tmp_path / "alone" / "weights.safetensors")
    assert one.keys() == other.keys()
    assert all(torch.allclose(one[key].float(), other[key].float(), atol=2e-3) for key in one)
    with pytest.raises(InputError, match="no checkpoint to export"):
        export(make_task(made.task, 2, 0), made, tmp_path / "nothing")


def test_a_lost_rank_stops_the_others_with_one_line_and_the_run_goes_on(tmp_path: Path) -> None:
    run, victim = tmp_path / "run", random.Random(os.getpid()).randrange(4)
    processes = crew.start(4, train_tiny, run, 4, 100_000, False, folder=tmp_path)
    end = time.monotonic() + crew.PATIENCE
    while not find_checkpoints(run / "checkpoints"):
        assert time.monotonic() < end and all(p.is_alive() for p in processes)
        time.sleep(0.02)
    os.kill(processes[victim].pid, signal.SIGKILL)
    errors = crew.finish(processes, tmp_path)
    for rank, error in enumerate(errors):
        if rank != victim:
            assert error.count("\n") == 1 and f"rank {rank} of 4 stops: another process" in error, error
    reached = find_checkpoints(run / "checkpoints")[-1].step
    for file in tmp_path.glob("rank-*.txt"):
        file.unlink()
    assert crew.run(2, train_tiny, run, 4, reached + 3, True, folder=tmp_path) == ["", ""]
    steps = [line["step"] for line in curve(run)]
    assert steps == list(range(1, reached + 4)), "every step once"


def test_dropout_follows_the_micro_batch(tmp_path: Path) -> None:
    """So any number of processes above one draws the same."""
    for world in (2, 4):
        assert crew.run(world, train_tiny, tmp_path / str(world), 4, 3, False, folder=tmp_path) == [""] * world
    a, b = (curve(tmp_path / str(world)) for world in (2, 4))
    assert [line["loss"] for line in a] == pytest.approx([line["loss"] for line in b], rel=1e-4)


def test_a_step_that_cannot_be_shared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match=r"3 processes cannot share 4 micro-batches.*train\.accumulate"):
        train(TinyTask(), tiny_recipe(accumulate=4), tmp_path)
    assert not list(tmp_path.iterdir())
