"""FLOPs of a training step: what the backward pass of a convolution really does."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from limner.training.throughput import FlopMeter, matmul_peak

CHANNELS = 12


def forward_and_whole(layer: nn.Module, grad_input: bool = True) -> tuple[int, int, int]:
    """FLOPs of the forward pass, of forward and backward as the meter counts, and as PyTorch does."""
    x = torch.randn(2, CHANNELS, 9, 7, requires_grad=grad_input)
    with FlopCounterMode(display=False) as forward:
        layer(x)

    def step() -> tuple[torch.Tensor, dict]:
        loss = layer(x).square().mean()
        loss.backward()
        return loss, {}

    meter = FlopMeter()
    meter.measure(step)
    with FlopCounterMode(display=False) as dense:
        step()
    return forward.get_total_flops(), meter.flops, dense.get_total_flops()


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("groups", [1, 3, CHANNELS])
def test_backward_is_twice_the_forward_pass_whatever_the_groups(kind, groups: int) -> None:
    layer = kind(CHANNELS, CHANNELS, 3, stride=2, padding=1, groups=groups)
    forward, whole, dense = forward_and_whole(layer)
    assert whole == 3 * forward
    if groups == 1:
        assert whole == dense
    else:
        assert dense > whole, "PyTorch counts groups now: convolution_backward_flops can go"


def test_a_gradient_that_nobody_asks_for_costs_nothing() -> None:
    layer = nn.Conv2d(CHANNELS, 8, 3, groups=4)
    forward, whole, _ = forward_and_whole(layer, grad_input=False)
    assert whole == 2 * forward


def test_more_repeats_find_no_lower_peak() -> None:
    """The best of many: one product alone is at most as fast."""
    device = torch.device("cpu")
    alone = [matmul_peak(device, torch.float32, 64, 1) for _ in range(5)]
    assert matmul_peak(device, torch.float32, 64, 500) >= min(alone) > 0
