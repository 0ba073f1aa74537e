"""A linear layer that starts as the way in to features of faces: what differs from face to face, at unit scale.

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
    """Fit a layer (C to R) with a bias to features (B, ..., C) of B faces: outputs are the strongest components of what
    differs from face to face, token by token, at unit variance; their mean over all tokens is 0. Further outputs are 0.

    Returns how many components there are. ``ValueError`` for faces that do not differ.
    """
    if len(features) < 2 or not features.isfinite().all() or torch.equal(features, features[:1].expand_as(features)):
        raise ValueError("finite features of two faces or more are needed, and they must differ")
    features = features.double()
    mean = features.flatten(0, -2).mean(0)
    rows = (features - features.mean(0)).flatten(0, -2)
    variance, directions = torch.linalg.eigh(rows.T @ rows / len(rows))  # (C,) rising, (C, C) in columns
    kept = min(layer.out_features, int((variance > FAINTEST * variance[-1]).sum()))
    way_in = (directions[:, -kept:] / variance[-kept:].sqrt()).T  # (kept, C)
    for part, value in ((layer.weight, way_in), (layer.bias, -way_in @ mean)):
        part.zero_()[:kept] = value.to(part.dtype)
    return kept
