"""Exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Averaged copy of a module's floating-point state: a ← d·a + (1 − d)·w.

    The decay warms up as min(d, (1 + n) / (10 + n)) after n updates, so that early samples are not dominated by the
    initial weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors: dict[str, Tensor] = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Fold in the weights after `step` optimiser steps (counted from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averaged, current = [], []
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                averaged.append(self.tensors[key])
                current.append(value.detach())
            else:
                self.tensors[key].copy_(value)
        torch._foreach_lerp_(averaged, current, 1 - decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[nn.Module]:
        """The model in eval mode with averaged weights; the training weights come back afterwards."""
        kept = {key: value.detach().clone() for key, value in model.state_dict().items()}
        was_training = model.training
        model.load_state_dict(self.tensors)
        model.eval()
        try:
            yield model
        finally:
            model.load_state_dict(kept)
            model.train(was_training)
