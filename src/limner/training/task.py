"""What the training loop asks of a task. A task is everything that knows what is being trained."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn


class Task(Protocol):
    """One trainable thing: its module, its data, its loss, its measure.

    The batch of a step is a function of the step alone (our choice: because then a resumed run cannot differ from an
    uninterrupted one, whatever the number of loader threads). A task keeps its seed and batch size from its recipe.
    """

    def build(self) -> nn.Module:
        """The module to train, freshly initialised (or warm-started, if the recipe says so).

        A task that has a method `fill(model)` besides may return it on the meta device: the loop gives the model, or
        the pieces of it that a process holds, its memory, and `fill` the values. Frozen parameters of such a task are
        not part of checkpoints, since `fill` can make them again.
        """
        ...

    def batch(self, step: int) -> dict[str, Tensor]:
        """Batch of optimiser micro-step `step` (0, 1, …), on the CPU. Called from loader threads: must not mutate."""
        ...

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar to minimise and named parts of it for the log. `generator` (CPU) is seeded from the step."""
        ...

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Named figures on held-out data; called with the averaged (EMA) weights in eval mode."""
        ...

    def samples(self, model: nn.Module) -> np.ndarray | None:
        """A sheet of what the model does now, uint8 RGB (H, W, 3), or None."""
        ...

    def export(self, model: nn.Module, path: Path, facts: dict[str, str]) -> None:
        """Write shippable 16-bit weights to `path`; `facts` (config, step, figures) go into the header."""
        ...
