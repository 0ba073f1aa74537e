"""Exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """Averaged copy of a module's floating-point state: a ← d·a + (1 − d)·w.

    The decay warms up as min(d, (1 + n) / (10 + n)) after n updates, so that early samples are not dominated by the
    initial weights. Parameters that are not trained are their own average, and are not copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        self.tensors: dict[str, Tensor] = {
            key: value.detach() if key in self.frozen else value.detach().clone()
            for key, value in model.state_dict().items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from the averages of a checkpoint."""
        self.tensors |= {key: value for key, value in tensors.items() if key not in self.frozen}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Fold in the weights after `step` optimiser steps (counted from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averaged, current = [], []
        for key, value in model.state_dict().items():
            if key in self.frozen:
                continue
            if value.is_floating_point():
                averaged.append(self.tensors[key])
                current.append(value.detach())
            else:
                self.tensors[key].copy_(value)
        torch._foreach_lerp_(averaged, current, 1 - decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[nn.Module]:
        """The model in eval mode with averaged weights; the training weights come back afterwards."""
        kept = {key: value.detach().clone() for key, value in model.state_dict().items() if key not in self.frozen}
        was_training = model.training
        model.load_state_dict({key: self.tensors[key] for key in kept}, strict=False)
        model.eval()
        try:
            yield model
        finally:
            model.load_state_dict(kept, strict=False)
            model.train(was_training)
