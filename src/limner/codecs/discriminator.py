"""A light patch discriminator: sharpens what L1 and LPIPS leave soft (PatchGAN, arXiv 1611.07004; hinge loss)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] → a logit for every patch (B, 1, H/16, W/16); high means real.

    Spectral norm instead of batch norm (our choice: because the verdict on a picture must not depend on its batch).
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width, 4 * width)
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        channels = 12
        for index, out in enumerate(widths):
            stride = 1 if index == 0 else 2
            layers += [spectral_norm(nn.Conv2d(channels, out, 3 if index == 0 else 4, stride, 1)), nn.LeakyReLU(0.2)]
            channels = out
        layers.append(spectral_norm(nn.Conv2d(channels, 1, 3, 1, 1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.layers(pictures)


def discriminator_loss(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the critic; no gradient reaches the maker of `fake`."""
    return 0.5 * (F.relu(1 - critic(real)).mean() + F.relu(1 + critic(fake.detach())).mean())


def generator_loss(critic: nn.Module, fake: Tensor) -> Tensor:
    """−E[critic(fake)] with the critic's parameters held fixed, so one backward pass can serve both players."""
    frozen = {name: value.detach() for name, value in critic.named_parameters()}
    return -torch.func.functional_call(critic, frozen, (fake,)).mean()
