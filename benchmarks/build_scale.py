"""How a build on Ray scales: memory over a million rows, rows a second; writes results/build-scale.json.

    python benchmarks/build_scale.py [--rows 1000000] [--measured 12.9] [--cores 2]

The rows are synthetic (a face record with all columns, but no networks), so that what is measured is the machinery: the
driver, Ray and the workers, sampled every second. What a real face costs is taken from a build of real photographs on
this kind of core (--measured: faces a second on --cores), and hours and costs of larger sets are projected from that.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from limner.data.build import build
from limner.data.ray_build import start
from limner.data.sources import Item
from limner.data.stages import RecordSettings
from limner.evaluation.results import store_result
from limner.faces.picture import encode_png
from limner.faces.record import Attribute, Face, Pose

SETTINGS = RecordSettings(captions=0, prompts=0, questions=0)
DOLLARS = 0.04  # a core and hour of a general-purpose cloud machine, spot price: our assumption
NODE_CORES = 64
TARGETS = {"130 K faces, 1 M questions": 130_000, "1 M faces": 1_000_000, "100 M faces": 100_000_000}
PICTURE = encode_png(np.full((256, 256, 3), 128, np.uint8))


class Bytes:
    """Where synthetic items lie: nowhere; they answer with the same picture."""

    def read_bytes(self) -> bytes:
        return PICTURE


class Synthetic(Sequence[Item]):
    """So many items, made when asked for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[k] for k in range(*at.indices(self.count))]
        name = f"synthetic/{at:09d}"
        return Item(name, "synthetic", "CC0", name, Bytes(), aligned=True)  # type: ignore[arg-type]


class Constant:
    """A reader that sees the same face everywhere."""

    def __init__(self) -> None:
        self.face = Face(
            box=np.array([64, 64, 192, 192], np.float32), score=0.9, landmarks=np.zeros((468, 3), np.float32),
            irises=np.zeros((2, 5, 3), np.float32), pose=Pose(0.0, 0.0, 0.0), gaze=np.zeros(2, np.float32),
            expression=np.zeros(52, np.float32), light=np.zeros(27, np.float32),
            regions=np.zeros((256, 256), np.uint8), crop=np.eye(2, 3, dtype=np.float32),
            identity=np.zeros(128, np.float32), attributes={"glasses": Attribute(False, 0.9, "constant")},
        )  # fmt: skip

    def read(self, photo: np.ndarray, min_score: float = 0.5) -> list[Face]:
        return [self.face]

    def read_crops(self, pictures: np.ndarray) -> list[Face | None]:
        return [self.face] * len(pictures)


class Watch(threading.Thread):
    """Samples memory and processor time of this process and all it started, every second.

    samples: (seconds, rows, gigabytes, the object store's shared memory apart). processor: seconds by process, which is
    what counts on a machine that does other things as well.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, float, float]] = []
        self.processor: dict[int, float] = {}
        self.rows = 0
        self.done = threading.Event()

    def run(self) -> None:
        began = time.monotonic()
        while not self.done.wait(1):
            family = [psutil.Process(), *psutil.Process().children(recursive=True)]
            total = 0
            for one in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    total += one.memory_info().rss - one.memory_info().shared
                    self.processor[one.pid] = sum(one.cpu_times()[:2])
            self.samples.append((time.monotonic() - began, self.rows, total / 1e9))


def project(faces_per_core_second: float) -> dict[str, Any]:
    """Hours and dollars for the targets on 1, 10 and 100 nodes."""
    rows = {}
    for name, count in TARGETS.items():
        core_hours = count / faces_per_core_second / 3600
        rows[name] = {
            "core_hours": core_hours, "dollars": core_hours * DOLLARS,
            **{f"hours_on_{nodes}_nodes": core_hours / NODE_CORES / nodes for nodes in (1, 10, 100)},
        }  # fmt: skip
    return rows


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--block-size", type=int, default=1024)
    parser.add_argument("--measured", type=float, default=12.9, help="Real faces a second (LOG.md, 2026-11-24).")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/build-scale.json"))
    given = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "disabled"
    here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    start(
        num_cpus=2, object_store_memory=500_000_000,
        runtime_env={"env_vars": {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"}},
    )  # fmt: skip
    watch, processor = Watch(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        watch.start()
        began = time.monotonic()

        def note(progress: Any) -> None:
            watch.rows = progress.done

        manifest = build(Synthetic(given.rows), Path(folder) / "set", SETTINGS, 1, progress=note, load_reader=Constant,
                         engine="ray", block_size=given.block_size)  # fmt: skip
        took = time.monotonic() - began
        watch.done.set()
    assert manifest["rows"] == given.rows
    parts = np.array_split([memory for _, rows, memory in watch.samples if rows], 10)
    memory = [float(part.max()) for part in parts if len(part)]
    core_seconds = sum(watch.processor.values())
    figures = {
        "rows": given.rows, "seconds": took, "rows_per_second": given.rows / took,
        "core_seconds": core_seconds, "rows_per_core_second": given.rows / core_seconds,
        "peak_memory_gb_by_tenth": memory, "growth": memory[-1] / memory[0],
        "driver_processor_seconds": time.process_time() - processor,
        "projected": project(given.measured / given.cores),
    }  # fmt: skip
    settings = {"cores": 2, "block_size": given.block_size, "object_store_mb": 500, "dollars_a_core_hour": DOLLARS,
                "node_cores": NODE_CORES, "faces_per_second": given.measured, "on_cores": given.cores}  # fmt: skip
    store_result(given.out, f"python benchmarks/build_scale.py --rows {given.rows}", figures, None, settings)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    import sys

    # as a module of that name, so that workers can import what they unpickle
    sys.path.insert(0, str(Path(__file__).parent))
    import build_scale

    build_scale.main()
