"""A real, tiny task: fit a two-layer network with dropout to a fixed function of seeded noise."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from limner.training.config import TrainingConfig
from limner.training.loop import train
from limner.weights.tensors import save_tensors

EXAMPLES = 10


class TinyTask:
    """Ten examples in batches of four: an epoch ends in the middle of a batch."""

    def __init__(self, batch_size: int = 4, seed: int = 0) -> None:
        self.batch_size, self.seed = batch_size, seed
        x = torch.randn(EXAMPLES, 3, generator=torch.Generator().manual_seed(5))
        self.x, self.y = x, x.sin().sum(1, keepdim=True)

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1), nn.BatchNorm1d(1))

    def batch(self, step: int) -> dict[str, Tensor]:
        rows = []
        for position in range(step * self.batch_size, (step + 1) * self.batch_size):
            epoch, index = divmod(position, EXAMPLES)
            rows.append(np.random.default_rng([self.seed, epoch]).permutation(EXAMPLES)[index])
        return {"x": self.x[rows], "y": self.y[rows]}

    def loss(self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int):
        noisy = batch["x"] + 0.05 * torch.randn(batch["x"].shape, generator=generator)
        error = (model(noisy).float() - batch["y"]).square().mean()
        return error, {"error": error}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return {"error": float((model(self.x) - self.y).square().mean())}

    def samples(self, model: nn.Module) -> np.ndarray:
        shade = int(model(self.x[:1]).sigmoid() * 255)
        return np.full((16, 16, 3), shade, np.uint8)

    def export(self, model: nn.Module, path: Path, facts: dict[str, str]) -> None:
        save_tensors(path, model.state_dict(), facts)


def config(**settings: object) -> TrainingConfig:
    """A recipe of 14 short steps."""
    fields = {
        "steps": 14, "batch_size": 4, "learning_rate": 0.05, "warmup": 3, "precision": "fp32", "ema": 0.9,
        "log_every": 1, "validate_every": 7, "sample_every": 7, "threads": 1,
    }  # fmt: skip
    return TrainingConfig.model_validate({"name": "tiny", "task": {"kind": "tiny"}, "train": fields | settings})


if __name__ == "__main__":  # run as a process of its own, so that a test can kill it
    train(TinyTask(), config(steps=100_000, checkpoint_minutes=1e-6), Path(sys.argv[1]), resume=True)
