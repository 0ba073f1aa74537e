"""The lookup-free quantiser of MAGVIT-v2 (arXiv 2310.05737): a code is the signs of a few numbers, read as bits.

Highest bit first. There is no table to look up and none to collapse.

Legend: B pictures, N = h·w codes, C bits, K = 2^C codes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Quantised(NamedTuple):
    """What the quantiser made of an encoder's numbers."""

    z: Tensor  # (B, C, h, w) of ±1, straight-through: the gradient passes as if nothing had happened
    codes: Tensor  # (B, N)
    commitment: Tensor  # mean (z − sign z)², scalar
    entropy: Tensor  # (E[H(code)] − H(E[code])) / C, in nats per bit, scalar: low is sure of each, fair over all


class Quantizer(nn.Module):
    """Signs of C numbers ↔ a code. The tables are constants that Show-o's files hold, too."""

    embedding: Tensor
    power_vals: Tensor

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.register_buffer("embedding", signs_of_codes(bits))  # (K, C)
        self.register_buffer("power_vals", _powers(bits))  # (C,)

    def forward(self, z: Tensor) -> Quantised:
        """z: (B, C, h, w). Each bit's probability is softmax of −(z ∓ 1)² over its two values, sigmoid(4 z) [S].

        The entropy over all is that of whole codes, not of bits one by one: bits may be fair and yet say the same.
        """
        hard = torch.where(z > 0, 1.0, -1.0).to(z.dtype)
        odds = (4 * z.float()).movedim(1, -1).flatten(0, 2)  # (B N, C), as logits
        each, over_all = _bit_entropy(odds).mean(), code_entropy(torch.sigmoid(odds)) / z.shape[1]
        commitment = F.mse_loss(z.float(), hard.float())
        return Quantised(z + (hard - z).detach(), self.codes(z), commitment, each - over_all)

    def codes(self, z: Tensor) -> Tensor:
        """(B, C, h, w) to (B, N), row by row."""
        return ((z > 0) * self.power_vals[:, None, None]).sum(1).flatten(1)

    def signs(self, codes: Tensor, rows: int) -> Tensor:
        """(B, N) to (B, C, rows, N / rows) of ±1."""
        bits = torch.bitwise_and(codes[..., None], self.power_vals) > 0
        return (bits.to(self.embedding.dtype) * 2 - 1).transpose(1, 2).unflatten(2, (rows, -1))


def signs_of_codes(bits: int) -> Tensor:
    """The bits of every code as ±1, highest first: (K, C)."""
    return ((torch.arange(2**bits)[:, None] // _powers(bits)) % 2).float() * 2 - 1


def _powers(bits: int) -> Tensor:
    return 2 ** torch.arange(bits - 1, -1, -1)


def code_entropy(p: Tensor) -> Tensor:
    """H of the mean distribution over the 2^C codes, in nats. p: (T, C), each bit's chance of being 1.

    A token's distribution is a product over its bits, so its table is an outer product of two halves of the bits, and
    the mean of all tables is one matrix product of 2^(C/2)-wide halves.
    """
    half = p.shape[1] // 2
    with torch.autocast(p.device.type, enabled=False):
        mean = _products(p[:, :half]).T @ _products(p[:, half:]) / len(p)
    return -(mean * mean.clamp_min(1e-20).log()).sum()  # a code that never occurs adds 0, with a finite gradient


def _products(p: Tensor) -> Tensor:
    """(T, c) to (T, 2^c): the chance of every pattern of c independent bits."""
    table = p.new_ones(len(p), 1)
    for bit in p.T:
        table = torch.stack([table * (1 - bit[:, None]), table * bit[:, None]], dim=2).flatten(1)
    return table


def _bit_entropy(odds: Tensor) -> Tensor:
    """H of bits with these logits, in nats; finite, like its gradient, also where a bit is as good as certain."""
    p = torch.sigmoid(odds)
    return -(p * F.logsigmoid(odds) + (1 - p) * F.logsigmoid(-odds))


def codebook_use(codes: Tensor, codebook: int) -> float:
    """Share of all codes that occur in ``codes`` at least once."""
    return len(codes.unique()) / codebook


def codebook_perplexity(codes: Tensor, codebook: int) -> float:
    """exp of the entropy of how often each code occurs: as many codes, used alike, would be as varied."""
    shares = torch.bincount(codes.flatten(), minlength=codebook).double() / codes.numel()
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))
