"""How long FaceX's edits and films take, warm: reading the photo, painting, and eight edits alone or in one batch.

    python benchmarks/facex_speed.py [--weights facex-nano] [--repeats 5] [--steps 20] [--threads 2]

The photo is one of the demo's. Its mirror image is the source of the swap, which identity guidance slows down; the film
shows it wandering through 48 frames. Both ways of painting eight edits take turns, so they see the same machine.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import limner
from limner.evaluation.results import store_result
from limner.faces.picture import read_picture
from limner.models.facex.engine import FaceX
from limner.models.facex.plan import CANVAS, EditPlan
from limner.models.facex.video_edit import edit_video
from limner.models.facex.video_writer import write_video
from limner.settings import BATCH

PHOTO = Path(limner.__file__).parent / "demo" / "photographs" / "face-10018.jpg"
PLAN = EditPlan.motion(yaw=10.0)
FRAMES = 48


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="facex-nano", help="registry name or folder")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/facex-speed.json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    editor = FaceX.load(given.weights)
    photo = read_picture(PHOTO)

    def paint(count: int) -> None:
        begun = [editor.prepare(PLAN, {CANVAS: subject}, seed) for seed in range(count)]
        editor.paint(begun, given.steps, editor.components.strength, "euler")

    subject = editor.subject(photo, None, CANVAS)
    paint(1)
    edit = times(lambda: editor.edit(photo, PLAN, steps=given.steps), given.repeats)
    swap = times(lambda: editor.swap(photo[:, ::-1], photo, steps=given.steps), given.repeats)
    read = times(lambda: editor.subject(photo, None, CANVAS), given.repeats)
    alone, batch = list[float](), list[float]()
    for _ in range(given.repeats):
        alone += times(lambda: [paint(1) for _ in range(BATCH)], 1)
        batch += times(lambda: paint(BATCH), 1)
    figures: dict[str, Any] = {
        "edit_seconds": float(np.median(edit)),
        "swap_seconds": float(np.median(swap)),
        "reading_seconds": float(np.median(read)),
        "eight_alone_seconds": float(np.median(alone)),
        "eight_in_a_batch_seconds": float(np.median(batch)),
        "batch_to_alone": float(np.median(batch) / np.median(alone)),
        "film_frames_per_second": FRAMES / film(editor, photo, given.steps),
    }
    settings = {name: getattr(given, name) for name in ("weights", "repeats", "steps", "threads")}
    settings |= {"frames": FRAMES, "photo": list(photo.shape[:2])}
    command = shlex.join(["python", "benchmarks/facex_speed.py", *sys.argv[1:]])
    for name, value in store_result(given.out, command, figures, 0, settings)["figures"].items():
        print(name, value)


def times(run: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of each run."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return seconds


def film(editor: FaceX, photo: np.ndarray, steps: int) -> float:
    """Seconds of editing a film of the photo, from its file to the new one."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.mp4", Path(folder) / "out.mp4"
        write_video(source, (np.roll(photo, k, 1) for k in range(FRAMES)), 24.0, None, {})
        return times(lambda: edit_video(editor, PLAN, source, CANVAS, {}, out, steps=steps), 1)[0]


if __name__ == "__main__":
    main()
