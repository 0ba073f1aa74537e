"""LPIPS and the two players of the adversarial game."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from codec.tiny import lpips_tensors
from limner.codecs.discriminator import PatchDiscriminator, discriminator_loss, generator_loss
from limner.codecs.perceptual import LPIPS
from limner.errors import InputError


@pytest.fixture(scope="module")
def lpips() -> LPIPS:
    return LPIPS(lpips_tensors())


def test_lpips_is_a_distance_that_grows_with_damage(lpips: LPIPS) -> None:
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    distances = [lpips(x, x + level * noise) for level in (0.0, 0.05, 0.2, 0.8)]
    assert torch.equal(distances[0], torch.zeros(2))
    assert all((a < b).all() for a, b in itertools.pairwise(distances))
    torch.testing.assert_close(lpips(x, x + noise), lpips(x + noise, x))


def test_lpips_follows_its_definition(lpips: LPIPS) -> None:
    x, y = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1
    total = 0.0
    a, b = ((p - lpips.get_buffer("shift")) / lpips.get_buffer("scale") for p in (x, y))
    for index, convolution in enumerate(lpips.convolutions):
        a, b = (F.max_pool2d(p, 3, 2) if index in (1, 2) else p for p in (a, b))
        a, b = F.relu(convolution(a)), F.relu(convolution(b))
        unit = [p / p.norm(dim=1, keepdim=True).clamp_min(1e-10) for p in (a, b)]
        weights = lpips.get_buffer(f"head{index}")
        total += ((unit[0] - unit[1]) ** 2 * weights.view(1, -1, 1, 1)).sum(1).mean().item()
    assert lpips(x, y).item() == pytest.approx(total, rel=1e-4)


def test_lpips_has_a_gradient_where_features_are_all_zero(lpips: LPIPS) -> None:
    dark = LPIPS({name: -t.abs() if name.endswith("weight") else t - 9 for name, t in lpips_tensors().items()})
    x = torch.zeros(1, 3, 64, 64, requires_grad=True)
    dark(x, torch.ones(1, 3, 64, 64)).sum().backward()
    assert dark.features(x)[-1].abs().max() == 0 and x.grad is not None and x.grad.isfinite().all()


def test_missing_lpips_weights_say_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIMNER_LPIPS", raising=False)
    with pytest.raises(InputError, match="lpips_alex"):
        LPIPS.load()


def test_each_player_moves_only_its_own_weights() -> None:
    torch.manual_seed(0)
    critic, maker = PatchDiscriminator(8), torch.nn.Conv2d(3, 3, 1)
    real, seed = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    generator_loss(critic, maker(seed)).backward()
    assert all(p.grad is None for p in critic.parameters()) and maker.weight.grad is not None
    maker.weight.grad = None
    discriminator_loss(critic, real, maker(seed)).backward()
    assert maker.weight.grad is None and all(p.grad is not None for p in critic.parameters())


def test_the_critic_learns_to_tell_noise_from_stripes() -> None:
    torch.manual_seed(0)
    critic = PatchDiscriminator(8)
    optimizer = torch.optim.Adam(critic.parameters(), 5e-3)
    stripes = torch.sin(torch.arange(64) / 3).expand(4, 3, 64, 64)
    for _ in range(25):
        loss = discriminator_loss(critic, stripes, torch.rand(4, 3, 64, 64) * 2 - 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert critic(stripes).mean() > critic(torch.rand(4, 3, 64, 64) * 2 - 1).mean() + 0.5
    assert critic(stripes).shape == (4, 1, 4, 4)
