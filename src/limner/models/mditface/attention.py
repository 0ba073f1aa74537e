"""Attention between the streams.

Decoupled attention [P] is not a mask inside one big product: dynamic queries (text, image) read every key, static
queries (mask) read mask keys only, so the two sides are two calls, and the static one happens once.

Legend: B batch, N queries, S keys, H heads, E head size, D = H * E.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .rope import rotate

EPSILON = 1e-6  # of every normalisation, as in FLUX.1
SHORT = 512  # keys up to which two bfloat16 matrix products beat the fused kernel on a CPU (measured: 1.3 to 2.3 times)


class QKNorm(nn.Module):
    """RMS normalisation of queries and keys over the head size, one learned gain each, rotated and scaled."""

    def __init__(self, head_size: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(2, head_size))

    def forward(self, qk: Tensor, freqs: Tensor | None) -> tuple[Tensor, Tensor]:
        """Queries, divided by sqrt(E), and keys, (B, H, N, E) each.

        qk: (B, N, 2, H, E), queries then keys; freqs: (N, E / 2) or None. In float32 throughout, rounded once.
        """
        scales = torch.tensor([[qk.shape[-1] ** -0.5], [1.0]], device=qk.device)
        y = self._turned(qk, self.gain * scales, freqs)  # (B, N, 2, H, E)
        q, k = y.permute(2, 0, 3, 1, 4).to(qk.dtype, memory_format=torch.contiguous_format).unbind()
        return q, k

    def key(self, k: Tensor, freqs: Tensor) -> Tensor:
        """Keys alone: (B, N, H, E) to (B, H, N, E)."""
        y = self._turned(k[:, :, None], self.gain[1:], freqs)[:, :, 0]
        return y.transpose(1, 2).to(k.dtype, memory_format=torch.contiguous_format)

    @staticmethod
    def _turned(x: Tensor, gain: Tensor, freqs: Tensor | None) -> Tensor:
        y = F.rms_norm(x.float(), x.shape[-1:], eps=EPSILON) * gain[:, None]
        return y if freqs is None else rotate(y, freqs)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q kT + bias) v, q divided by sqrt(E) already.

    q: (B, H, N, E); k, v: (B, H, S, E); bias: float32 (B or 1, 1, 1, S), added to every query's logits.
    Returns (B, N, D).
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and k.shape[2] <= SHORT:
        scores = torch.matmul(q, k.transpose(2, 3))  # (B, H, N, S)
        if (
            bias is not None
        ):  # in float32, whose softmax is quick at any S; bfloat16's is not where 32 does not divide S
            scores = scores + bias
        out = torch.matmul(torch.softmax(scores, dim=3).to(v.dtype), v)
    else:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias.to(q.dtype), scale=1.0)
    return out.transpose(1, 2).flatten(2)  # (B, N, D)


def normalise(x: Tensor) -> Tensor:
    """Layer normalisation without gain or offset; the modulation supplies both. (B, N, D)"""
    return F.layer_norm(x, x.shape[-1:], eps=EPSILON)
