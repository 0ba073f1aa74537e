"""The cache is exact, it would not be if either half of decoupling were undone, and it refuses the wrong partner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from limner.errors import InputError
from limner.models.mditface.coupled_attention import coupled_velocity
from limner.models.mditface.flow import euler, schedule
from limner.models.mditface.mask_cache import MaskCache, encode_mask, fingerprint, join
from limner.models.mditface.transformer import MaskFeatures
from mditface.tiny import KINDS, TINY, draw_mask, inputs, kind, random_model


def features_equal(one: MaskFeatures, other: MaskFeatures, rows: slice = slice(None)) -> bool:
    pairs = [*zip(one.keys, other.keys), *zip(one.values, other.values)]
    return all(torch.equal(a[rows], b[rows]) for a, b in pairs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", KINDS)
def test_cached_sampling_equals_uncached_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    model = kind(name).to(dtype)
    given = inputs(model)
    mask = draw_mask(model)
    rest = {key: value for key, value in given.items() if key not in ("latents", "t")}
    cache = encode_mask(model, mask)

    def uncached(x: torch.Tensor, t: float) -> torch.Tensor:
        features = model.static_path(model.embed_mask(mask), (4, 4))  # again at every step
        return model(x, torch.full((2,), t), mask=features, **rest)

    def cached(x: torch.Tensor, t: float) -> torch.Tensor:
        return model(x, torch.full((2,), t), mask=cache, **rest)

    one, other = (euler(velocity, given["latents"], schedule(5)) for velocity in (cached, uncached))
    assert torch.equal(one, other)
    no_mask = euler(lambda x, t: model(x, torch.full((2,), t), mask=None, **rest), given["latents"], schedule(5))
    assert not torch.allclose(one, no_mask, atol=1e-2)  # the mask matters, or equality would say nothing


@pytest.mark.parametrize("name", KINDS)
def test_keys_and_values_do_not_depend_on_time_latents_or_prompt(name: str) -> None:
    model = kind(name)
    mask = draw_mask(model)
    first = coupled_velocity(model, mask=mask, **inputs(model, seed=1))[1]
    second = coupled_velocity(model, mask=mask, **inputs(model, seed=2))[1]
    assert features_equal(first, second)
    assert features_equal(encode_mask(model, mask).expand(2).features, first)


# A mask stream with weights of its own has a constant modulation: there is no time to let in.
UNDONE = [(name, {"blind": False}) for name in KINDS] + [(name, {"timeless": False}) for name in KINDS if name != "own"]


@pytest.mark.parametrize("name, undone", UNDONE)
def test_undoing_either_half_of_decoupling_breaks_the_cache(name: str, undone: dict[str, bool]) -> None:
    model = kind(name)
    mask = draw_mask(model)
    first = coupled_velocity(model, mask=mask, **undone, **inputs(model, seed=1))[1]
    second = coupled_velocity(model, mask=mask, **undone, **inputs(model, seed=2))[1]
    assert not features_equal(first, second)
    assert (first.keys[-1] - second.keys[-1]).abs().max() > 1e-2


@pytest.mark.parametrize("name", KINDS)
def test_coupled_with_both_halves_is_the_model_itself(name: str) -> None:
    model = kind(name)
    given, mask = inputs(model), draw_mask(model)
    assert torch.allclose(coupled_velocity(model, mask=mask, **given)[0], model(mask=encode_mask(model, mask), **given))


@pytest.mark.parametrize("name", ["lora", "doubles"])
def test_the_mask_is_modulated_as_at_time_zero_without_words(name: str) -> None:
    model = kind(name)
    assert model.text_in.no_text is not None
    model.text_in.no_text.zero_()
    mask, given = draw_mask(model), inputs(model, batch=1)
    at_zero = {**given, "t": torch.zeros(1), "prompt": given["prompt"].empty()}
    features = encode_mask(model, mask).features
    assert features_equal(coupled_velocity(model, mask=mask, timeless=False, **at_zero)[1], features)
    assert not features_equal(coupled_velocity(model, mask=mask, timeless=False, **given)[1], features)


def test_gradient_of_mask_features_with_respect_to_time_is_zero() -> None:
    model = kind("lora")
    given = inputs(model)
    mask = draw_mask(model)

    def gradients(**undone: bool) -> list[torch.Tensor | None]:
        t = given["t"].clone().requires_grad_()
        features = coupled_velocity(model, mask=mask, **undone, **{**given, "t": t})[1]
        total = torch.stack([k.sum() for k in (*features.keys, *features.values)]).sum()
        if not total.requires_grad:
            return [None]
        return list(torch.autograd.grad(total, t, allow_unused=True))

    assert gradients() == [None]  # no path at all, which is more than a zero
    coupled = gradients(timeless=False)[0]
    assert coupled is not None and coupled.abs().max() > 0


def test_velocity_does_depend_on_mask_time_and_prompt() -> None:
    model = kind("lora")
    given = inputs(model)
    mask = encode_mask(model, draw_mask(model))
    velocity = model(mask=mask, **given)
    other = inputs(model, seed=5)
    assert not torch.allclose(velocity, model(mask=encode_mask(model, draw_mask(model, seed=8)), **given), atol=1e-3)
    assert not torch.allclose(velocity, model(mask=mask, **{**given, "t": other["t"]}), atol=1e-3)
    assert not torch.allclose(velocity, model(mask=mask, **{**given, "prompt": other["prompt"]}), atol=1e-3)


def test_cache_refuses_another_model_other_weights_and_another_number_type() -> None:
    model = kind("lora")
    cache = encode_mask(model, draw_mask(model))
    given = inputs(model)
    for other in (kind("lora", seed=1), random_model(replace(TINY, rope_theta=9_999.0)), kind("lora").bfloat16()):
        with pytest.raises(InputError, match="another model"):
            other(mask=cache, **given)
    assert torch.equal(kind("lora")(mask=cache, **given), model(mask=cache, **given))  # the same weights again: fine
    with torch.no_grad():
        model.head.weight[0, 0] += 1e-3
    with pytest.raises(InputError, match="another model"):
        model(mask=cache, **given)


def test_fingerprint_sees_one_changed_entry_and_forgets_it() -> None:
    model = kind("lora")
    before = fingerprint(model)
    weight = dict(model.named_parameters())["single_blocks.0.merged.qkv.weight"]
    with torch.no_grad():
        old = weight[3, 5].clone()
        weight[3, 5] = old + 1e-4
        assert fingerprint(model) != before
        weight[3, 5] = old
    assert fingerprint(model) == before


def test_save_and_load_give_the_same_cache(tmp_path: Path) -> None:
    model = kind("palette").bfloat16()
    cache = encode_mask(model, draw_mask(model, batch=3))
    cache.save(tmp_path / "mask.safetensors")
    again = MaskCache.load(tmp_path / "mask.safetensors")
    assert again.masks == cache.masks and again.model == cache.model and again.dtype == torch.bfloat16
    assert features_equal(again.features, cache.features)


def test_loading_something_else_is_refused(tmp_path: Path) -> None:
    from limner.weights.tensors import save_tensors

    save_tensors(tmp_path / "x.safetensors", {"keys": torch.zeros(1)}, {"format": "other"})
    with pytest.raises(InputError, match="not a mask cache"):
        MaskCache.load(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["lora", "palette"])
def test_batch_equals_singles_sliced_expanded_and_joined(name: str) -> None:
    model = kind(name)
    masks = draw_mask(model, batch=3)
    together = encode_mask(model, masks)
    assert len(set(together.masks)) == 3
    given = inputs(model, batch=3)
    batched = model(mask=together, **given)
    singles = [encode_mask(model, masks[i : i + 1]) for i in range(3)]
    for i, single in enumerate(singles):
        assert together[i : i + 1].masks == single.masks
        assert torch.allclose(together[i : i + 1].features.keys[-1], single.features.keys[-1], atol=1e-5)
        everywhere = model(mask=single.expand(3), **given)
        assert torch.allclose(everywhere[i], batched[i], atol=1e-5)
        assert torch.equal(everywhere, model(mask=single, **given))  # one row serves any batch
    assert torch.allclose(model(mask=join(singles), **given), batched, atol=1e-5)
    with pytest.raises(ValueError, match="3 masks"):
        together.expand(2)


def test_null_mask_is_a_cacheable_mask_of_its_own() -> None:
    model = kind("lora")
    given = inputs(model)
    null = encode_mask(model, None, (4, 4))
    assert null.masks == ("none",) and null.tokens == 16
    dropped = model.static_path(model.embed_mask(draw_mask(model), torch.tensor([False])), (4, 4))
    assert features_equal(dropped, null.features)
    assert not torch.allclose(model(mask=null, **given), model(mask=None, **given), atol=1e-3)
    with pytest.raises(ValueError, match="no null mask"):
        encode_mask(kind("full"), None)
