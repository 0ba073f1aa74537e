"""LoRA in diffusers' and peft's format, both ways, on a tiny FLUX: the same velocity from their code and from ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from limner.errors import InputError
from limner.models.mditface.flux import from_flux
from limner.models.mditface.lora import add_mask_lora, add_stream_lora, lora_parameters, mask_parameters
from limner.models.mditface.lora_file import load_lora, save_lora
from limner.models.mditface.mask_cache import encode_mask
from mditface.test_flux import answer, example, reference

TARGETS = [
    "to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "ff.net.0.proj",
    "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2", "proj_mlp", "proj_out", "norm1.linear", "norm.linear",
    "norm1_context.linear", "x_embedder", "context_embedder", "norm_out.linear",
]  # fmt: skip


def drawn(parameters, seed: int = 3, std: float = 0.1) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_((torch.randn(parameter.shape, generator=generator) * std).bfloat16())  # survives the file


def pipeline_of(flux) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    others: dict[str, Any] = dict.fromkeys(("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    return FluxPipeline(FlowMatchEulerDiscreteScheduler(), transformer=flux, **others)


@torch.no_grad()
def test_diffusers_takes_ours(tmp_path: Path) -> None:
    flux, given = reference(True), example(True)
    flux.save_pretrained(tmp_path / "transformer")
    model = add_stream_lora(add_mask_lora(from_flux(tmp_path), 2), ("image", "text"), rank=3)
    plain = answer(flux, given)
    assert (model(**given) - plain).abs().max() <= 1e-5  # fresh corrections change nothing
    drawn(lora_parameters(model))
    save_lora(model, tmp_path / "lora.safetensors")
    ours = model(**given)
    assert (ours - plain).abs().max() > 0.05
    pipe = pipeline_of(flux)
    pipe.load_lora_weights(tmp_path / "lora.safetensors")
    assert (answer(flux, given) - ours).abs().max() <= 2e-5
    pipe.unload_lora_weights()
    assert torch.equal(answer(flux, given), plain)


@pytest.mark.parametrize("alpha", [4, 9])
def test_a_peft_lora_loads_into_ours(alpha: int, tmp_path: Path) -> None:
    """Trained by peft on diffusers' model, saved in both libraries' formats, with another alpha than rank."""
    flux, given = reference(True), example(True)
    flux.save_pretrained(tmp_path / "transformer")
    flux.add_adapter(LoraConfig(r=4, lora_alpha=alpha, target_modules=TARGETS, init_lora_weights=False))
    drawn([p for name, p in flux.named_parameters() if "lora_" in name], std=0.15)
    expected = answer(flux, given)
    assert (expected - answer(reference(True), given)).abs().max() > 0.05
    FluxPipeline.save_lora_weights(
        tmp_path / "diffusers", transformer_lora_layers=dict(get_peft_model_state_dict(flux)),
        transformer_lora_adapter_metadata=flux.peft_config["default"].to_dict(),
    )  # fmt: skip
    (tmp_path / "peft").mkdir()
    state = {f"base_model.model.{k}": v.contiguous() for k, v in get_peft_model_state_dict(flux).items()}
    save_file(state, tmp_path / "peft" / "adapter_model.safetensors")
    flux.peft_config["default"].save_pretrained(str(tmp_path / "peft"))
    for place in ("diffusers", "peft", "diffusers/pytorch_lora_weights.safetensors"):
        model = load_lora(from_flux(tmp_path), tmp_path / place)
        with torch.no_grad():
            assert (model(**given) - expected).abs().max() <= 2e-5
            half = load_lora(from_flux(tmp_path), tmp_path / place, scale=0.0)
            assert torch.equal(half(**given), from_flux(tmp_path)(**given))


@torch.no_grad()
def test_a_kohya_lora_loads_into_ours(tmp_path: Path) -> None:
    """Its names and fused projections are not diffusers', whose own conversion is the reference."""
    flux, given = reference(True), example(True)
    flux.save_pretrained(tmp_path / "transformer")
    g, width = torch.Generator().manual_seed(4), 48
    sizes = {
        "double_blocks_0_img_attn_qkv": (width, 3 * width),
        "double_blocks_0_img_attn_proj": (width, width),
        "double_blocks_1_txt_mlp_0": (width, 4 * width),
        "single_blocks_0_linear2": (5 * width, width),
    }  # fmt: skip  (diffusers splits a single block's linear1 at FLUX.1's own width only)
    tensors = {}
    for name, (inputs, outputs) in sizes.items():
        tensors[f"lora_unet_{name}.lora_down.weight"] = torch.randn(4, inputs, generator=g) * 0.2
        tensors[f"lora_unet_{name}.lora_up.weight"] = torch.randn(outputs, 4, generator=g) * 0.2
        tensors[f"lora_unet_{name}.alpha"] = torch.tensor(2.0)
    save_file(tensors, tmp_path / "kohya.safetensors")
    plain = answer(flux, given)
    model = load_lora(from_flux(tmp_path), tmp_path / "kohya.safetensors")
    pipeline_of(flux).load_lora_weights(tmp_path / "kohya.safetensors")
    expected = answer(flux, given)
    assert (expected - plain).abs().max() > 0.05
    assert (model(**given) - expected).abs().max() <= 2e-5


@torch.no_grad()
def test_mask_corrections_come_back_and_streams_leave_the_mask_alone(tmp_path: Path) -> None:
    reference(True).save_pretrained(tmp_path / "transformer")
    given, mask = example(True), torch.randn(1, 4, 8, 12)
    model = add_stream_lora(add_mask_lora(from_flux(tmp_path), 2), ("image",), rank=3)
    drawn(lora_parameters(model))
    save_lora(model, tmp_path / "lora.safetensors")
    again = load_lora(from_flux(tmp_path), tmp_path / "lora.safetensors")
    cache = encode_mask(again, mask)
    assert torch.equal(again(mask=cache, **given), model(mask=encode_mask(model, mask), **given))
    assert not any(".lora_A." in n and n.startswith("transformer.transformer_blocks.0.attn.add")
                   for n in load_file(tmp_path / "lora.safetensors"))  # fmt: skip
    drawn([p for p in lora_parameters(again) if not any(p is q for q in mask_parameters(again))], seed=9)
    other = encode_mask(again, mask)
    for one, two in zip(cache.features.keys, other.features.keys):
        assert torch.equal(one, two)
    assert not torch.allclose(again(mask=other, **given), model(mask=encode_mask(model, mask), **given), atol=1e-3)


def test_files_add_up_and_unfit_ones_are_refused(tmp_path: Path) -> None:
    reference(True).save_pretrained(tmp_path / "transformer")
    for name, seed in (("one", 1), ("two", 2)):
        model = add_stream_lora(from_flux(tmp_path), ("text",), rank=2)
        drawn(lora_parameters(model), seed)
        save_lora(model, tmp_path / f"{name}.safetensors")
    given = example(True)
    with torch.no_grad():
        both = load_lora(from_flux(tmp_path), tmp_path / "one.safetensors", tmp_path / "two.safetensors")
        swapped = load_lora(from_flux(tmp_path), tmp_path / "two.safetensors", tmp_path / "one.safetensors")
        assert (both(**given) - swapped(**given)).abs().max() <= 1e-5
        assert (both(**given) - model(**given)).abs().max() > 1e-2
    layer = "transformer.transformer_blocks.0.attn.to_q"
    cases = {
        "no LoRA": {"a": torch.zeros(1)},
        "another size": {f"{layer}.lora_A.weight": torch.zeros(2, 9), f"{layer}.lora_B.weight": torch.zeros(48, 2)},
        "no half": {f"{layer}.lora_A.weight": torch.zeros(2, 48)},
        "can not be corrected": {
            "transformer.time_text_embed.timestep_embedder.linear_1.lora_A.weight": torch.zeros(2, 256),
            "transformer.time_text_embed.timestep_embedder.linear_1.lora_B.weight": torch.zeros(48, 2),
        },
        "text encoder": {f"text_encoder.x.lora_{half}.weight": torch.zeros(1, 1) for half in "AB"},
    }  # fmt: skip
    for words, tensors in cases.items():
        save_file(tensors, tmp_path / "bad.safetensors")
        with pytest.raises(InputError, match=words):
            load_lora(from_flux(tmp_path), tmp_path / "bad.safetensors")
    whole = (tmp_path / "one.safetensors").read_bytes()
    (tmp_path / "bad.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="truncated"):
        load_lora(from_flux(tmp_path), tmp_path / "bad.safetensors")
