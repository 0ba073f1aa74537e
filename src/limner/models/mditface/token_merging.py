"""Fewer mask tokens for the dynamic streams to read, after the static path has run.

What remains of a mask's cost once it is cached are the dynamic queries that read its keys. A mask is mostly constant
areas, so many of its keys and values say nearly the same. A group of tokens becomes one: the mean of its keys, the mean
of its values, and the logarithm of its size added to every logit, so that attention gives the group the mass it had,

    sum_i exp(q k_i) v_i  ~  n exp(q k) v,    k = mean k_i, v = mean v_i.

Exact where a group's keys are equal, and where nothing merges; otherwise an approximation, so it is off by default.

* ``regions``: tokens inside one region, touching no edge, merge with their neighbours of the same region. For fine
  grids (FLUX: a token is 16 x 16 pixels).
* ``similar``: per layer, Ward's clustering of keys and values down to a given number of tokens. For coarse grids (nano:
  a token is 32 x 32 pixels, nearly all touch an edge).

Legend: B batch, L layers, M mask tokens, G groups, H heads, E head size, R rows (L or L * B).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from limner.errors import InputError

from .mask_cache import MaskCache
from .transformer import MaskFeatures

LARGEST = 256  # tokens up to which clustering is quick: its work grows with their cube


def merge_regions(cache: MaskCache, regions: Tensor, token_pixels: int, tile: int | None = None) -> MaskCache:
    """Merge interiors. regions: uint8 (B, H, W), the maps the cache was made from; rows of the cache may be fewer.

    tile: also cut groups at every ``tile`` tokens, so that a large area keeps some sense of place; None: whole areas.
    """
    groups = torch.stack([interior_groups(one, token_pixels, tile) for one in regions])  # (B, M)
    return merge(cache, groups[None])


def merge_similar(cache: MaskCache, keep: int) -> MaskCache:
    """Merge to ``keep`` tokens per layer, those whose keys and values are most alike first.

    Our choice: Ward's criterion on keys and values, each at unit variance, all heads together: it adds least to the sum
    of squared deviations at every step, and counts large groups for what they are. ``InputError`` for a ``keep`` below
    1 or a mask above 256 tokens.
    """
    if keep < 1:
        raise InputError(f"keep={keep}: at least one token must be left")
    if cache.tokens > LARGEST:
        raise InputError(f"{cache.tokens} mask tokens are too many to cluster (at most {LARGEST}): merge by regions")
    if keep >= cache.tokens:
        return cache
    parts = [torch.stack(x).float().transpose(2, 3).flatten(3) for x in cache.features[:2]]  # (L, B, M, D) each
    parts = [x / x.std(dim=(2, 3), keepdim=True).clamp_min(1e-6) for x in parts]
    features = torch.cat(parts, dim=3)  # (L, B, M, 2 D)
    return merge(cache, ward(features.flatten(0, 1), keep).view(*features.shape[:3]))


def merge(cache: MaskCache, groups: Tensor) -> MaskCache:
    """Pool tokens by group number. groups: integers (L or 1, B or 1, M), from 0; the cache itself if all differ."""
    if cache.features.counts is not None:
        raise ValueError("this cache is merged already: encode the mask again")
    size = int(groups.max()) + 1
    layers = len(cache.features.keys)
    groups = groups.to(cache.features.keys[0].device).expand(layers, cache.batch, cache.tokens)
    counts = torch.zeros(layers, cache.batch, size, device=groups.device)  # (L, B, G)
    counts.scatter_add_(2, groups, torch.ones_like(groups, dtype=counts.dtype))
    if int(counts.max()) == 1 and size == cache.tokens:
        return cache

    # Sums as products with the groups' indicator: all layers, keys and values and heads at once.
    member = torch.zeros(layers, cache.batch, size, cache.tokens, device=groups.device)
    member.scatter_(2, groups[:, :, None], 1.0)
    member /= counts.clamp_min(1)[..., None]  # (L, B, G, M)
    stacked = torch.stack([*cache.features.keys, *cache.features.values]).float()  # (2 L, B, H, M, E)
    pooled = torch.matmul(member.repeat(2, 1, 1, 1)[:, :, None], stacked).to(cache.dtype)  # (2 L, B, H, G, E)
    features = MaskFeatures(
        pooled[:layers].unbind(),
        pooled[layers:].unbind(),
        counts.log(),  # (L, B, G); an empty group has -inf: no query reads it
    )
    return replace(cache, features=features)


def interior_groups(regions: Tensor, token_pixels: int, tile: int | None = None) -> Tensor:
    """Group numbers of one map's tokens: edge tokens alone, connected interiors of a region together.

    A token touches an edge if its square of pixels holds more than one region. Interiors connect through shared sides.
    regions: (H, W). Returns (M,), row by row; groups are numbered by their first token.
    """
    height, width = regions.shape
    squares = regions.view(height // token_pixels, token_pixels, width // token_pixels, token_pixels)
    low, high = squares.amin((1, 3)).cpu().numpy(), squares.amax((1, 3)).cpu().numpy()
    rows, columns = low.shape
    parent = np.arange(rows * columns)

    def root(token: int) -> int:
        while parent[token] != token:
            token = parent[token]
        return token

    def join(one: tuple[int, int], other: tuple[int, int]) -> None:
        inside = low[one] == high[one] == low[other] == high[other]
        if tile is not None and (one[0] // tile, one[1] // tile) != (other[0] // tile, other[1] // tile):
            inside = False
        if inside:
            a, b = sorted((root(one[0] * columns + one[1]), root(other[0] * columns + other[1])))
            parent[b] = a

    for row in range(rows):
        for column in range(columns):
            if column + 1 < columns:
                join((row, column), (row, column + 1))
            if row + 1 < rows:
                join((row, column), (row + 1, column))
    roots = [root(token) for token in range(rows * columns)]
    return torch.from_numpy(np.unique(roots, return_inverse=True)[1].reshape(-1))


def ward(x: Tensor, keep: int) -> Tensor:
    """Agglomerative clustering by Ward's criterion, all rows at once. x: (R, M, D). Returns group numbers (R, M).

    Distances follow Lance and Williams: for clusters of n_i, n_j, n_k points,
    d(k, i+j) = ((n_i + n_k) d(k, i) + (n_j + n_k) d(k, j) - n_k d(i, j)) / (n_i + n_j + n_k).
    In numpy (our choice: because these are thousands of tiny operations, which it starts faster than PyTorch).
    """
    rows, count, _ = x.shape
    products = torch.bmm(x, x.transpose(1, 2))
    squares = products.diagonal(dim1=1, dim2=2)
    distance = (squares[:, :, None] + squares[:, None] - 2 * products).cpu().numpy()  # (R, M, M)
    row = np.arange(rows)
    distance[:, np.arange(count), np.arange(count)] = np.inf
    sizes = np.ones((rows, count), distance.dtype)
    labels = np.tile(np.arange(count), (rows, 1))
    for _ in range(count - keep):
        i, j = np.divmod(distance.reshape(rows, -1).argmin(1), count)  # symmetric: the first hit has i < j
        n_i, n_j, d_ij = sizes[row, i, None], sizes[row, j, None], distance[row, i, j, None]
        merged = (n_i + sizes) * distance[row, i] + (n_j + sizes) * distance[row, j] - sizes * d_ij
        merged /= n_i + n_j + sizes
        merged[row, i] = merged[row, j] = np.inf
        distance[row, i], distance[row, :, i] = merged, merged
        distance[row, j] = distance[row, :, j] = np.inf
        sizes[row, i] += sizes[row, j]
        np.copyto(labels, i[:, None], where=labels == j[:, None])
    first = np.zeros((rows, count), np.int64)
    first[row[:, None], labels] = 1  # the labels that are left, renumbered from 0
    return torch.from_numpy((first.cumsum(1) - 1)[row[:, None], labels]).to(x.device)
