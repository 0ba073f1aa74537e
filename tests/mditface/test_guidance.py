"""Guidance: which branches are evaluated, what they sum to, and that batching them changes nothing."""

from __future__ import annotations

import pytest
import torch

from limner.models.mditface.guidance import branches, guided_velocity
from limner.models.mditface.mask_cache import encode_mask
from mditface.tiny import draw_mask, inputs, kind


@pytest.mark.parametrize("words", [True, False])
@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("scales", [(1.0, 1.0), (3.0, 1.0), (2.0, 2.0), (3.0, 1.5), (0.0, 2.0)])
def test_factors_sum_to_one_and_none_is_zero(words: bool, mask: bool, scales: tuple[float, float]) -> None:
    parts = branches(words, mask, *scales)
    assert sum(part.factor for part in parts) == pytest.approx(1.0)
    assert all(part.factor != 0 for part in parts)
    assert all(part.words <= words and part.mask <= mask for part in parts)


def test_number_of_evaluations() -> None:
    assert len(branches(True, True, 3.0, 1.0)) == 2  # both see the mask: one cache
    assert all(part.mask for part in branches(True, True, 3.0, 1.0))
    assert len(branches(True, True, 2.0, 2.0)) == 2
    assert len(branches(True, True, 3.0, 1.5)) == 3
    assert len(branches(True, True, 1.0, 1.0)) == 1
    assert len(branches(False, False, 3.0, 3.0)) == 1


@pytest.mark.parametrize("scales", [(1.0, 1.0), (3.0, 1.0), (2.0, 2.0), (3.0, 1.5)])
def test_batched_branches_equal_the_formula(scales: tuple[float, float]) -> None:
    model = kind("lora")
    given = inputs(model, batch=2)
    x, prompt, t = given["latents"], given["prompt"], 0.6
    mask, null = encode_mask(model, draw_mask(model)), encode_mask(model, None, (4, 4))
    times = torch.full((2,), t)
    with torch.no_grad():
        neither = model(x, times, prompt.empty(), null)
        shape = model(x, times, prompt.empty(), mask)
        both = model(x, times, prompt, mask)
    text_scale, mask_scale = scales
    expected = neither + mask_scale * (shape - neither) + text_scale * (both - shape)
    guided = guided_velocity(model, prompt, mask, null, text_scale, mask_scale)(x, t)
    assert torch.allclose(guided, expected, atol=1e-5)
    assert not torch.allclose(guided, neither, atol=1e-2)


def test_one_mask_per_picture() -> None:
    model = kind("lora")
    given = inputs(model, batch=2)
    masks = encode_mask(model, draw_mask(model, batch=2))
    null = encode_mask(model, None, (4, 4))
    for scales in ((3.0, 1.0), (3.0, 1.5)):
        together = guided_velocity(model, given["prompt"], masks, null, *scales)(given["latents"], 0.5)
        for i in range(2):
            one = guided_velocity(model, inputs(model)["prompt"], masks[i : i + 1], null, *scales)
            assert torch.allclose(one(given["latents"], 0.5)[i], together[i], atol=1e-5)


def test_without_a_learned_null_mask_only_words_can_guide() -> None:
    model = kind("palette")
    mask = encode_mask(model, draw_mask(model))
    prompt = inputs(model)["prompt"]
    guided_velocity(model, prompt, mask, None, 3.0, 1.0)
    with pytest.raises(ValueError, match="mask_guidance"):
        guided_velocity(model, prompt, mask, None, 3.0, 1.5)
