"""A linear layer that starts as the way in to some features: what differs between them, nothing of what they share.

Our choice: because what all faces have in common is most of what a network says of a face, and behind a randomly drawn
layer the rest is too faint to be learnt from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FAINTEST = 1e-4
"""Components with less of the strongest one's variance are noise."""


@torch.no_grad()
def whiten(layer: nn.Linear, features: Tensor) -> int:
    """Fit a layer (C to R) with a bias to features (..., C): outputs are their strongest components, each of zero mean
    and unit variance, further outputs 0. Returns how many components there are."""
    rows = features.flatten(0, -2).double()
    mean = rows.mean(0)
    variance, directions = torch.linalg.eigh((rows - mean).T.cov())  # (C,) rising, (C, C) in columns
    kept = min(layer.out_features, int((variance > FAINTEST * variance[-1]).sum()))
    way_in = (directions[:, -kept:] / variance[-kept:].sqrt()).T  # (kept, C)
    for part, value in ((layer.weight, way_in), (layer.bias, -way_in @ mean)):
        part.zero_()[:kept] = value.to(part.dtype)
    return kept
