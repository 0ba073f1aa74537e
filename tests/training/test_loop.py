"""The loop: resumed equals uninterrupted, killed loses nothing, bad recipes say so."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from limner.errors import InputError
from limner.training import checkpoint
from limner.training.checkpoint import find_checkpoints
from limner.training.loop import train
from limner.training.schedule import learning_rate
from limner.training.summary import summarise
from training.tiny import TinyTask, config


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def lines_of(run: Path, kind: str) -> list[dict]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


@pytest.mark.parametrize("stop", [1, 2, 7, 13])
@pytest.mark.parametrize(("accumulate", "optimizer"), [(1, "adamw"), (2, "adamw"), (1, "muon")])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, stop: int, accumulate: int, optimizer: str) -> None:
    settings = config(accumulate=accumulate, optimizer=optimizer)
    whole = train(TinyTask(), settings, tmp_path / "whole")
    train(TinyTask(), settings, tmp_path / "parts", stop_after=stop)
    torch.manual_seed(99)  # whatever a new process happens to hold
    parts = train(TinyTask(), settings, tmp_path / "parts", resume=True)
    one, other = weights_of(whole), weights_of(parts)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    losses = [[line["loss"] for line in lines_of(tmp_path / run, "train")] for run in ("whole", "parts")]
    assert losses[0] == losses[1] and len(losses[0]) == 14


def test_accumulated_batches_make_the_gradient_of_one_large_batch(tmp_path: Path) -> None:
    class Plain(TinyTask):
        def build(self) -> torch.nn.Module:
            return torch.nn.Linear(3, 1)

        def loss(self, model, batch, generator, step):
            error = (model(batch["x"]) - batch["y"]).square().mean()
            return error, {}

    small = weights_of(train(Plain(2), config(batch_size=2, accumulate=2), tmp_path / "small"))
    large = weights_of(train(Plain(4), config(batch_size=4, accumulate=1), tmp_path / "large"))
    for key in small:
        torch.testing.assert_close(small[key], large[key], rtol=1e-5, atol=1e-6)


def test_it_learns_and_writes_what_it_promises(tmp_path: Path) -> None:
    seen: list[dict] = []
    train(TinyTask(), config(steps=300, validate_every=150, sample_every=150), tmp_path, report=seen.append)
    validations = lines_of(tmp_path, "validate")
    assert validations[-1]["error"] < 0.5 * float(TinyTask().y.var())
    assert [line["step"] for line in validations] == [150, 300]
    assert (tmp_path / "samples" / "step-00000300.png").is_file()
    assert any(path.name.startswith("events") for path in (tmp_path / "tensorboard").iterdir())
    assert [line for line in seen if line["kind"] == "validate"] == validations
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 300 and len(summary["loss"]) == 25 and summary["samples_per_second"] > 0
    assert summary["loss"][-1]["loss"] == pytest.approx(
        sum(line["loss"] for line in lines_of(tmp_path, "train")[-12:]) / 12, abs=1e-4
    )
    assert [line["step"] for line in summary["validations"]] == [150, 300] and summary["training_config"][
        "name"
    ] == "tiny"
    assert seen[10]["samples_per_second"] > 0 and seen[10]["utilisation"] > 0
    assert len(find_checkpoints(tmp_path / "checkpoints")) <= 2


def test_a_summary_leaves_the_shares_of_single_experts_to_the_log(tmp_path: Path) -> None:
    line = {"step": 1, "kind": "validate", "time": 3.0, "error": 2.0, "share.paint.token.0.1": 0.5}
    (tmp_path / "log.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "config.json").write_text("{}")
    assert summarise(tmp_path)["validations"] == [{"step": 1, "error": 2.0}]


def test_an_occupied_run_is_not_overwritten(tmp_path: Path) -> None:
    train(TinyTask(), config(), tmp_path, stop_after=3)
    before = (tmp_path / "log.jsonl").read_bytes()
    with pytest.raises(InputError, match="--resume"):
        train(TinyTask(), config(), tmp_path)
    assert (tmp_path / "log.jsonl").read_bytes() == before


def test_a_run_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*a file stands where a folder should be"):
        train(TinyTask(), config(), tmp_path / "file" / "run")


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    class Wider(TinyTask):
        def build(self) -> torch.nn.Module:
            return torch.nn.Linear(3, 2)

    train(TinyTask(), config(), tmp_path, stop_after=3)
    with pytest.raises(InputError, match="another architecture"):
        train(Wider(), config(), tmp_path, resume=True)


def test_a_gradient_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    class Explodes(TinyTask):
        def loss(self, model, batch, generator, step):
            error, parts = super().loss(model, batch, generator, step)
            return error * (float("nan") if step == 5 else 1.0), parts

    train(TinyTask(), config(), tmp_path, stop_after=3)
    with pytest.raises(InputError, match="not finite at step 5"):
        train(Explodes(), config(), tmp_path, resume=True)
    assert [c.step for c in find_checkpoints(tmp_path / "checkpoints")] == [3]


def test_sigterm_finishes_the_step_and_saves(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "training.tiny", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: bool(find_checkpoints(tmp_path / "checkpoints")), process)
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert b"go on with --resume" in error
    last = find_checkpoints(tmp_path / "checkpoints")[-1].step
    assert lines_of(tmp_path, "train")[-1]["step"] == last


def test_killed_at_any_moment_a_good_checkpoint_remains(tmp_path: Path) -> None:
    """It saves after every step, so most kills fall into a save."""
    reached = 0
    for attempt in range(4):
        process = subprocess.Popen(
            [sys.executable, "-m", "training.tiny", str(tmp_path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
        )
        start = reached
        wait_for(lambda start=start: latest(tmp_path) > start + 2, process)
        time.sleep(0.013 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        reached = latest(tmp_path)
        assert reached > start
    train(TinyTask(), config(steps=reached + 1), tmp_path, resume=True)
    steps = [line["step"] for line in lines_of(tmp_path, "train")]
    assert steps == list(range(1, reached + 2)), "the log must hold every step once"


def latest(run: Path) -> int:
    """Step of the newest complete checkpoint; a running process may remove older ones while we look."""
    found = find_checkpoints(run / "checkpoints")
    return found[-1].step if found else 0


def wait_for(condition, process: subprocess.Popen, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the training process ended by itself"
        assert time.monotonic() < end, "the training process never saved"
        time.sleep(0.02)


def test_going_on_from_nothing_says_so(tmp_path: Path) -> None:
    seen: list[dict] = []
    train(TinyTask(), config(steps=1), tmp_path, resume=True, report=seen.append)
    assert [line["text"] for line in seen if line["kind"] == "note"] == [
        f"{tmp_path} holds no checkpoint to go on from: starting at step 0"
    ]
    seen.clear()
    train(TinyTask(), config(steps=2), tmp_path, resume=True, report=seen.append)
    assert {line["kind"] for line in seen} == {"train", "validate"}


def test_a_run_goes_on_only_as_what_it_was(tmp_path: Path) -> None:
    train(TinyTask(), config(), tmp_path, stop_after=2)
    for field, value in (("seed", 1), ("batch_size", 2), ("accumulate", 2)):
        with pytest.raises(InputError, match=rf"started with train\.{field} = .*, not {value}: .*--run") as caught:
            train(TinyTask(), config(**{field: value}), tmp_path, resume=True)
        assert "\n" not in str(caught.value)
    other = config().model_copy(update={"task": {"kind": "tiny", "width": 8}})
    with pytest.raises(InputError, match=r"started with task\.width = None, not 8"):
        train(TinyTask(), other, tmp_path, resume=True)
    changes = {"steps": 3, "learning_rate": 0.01, "warmup": 1, "log_every": 2, "threads": 0, "loader_threads": 2}
    assert train(TinyTask(), config(**changes), tmp_path, resume=True).is_file()
    assert latest(tmp_path) == 3


def test_what_a_killed_save_left_is_cleared(tmp_path: Path) -> None:
    train(TinyTask(), config(), tmp_path, stop_after=2)
    left = tmp_path / "checkpoints" / ".writing-1-step-00000002"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    train(TinyTask(), config(), tmp_path, stop_after=3, resume=True)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000002", "step-00000003"]


def test_random_states_of_gpus_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with two GPUs, played here: states are saved, and put back where there is such a GPU."""
    gpus = [torch.arange(4, dtype=torch.uint8), torch.arange(4, 8, dtype=torch.uint8)]
    back: dict[int, torch.Tensor] = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, index: back.update({index: state}))
    states = checkpoint._torch_states()
    assert sorted(states) == ["cuda.0", "cuda.1", "torch"]
    checkpoint._set_torch_states(states)
    assert all(torch.equal(back[index], gpus[index]) for index in (0, 1))
    back.clear()
    checkpoint._set_torch_states({"torch": states["torch"]})  # saved where there was none
    assert not back


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    train(TinyTask(), config(), tmp_path, stop_after=3)
    train(TinyTask(), config(), tmp_path, stop_after=5, resume=True)
    root = tmp_path / "checkpoints"
    newest = find_checkpoints(root)[-1].path / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert [c.step for c in find_checkpoints(root)] == [3]


def test_the_schedule_warms_up_and_comes_down() -> None:
    rates = [learning_rate(step, 1.0, 0.1, 10, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1.0)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert rates[55] == pytest.approx(0.55) and rates[100] == pytest.approx(0.1)
