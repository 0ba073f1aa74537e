"""Killing a training run at random moments, over and over: nothing may be lost. Writes results/drill-runs.json.

    python drills/runs.py [--kills 50] [--seed 0]

One process trains a small network and saves after every step, so that most kills (SIGKILL) fall into a save; it is
started again until it was killed so often. After each kill the newest complete checkpoint must be one that was
complete before or newer, its files must load, and the log of the finished run must hold every step once, with the
losses of a run that was never disturbed. Then four processes train together, of which a random one is killed, five
times.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from limner.evaluation.results import store_result
from limner.training.checkpoint import find_checkpoints

PATIENCE = 1200.0  # seconds until a run must have started and saved, on a machine that does other things
TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))
from limner.training.loop import train  # noqa: E402
from training import crew  # noqa: E402
from training.tiny import TinyTask, config  # noqa: E402
from training.tiny_sets import losses  # noqa: E402


def run_tiny(run: Path, stop_after: int | None = None, accumulate: int = 1) -> None:
    """Train on where `run` is, saving after every step, for a million steps or fewer."""
    made = config(steps=1_000_000, accumulate=accumulate, batch_size=2, checkpoint_minutes=1e-9)
    train(TinyTask(batch_size=2), made, run, resume=True, stop_after=stop_after)


def newest(run: Path) -> int:
    """Step of the newest complete checkpoint, whose files must load."""
    found = find_checkpoints(run / "checkpoints")
    if found:
        for file in found[-1].path.glob("*.safetensors"):
            load_file(file)
    return found[-1].step if found else 0


def kill_one(folder: Path, kills: int, random: random.Random) -> dict[str, Any]:
    """One process, killed at moments uniform over its life after start-up."""
    run, reached, in_save, lost = folder / "one", 0, 0, 0
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import runs; from pathlib import Path; "
    script += f"runs.run_tiny(Path({str(run)!r}))"
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", script])
        end = time.monotonic() + PATIENCE
        while newest_quietly(run) <= reached:
            assert process.poll() is None, f"the run ended by itself with {process.poll()}"
            assert time.monotonic() < end, "the run never saved"
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        in_save += any((run / "checkpoints").glob(".writing-*"))
        now = newest(run)
        lost += now <= reached
        reached = now
    for place in (run, folder / "whole"):
        run_tiny(place, reached + 2)
    found = losses(run)
    assert [step for step, _ in found] == list(range(1, reached + 3)), "the log does not hold every step once"
    assert found == losses(folder / "whole"), "the losses are not those of an undisturbed run"
    weights = [
        find_checkpoints(place / "checkpoints")[-1].path / "model.safetensors" for place in (run, folder / "whole")
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes(), "the weights are not those of an undisturbed run"
    return {
        "same_bytes_as_undisturbed": True,
        "kills": kills,
        "in_the_middle_of_a_save": in_save,
        "checkpoints_lost": lost,
        "steps": reached,
    }


def kill_rank(folder: Path, kills: int, random: random.Random) -> dict[str, Any]:
    """Four processes, of which one is killed: the others stop with one line each, and the run goes on."""
    run, reached, seconds, lines = folder / "four", 0, [], 0
    for attempt in range(kills):
        place = folder / f"errors-{attempt}"
        place.mkdir()
        victim = random.randrange(4)
        processes = crew.start(4, run_tiny, run, None, 4, folder=place)
        end = time.monotonic() + PATIENCE
        while newest_quietly(run) <= reached:
            assert time.monotonic() < end and all(process.is_alive() for process in processes)
            time.sleep(0.02)
        time.sleep(random.uniform(0, 0.3))
        os.kill(processes[victim].pid, signal.SIGKILL)
        began = time.monotonic()
        errors = crew.finish(processes, place, 120)
        seconds.append(time.monotonic() - began)
        for rank, error in enumerate(errors):
            if rank != victim:
                assert error.count("\n") == 1 and "another process of the run ended" in error, error
                lines += 1
        reached = newest_quietly(run)
    place = folder / "errors"
    place.mkdir()
    assert crew.run(2, run_tiny, run, reached + 2, 4, folder=place) == ["", ""], "two ranks did not go on"
    assert [step for step, _ in losses(run)] == list(range(1, reached + 3))
    return {"kills": kills, "survivors_with_one_line": lines, "slowest_stop_seconds": max(seconds), "steps": reached}


def newest_quietly(run: Path) -> int:
    """Step of the newest complete checkpoint, looked at while others write."""
    found = find_checkpoints(run / "checkpoints")
    return found[-1].step if found else 0


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/drill-runs.json"))
    given = parser.parse_args()
    draws = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        figures = {"one_process": kill_one(Path(folder), given.kills, draws)}
        figures["four_processes"] = kill_rank(Path(folder), max(1, given.kills // 10), draws)
    store_result(given.out, f"python drills/runs.py --kills {given.kills}", figures, given.seed, {})
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
