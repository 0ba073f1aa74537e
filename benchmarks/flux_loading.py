"""Host memory of loading FLUX.1 for training, on 1, 2 and 4 processes; writes results/flux-loading.json.

    python benchmarks/flux_loading.py [--out results/flux-loading.json] [--width 1024]

A random FLUX transformer in the published layout (bfloat16, sharded, with an index) is written to a temporary folder.
Then W processes build it with corrections as `limner train configs/mditface-flux.toml` does: on the meta device, cut
into pieces (FSDP2), filled by rows. Measured: anonymous memory of each process (RssAnon, without pages of the files
themselves, which the system shares and may drop), at its highest minus what it was before. Beside it, one process that
loads all of it in float32, which is what every process did before.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from limner.evaluation.results import store_result

HEADS, DOUBLE, SINGLE = 8, 4, 8


def write_checkpoint(folder: Path, width: int) -> int:
    """A random FLUX.1-dev of that width; returns the bytes of its weights."""
    import torch
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    size = width // HEADS
    flux: Any = FluxTransformer2DModel(
        num_layers=DOUBLE, num_single_layers=SINGLE, attention_head_dim=size, num_attention_heads=HEADS,
        joint_attention_dim=256, pooled_projection_dim=128, guidance_embeds=True,
        axes_dims_rope=(size // 4, size * 3 // 8, size * 3 // 8),
    )  # fmt: skip
    flux.to(torch.bfloat16).save_pretrained(folder / "transformer", max_shard_size="100MB")
    return sum(file.stat().st_size for file in (folder / "transformer").glob("*.safetensors"))


def anonymous() -> int:
    """Bytes of anonymous memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise OSError("this system does not report RssAnon")


class Highest:
    """The highest anonymous memory within the block, above what it was at its beginning."""

    def __enter__(self) -> Highest:
        self.before = self.most = anonymous()
        self.going = True
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while self.going:
            self.most = max(self.most, anonymous())
            time.sleep(0.002)

    def __exit__(self, *reason: object) -> None:
        self.going = False
        self.thread.join()
        self.most = max(self.most, anonymous()) - self.before


def work(rank: int, world: int, port: int, folder: Path, out: Path) -> None:
    """One process: build, cut, fill; its highest memory goes to a file."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}  # fmt: skip
    import torch

    from limner.models.mditface.flux import from_flux
    from limner.models.mditface.flux_training import empty_model, fill
    from limner.training.config import TrainSettings
    from limner.training.parallel import Replica
    from limner.training.ranks import join

    torch.set_num_threads(1)
    if world == 0:
        with Highest() as highest:
            from_flux(folder, torch.float32)
    else:
        fields = {"steps": 1, "batch_size": 1, "accumulate": world, "strategy": "fsdp", "device": "cpu"}
        settings = TrainSettings.model_validate({**fields, "mixed_precision_param": "bf16"})
        with join(settings) as ranks:
            torch.mm(torch.zeros(8, 8), torch.zeros(8, 8))  # what libraries allocate once
            with Highest() as highest:
                model = empty_model(folder, 16, ("image", "text"), 16, "bf16")
                Replica(model, settings, ranks, lambda given: fill(given, folder, 0))  # type: ignore[arg-type]
    (out / f"{world}-{rank}.json").write_text(json.dumps(highest.most))


def measure(world: int, folder: Path, out: Path) -> list[int]:
    """The highest memory of each process, in bytes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    ranks = range(max(world, 1))
    processes = [context.Process(target=work, args=(rank, world, port, folder, out)) for rank in ranks]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return [json.loads((out / f"{world}-{rank}.json").read_text()) for rank in ranks]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/flux-loading.json"))
    parser.add_argument("--width", type=int, default=1024)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = write_checkpoint(folder, given.width)
        rows = []
        for world in (0, 1, 2, 4):
            most = measure(world, folder, folder)
            rows.append({
                "loading": "float32, whole" if world == 0 else "bfloat16, pieces by rows",
                "processes": max(world, 1),
                "highest MB of a process": round(max(most) / 1e6, 1),
                "share of the checkpoint": round(max(most) / weights, 3),
            })  # fmt: skip
            print(rows[-1])
    settings = {"width": given.width, "double blocks": DOUBLE, "single blocks": SINGLE, "checkpoint MB": weights / 1e6}
    store_result(given.out, "python benchmarks/flux_loading.py", {"rows": rows}, seed=0, settings=settings)


if __name__ == "__main__":
    main()
