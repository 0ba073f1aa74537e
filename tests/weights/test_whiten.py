"""A fitted way in shows what differs between features, at unit scale, whatever they share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from limner.weights.whiten import whiten


def correlated(rows: int, width: int, rank: int) -> torch.Tensor:
    """Features whose common part is a hundred times what differs, along ``rank`` directions of very unlike strength."""
    g = torch.Generator().manual_seed(0)
    strength = torch.logspace(0, -1.5, rank)
    directions = torch.linalg.qr(torch.randn(width, rank, generator=g)).Q.T
    return (torch.randn(rows, rank, generator=g) * strength) @ directions + 100


@pytest.mark.parametrize(("width", "out", "kept"), [(6, 6, 6), (6, 9, 6), (6, 4, 4)])
def test_outputs_are_white(width: int, out: int, kept: int) -> None:
    layer, features = nn.Linear(width, out), correlated(8000, width, width).view(2000, 4, width)
    assert whiten(layer, features) == kept
    found = layer(features).detach().flatten(0, 1)
    assert torch.allclose(found.mean(0), torch.zeros(out), atol=1e-2)
    expected = torch.diag((torch.arange(out) < kept).float())
    assert torch.allclose(found.T.cov(), expected, atol=2e-2)
    if out < width:  # the strongest are kept: no other projection of as many outputs explains more
        rows = features.flatten(0, 1) - features.flatten(0, 1).mean(0)
        strongest = torch.linalg.svdvals(rows)[:kept].square().sum()
        back = torch.linalg.lstsq(found, rows).solution
        assert (found @ back).square().sum() > 0.999 * strongest


def test_what_a_token_always_has_is_no_component() -> None:
    layer, features = nn.Linear(6, 6), correlated(8000, 6, 6).view(2000, 4, 6)
    shifts = 50 * torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    assert whiten(layer, features + shifts) == 6
    found = layer(features + shifts).detach()
    assert torch.allclose(found.std(0), torch.ones(4, 6), atol=0.05)
    assert torch.allclose(found.mean((0, 1)), torch.zeros(6), atol=1e-2)


@pytest.mark.parametrize("features", [torch.ones(5, 2, 3), torch.randn(1, 2, 3), torch.full((5, 2, 3), torch.nan)])
def test_faces_that_do_not_differ_are_refused(features: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="must differ"):
        whiten(nn.Linear(3, 3), features)


def test_noise_below_the_strongest_is_left_out() -> None:
    layer = nn.Linear(8, 8)
    assert whiten(layer, correlated(1000, 8, 3)) == 3
    assert not layer.weight[3:].any() and not layer.bias[3:].any()
