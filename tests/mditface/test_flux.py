"""FLUX.1 in, FLUX.1 out: parity with diffusers, exact sizes, and corrections that change nothing until trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

from limner.errors import InputError
from limner.models.mditface.config import FLUX_DEV, FLUX_SCHNELL
from limner.models.mditface.embedding import Prompt, pack, unpack
from limner.models.mditface.flux import from_flux
from limner.models.mditface.lora import add_mask_lora, mask_parameters
from limner.models.mditface.mask_cache import encode_mask
from limner.models.mditface.transformer import MDiT
from mditface.tiny import kind

SIZES = {
    "in_channels": 16,
    "num_layers": 2,
    "num_single_layers": 3,
    "attention_head_dim": 16,
    "num_attention_heads": 3,
    "joint_attention_dim": 20,
    "pooled_projection_dim": 12,
    "axes_dims_rope": (4, 6, 6),
}


def reference(guidance: bool) -> FluxTransformer2DModel:
    torch.manual_seed(0)
    flux = FluxTransformer2DModel(**SIZES, guidance_embeds=guidance)
    with torch.no_grad():
        for name, parameter in flux.named_parameters():
            parameter.normal_(1.0 if "norm_" in name and parameter.ndim == 1 and "linear" not in name else 0.0, 0.1)
    return flux.eval()


def example(guidance: bool) -> dict:
    torch.manual_seed(1)
    given = {
        "latents": torch.randn(2, 4, 8, 12),
        "t": torch.tensor([0.9, 0.25]),
        "prompt": Prompt(torch.randn(2, 7, 20), torch.randn(2, 12)),
    }
    return given | ({"guidance": torch.tensor([3.5, 2.0])} if guidance else {})


@torch.no_grad()
def answer(flux: FluxTransformer2DModel, given: dict) -> torch.Tensor:
    rows, columns = (side // 2 for side in given["latents"].shape[2:])
    ids = torch.zeros(rows, columns, 3)
    ids[..., 1], ids[..., 2] = torch.arange(rows)[:, None], torch.arange(columns)[None]
    tokens = flux(
        hidden_states=pack(given["latents"], 2),
        encoder_hidden_states=given["prompt"].tokens,
        pooled_projections=given["prompt"].pooled,
        timestep=given["t"],
        guidance=given.get("guidance"),
        img_ids=ids.view(-1, 3),
        txt_ids=torch.zeros(given["prompt"].tokens.shape[1], 3),
        return_dict=False,
    )[0]
    return unpack(tokens, 2, 2 * rows, 2 * columns)


@pytest.mark.parametrize("shard_size", ["10GB", "100KB"])
@pytest.mark.parametrize("guidance", [True, False])
def test_same_velocity_as_diffusers(guidance: bool, shard_size: str, tmp_path: Path) -> None:
    flux = reference(guidance)
    flux.save_pretrained(tmp_path / "transformer", max_shard_size=shard_size)
    model, given = from_flux(tmp_path), example(guidance)
    expected = answer(flux, given)
    assert expected.std() > 0.1
    with torch.no_grad():
        assert (model(**given) - expected).abs().max() <= 1e-5


@torch.no_grad()
def test_fresh_corrections_change_nothing_and_trained_ones_do(tmp_path: Path) -> None:
    reference(True).save_pretrained(tmp_path)
    model, given = from_flux(tmp_path), example(True)
    mask = torch.randn(1, 4, 8, 12)
    adapted = add_mask_lora(model, rank=4)
    plain = model(mask=encode_mask(model, mask), **given)
    assert torch.equal(adapted(mask=encode_mask(adapted, mask), **given), plain)
    assert torch.equal(adapted(**given), model(**given))
    assert not torch.allclose(plain, model(**given), atol=1e-3)  # the mask does something to begin with
    assert adapted.image_in.weight is model.image_in.weight  # shared, not copied
    for parameter in mask_parameters(adapted):
        parameter += 0.05
    assert not torch.allclose(adapted(mask=encode_mask(adapted, mask), **given), plain, atol=1e-3)
    assert torch.equal(adapted(**given), model(**given))  # and FLUX stays FLUX


def test_corrections_are_added_once_and_only_where_they_fit() -> None:
    with pytest.raises(ValueError, match="mask_rank=0"):
        add_mask_lora(kind("lora"), 4)
    with pytest.raises(ValueError, match="mask_weights='own'"):
        add_mask_lora(kind("own"), 4)
    with pytest.raises(ValueError, match="rank=0"):
        add_mask_lora(kind("full"), 0)


def test_flux_sizes_have_the_reference_number_of_parameters() -> None:
    with torch.device("meta"):
        for config, guidance, billions in ((FLUX_DEV, True, 11.90), (FLUX_SCHNELL, False, 11.89)):
            flux = FluxTransformer2DModel(guidance_embeds=guidance)
            count = sum(p.numel() for p in MDiT(config).parameters())
            assert count == sum(p.numel() for p in flux.parameters())
            assert round(count / 1e9, 2) == billions


def test_wrong_folders_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json is missing"):
        from_flux(tmp_path)
    flux = reference(False)
    flux.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "_class_name": "PixArtTransformer2DModel"}))
    with pytest.raises(InputError, match="PixArt"):
        from_flux(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_layers": 3}))
    with pytest.raises(InputError, match=r"transformer_blocks\.2"):
        from_flux(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_single_layers": 2}))
    with pytest.raises(InputError, match="unexpected"):
        from_flux(tmp_path)
