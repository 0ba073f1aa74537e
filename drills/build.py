"""Killing a build on Ray at random: the finished set is the undisturbed one. Writes results/drill-build.json.

    python drills/build.py [--kills 20] [--pictures 600] [--seed 0]

A build on a local Ray cluster is disturbed again and again: a worker process is killed; or the machine's agent, which
takes the machine out of the cluster, so that the build ends with an error; or the driver with everything it started.
After the last two the same command is started again. At the end every file must have the bytes of a local build that
nobody disturbed, and no row may be there twice or be missing.
"""

from __future__ import annotations

import argparse
import contextlib
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

import psutil

from limner.data.build import build
from limner.data.shards import read_shards
from limner.data.sources import open_sources
from limner.data.stages import RecordSettings
from limner.evaluation.results import store_result

TESTS = Path(__file__).parents[1] / "tests" / "data"
sys.path.insert(0, str(TESTS))
import plain_reader  # noqa: E402

SETTINGS = RecordSettings(captions=1, prompts=1, questions=2, min_size=30)
BLOCK_SIZE = 8


class Slow(plain_reader.PlainReader):
    """Takes its time, so that there is time to be killed."""

    def read(self, photo, min_score: float = 0.5):
        time.sleep(0.15)
        return super().read(photo, min_score)


def run(photos: str, out: str) -> None:
    """The disturbed build, in a process of its own."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from limner.data.ray_build import start

    paths = os.pathsep.join([str(TESTS), str(Path(__file__).parent), *sys.path])
    start(
        num_cpus=3, object_store_memory=100_000_000,
        runtime_env={"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}},
    )  # fmt: skip
    build(open_sources([photos]), out, SETTINGS, 2, load_reader=Slow, engine="ray", block_size=BLOCK_SIZE)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a set."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*.*")}


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a driver with everything it started: a cluster can outlive its driver."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait()


def wait_for_a_block(process: subprocess.Popen[bytes], blocks: Path) -> None:
    """Until one more block is written, or the build is over."""
    done, deadline = len(list(blocks.glob("*.json"))), time.monotonic() + 240
    while len(list(blocks.glob("*.json"))) <= done and process.poll() is None:
        assert time.monotonic() < deadline, "the build stands still"
        time.sleep(0.05)
    assert process.poll() in (None, 0), "the build gave up"


def disturb(photos: Path, out: Path, kills: int, draws: random.Random) -> dict[str, Any]:
    """Start, kill something, start again if that was needed, until enough was killed; then let it finish.

    Nothing is left running when this is stopped half-way.
    """
    killed = {"workers": 0, "machines": 0, "drivers": 0}
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import build; build.run(*sys.argv[1:])"
    with contextlib.ExitStack() as started:

        def begin() -> subprocess.Popen[bytes]:
            driver = subprocess.Popen([sys.executable, "-c", script, str(photos), str(out)], start_new_session=True)
            started.callback(end, driver)
            return driver

        process = begin()
        while sum(killed.values()) < kills:
            wait_for_a_block(process, out / "blocks")
            if process.poll() == 0:
                break
            time.sleep(draws.uniform(0, 0.5))
            family = psutil.Process(process.pid).children(recursive=True)
            named = [(one, (one.cmdline() or [""])[0]) for one in family]
            workers = [one for one, name in named if name.startswith("ray::") and not name.endswith("Agent")]
            agents = [one for one, name in named if name.startswith("ray::") and name.endswith("Agent")]
            chance = draws.random()
            if workers and chance < 0.6:
                draws.choice(workers).kill()
                killed["workers"] += 1
            elif agents and chance < 0.8:
                draws.choice(agents).kill()
                killed["machines"] += 1
                if process.wait(300) != 0:  # it may have had its last block already
                    process = begin()
            else:
                end(process)
                killed["drivers"] += 1
                process = begin()
        assert process.wait(600) == 0, "the last run failed"
    return killed


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/drill-build.json"))
    given = parser.parse_args()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        photos = plain_reader.make_pictures(folder / "photos", given.pictures)
        (photos / "007.png").write_text("not a picture")
        build(
            open_sources([photos]), folder / "calm", SETTINGS, 1, load_reader=plain_reader.load, block_size=BLOCK_SIZE
        )
        killed = disturb(photos, folder / "storm", given.kills, random.Random(given.seed))
        calm, storm = contents(folder / "calm"), contents(folder / "storm")
        assert storm.keys() == calm.keys(), sorted(storm.keys() ^ calm.keys())
        assert storm == calm, [name for name in calm if calm[name] != storm[name]]
        ids = read_shards(folder / "storm", ["id"])["id"].to_pylist()
        figures = {**killed, "files": len(storm), "rows": len(ids), "twice": len(ids) - len(set(ids)),
                   "missing": given.pictures - 1 - len(set(ids))}  # fmt: skip
    assert figures["twice"] == figures["missing"] == 0
    store_result(given.out, f"python drills/build.py --kills {given.kills} --pictures {given.pictures}", figures,
                 given.seed, {"block_size": BLOCK_SIZE, "same_bytes_as_local": True})  # fmt: skip
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
