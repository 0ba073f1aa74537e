"""Merging: exact when nothing merges or keys are equal, close otherwise, and groups as they should be."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage

from limner.models.mditface.mask_cache import encode_mask, join
from limner.models.mditface.token_merging import interior_groups, merge, merge_regions, merge_similar, ward
from mditface.tiny import TINY, draw_mask, inputs, kind, random_model


def test_nothing_merges_means_nothing_changes() -> None:
    model = kind("lora")
    cache = encode_mask(model, draw_mask(model))
    assert merge_similar(cache, cache.tokens) is cache
    assert merge(cache, torch.arange(cache.tokens)[None, None]) is cache
    busy = torch.arange(128 * 128).view(1, 128, 128).remainder(19).to(torch.uint8)
    assert merge_regions(encode_mask(model, busy), busy, 32).tokens == 16


def test_merging_equal_keys_is_exact() -> None:
    """Without positions, tokens of one region are equal all the way: merging whole regions loses nothing."""
    model = random_model(replace(TINY, rope_axes=(16, 0, 0)))  # only the index axis turns, and it is 0 everywhere
    regions = torch.zeros(1, 128, 128, dtype=torch.uint8)
    regions[:, 64:] = 13
    cache = encode_mask(model, regions)
    given = inputs(model)
    exact = model(mask=cache, **given)
    for merged in (merge_regions(cache, regions, 32), merge_similar(cache, 2)):
        assert merged.tokens == 2
        assert torch.allclose(model(mask=merged, **given), exact, atol=1e-5)
    counts = merged.features.counts
    assert counts is not None
    without = merged.features._replace(counts=torch.zeros_like(counts))
    assert not torch.allclose(model(mask=replace(merged, features=without), **given), exact, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_error_shrinks_as_more_tokens_are_kept(dtype: torch.dtype) -> None:
    model = kind("lora").to(dtype)
    cache = encode_mask(model, draw_mask(model, batch=2))
    given = inputs(model)
    exact = model(mask=cache, **given).float()
    errors = [(model(mask=merge_similar(cache, keep), **given).float() - exact).norm() for keep in (1, 4, 8, 14)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.5 * errors[0]


def test_interiors_connect_within_a_region_and_edges_stay_alone() -> None:
    regions = torch.zeros(5, 6, dtype=torch.uint8).repeat_interleave(4, 0).repeat_interleave(4, 1)  # 5 x 6 tokens
    regions[8:12] = 7  # the third row of tokens
    regions[4, 9] = 3  # an edge inside token (1, 2)
    groups = interior_groups(regions, 4).view(5, 6)
    top = {int(g) for g in groups[:2].flatten()}
    assert len(top) == 2 and (groups[:2] == groups[1, 2]).sum() == 1  # the edge token alone, the other eleven together
    assert len(set(groups[2].tolist())) == 1 and len(set(groups[3:].flatten().tolist())) == 1
    assert len(groups.unique()) == 4 and groups.max() == 3  # above and below are both background, and apart
    tiled = interior_groups(regions, 4, tile=2).view(5, 6)
    assert tiled[2, 0] != tiled[2, 2] and tiled[2, 0] == tiled[2, 1]


def test_rows_with_different_numbers_of_groups_fill_up_with_keys_nobody_reads() -> None:
    model = kind("lora")
    maps = draw_mask(model, batch=2)
    maps[1, :64] = 0
    maps[1, 64:] = 1
    cache = encode_mask(model, maps)
    together = merge_regions(cache, maps, 32)
    given = inputs(model)
    batched = model(mask=together, **given)
    alone = [merge_regions(cache[i : i + 1], maps[i : i + 1], 32) for i in range(2)]
    assert alone[1].tokens == 2 < alone[0].tokens
    for i in range(2):
        assert torch.allclose(model(mask=alone[i], **given)[i], batched[i], atol=1e-5)
    assert torch.allclose(model(mask=join(alone), **given), batched, atol=1e-5)


def test_ward_agrees_with_scipy() -> None:
    x = torch.randn(3, 20, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for keep in (2, 5, 11):
        ours = ward(x, keep)
        assert ours.max() == keep - 1
        for row in range(3):
            theirs = fcluster(linkage(x[row].numpy(), "ward"), keep, "maxclust")
            pairs = {(int(a), int(b)) for a, b in zip(ours[row], theirs)}
            assert len(pairs) == keep  # the same partition under other names


def test_wrong_requests_say_so() -> None:
    model = kind("lora")
    cache = encode_mask(model, draw_mask(model))
    with pytest.raises(ValueError, match="keep=0"):
        merge_similar(cache, 0)
    with pytest.raises(ValueError, match="merged already"):
        merge_similar(merge_similar(cache, 4), 2)
    with pytest.raises(ValueError, match="merge by regions"):
        merge_similar(encode_mask(model, None, (17, 17)), 20)
