"""What training makes of a model's blocks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from limner.training.parallel import Replica
from limner.training.ranks import ALONE
from training.tiny import config


class Stack(nn.Module):
    """A model with one repeated block."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(3, 3)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, 3)."""
        return self.blocks[0](x)


def test_blocks_are_compiled_where_they_learn_and_only_there() -> None:
    """Under a stance that refuses to compile, so that no C++ compiler is needed."""
    model = Replica(Stack(), config(compile=True).train, ALONE).model
    with torch.compiler.set_stance("fail_on_recompile"):
        with torch.no_grad():
            assert torch.equal(model(torch.ones(2, 3)), nn.functional.linear(torch.ones(2, 3), *model.parameters()))
        with pytest.raises(RuntimeError, match="fail_on_recompile"):
            model(torch.ones(2, 3))


def test_a_partly_frozen_model_keeps_its_layout_on_a_cpu() -> None:
    """PyTorch crashes in such a model's backward pass where convolutions are channels-last."""
    settings = config(channels_last=True).train
    for frozen in (False, True):
        first, second = nn.Conv2d(3, 4, 3).requires_grad_(not frozen), nn.Conv2d(4, 4, 3)
        Replica(nn.Sequential(first, second), settings, ALONE)
        assert second.weight.is_contiguous(memory_format=torch.channels_last) == (not frozen)
