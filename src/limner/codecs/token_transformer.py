"""A plain transformer over a fixed number of tokens, for codecs: pre-norm, learned positions, no conditioning."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TokenTransformer(nn.Module):
    """(B, N, inputs) → (B, N, outputs). Every token reads every token."""

    def __init__(self, inputs: int, outputs: int, tokens: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x) + self.position.to(x.dtype)
        for layer in self.layers:
            x = layer(x)
        return self.leave(self.norm(x))
