"""A model with folded corrections is the same function, and one that has nothing to fold says so."""

from __future__ import annotations

import pytest
import torch

from limner.models.mditface.lora_fusion import fuse_mask_lora
from limner.models.mditface.mask_cache import encode_mask
from mditface.tiny import KINDS, draw_mask, inputs, kind


@pytest.mark.parametrize("name", [name for name in KINDS if name != "own"])
def test_folding_changes_nothing_but_rounding(name: str) -> None:
    model = kind(name)
    folded = fuse_mask_lora(model)
    mask = draw_mask(model)
    one, other = encode_mask(model, mask), encode_mask(folded, mask)
    for made, expected in zip(
        (*other.features.keys, *other.features.values), (*one.features.keys, *one.features.values)
    ):
        assert torch.allclose(made, expected, atol=1e-5)
    given = inputs(model)
    assert torch.allclose(folded(**given, mask=other), model(**given, mask=one), atol=1e-5)
    if model.config.mask_rank:
        plain = kind(name)
        for parameter_name, parameter in plain.named_parameters():
            if ".adapter." in parameter_name and not parameter_name.endswith("table"):
                parameter.zero_()
        uncorrected = encode_mask(plain, mask)  # the corrections matter, or equality would say nothing
        assert not torch.allclose(uncorrected.features.values[1], one.features.values[1], atol=1e-3)


def test_folding_shares_the_other_streams_weights() -> None:
    model = kind("lora")
    folded = fuse_mask_lora(model)
    assert folded.image_in.weight.data_ptr() == model.image_in.weight.data_ptr()


def test_a_mask_stream_of_its_own_has_nothing_to_fold() -> None:
    with pytest.raises(ValueError, match="no corrections to fold"):
        fuse_mask_lora(kind("own"))
