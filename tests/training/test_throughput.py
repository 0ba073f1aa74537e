"""FLOPs of a training step: what the backward pass of a convolution really does."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
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


class Mixed(nn.Module):
    """A bit of everything that training runs: attention, convolution, norms, the activations."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.conv, self.norm = nn.Linear(64, 192), nn.Conv1d(64, 64, 3, padding=1), nn.LayerNorm(64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, N, 64)."""
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, 4, 16)).permute(2, 0, 3, 1, 4)
        x = F.gelu(x + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2), approximate="tanh")
        return F.mish(F.silu(self.conv(x.transpose(1, 2))).softmax(1))


def test_a_step_that_is_counted_has_the_bits_of_one_that_is_not() -> None:
    """Or a resumed run, whose first step is counted anew, would go another way."""
    torch.manual_seed(0)
    model, x = Mixed(), torch.randn(3, 11, 64)

    def step() -> tuple[torch.Tensor, dict]:
        model.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        return loss.detach(), {}

    def gradients(loss: torch.Tensor) -> list[torch.Tensor]:
        return [loss, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]

    plain, counted = gradients(step()[0]), gradients(FlopMeter().measure(step)[0])
    assert len(plain) == 7 and all(torch.equal(a, b) for a, b in zip(plain, counted, strict=True))


def test_attention_is_two_products_and_five_backward() -> None:
    q, k, v = (torch.randn(2, 3, n, 16, requires_grad=True) for n in (8, 5, 5))

    def step() -> tuple[torch.Tensor, dict]:
        loss = F.scaled_dot_product_attention(q, k, v).sum()
        loss.backward()
        return loss, {}

    meter = FlopMeter()
    meter.measure(step)
    assert meter.flops == 7 * 2 * (2 * 3 * 8 * 5 * 16)


def test_more_repeats_find_no_lower_peak() -> None:
    """The best of many: one product alone is at most as fast."""
    device = torch.device("cpu")
    alone = [matmul_peak(device, torch.float32, 64, 1) for _ in range(5)]
    assert matmul_peak(device, torch.float32, 64, 500) >= min(alone) > 0
