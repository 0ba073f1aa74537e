"""MDiTFacePipeline: the same latents as Limner's own engine, and everything diffusers' users expect of a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, FluxPipeline

from limner.models.mditface.engine import MDiTFace
from limner.models.mditface.lora import add_mask_lora, add_stream_lora, lora_parameters
from limner.models.mditface.lora_file import save_lora
from limner.models.mditface.pipeline import CUSTOM_PIPELINE, MDiTFacePipeline
from mditface.parts import write_flux
from mditface.test_flux_painter import halves
from mditface.test_lora_file import drawn

SETTINGS: dict[str, Any] = {"height": 64, "width": 64, "num_inference_steps": 2, "max_sequence_length": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FLUX.1-dev folder as diffusers itself would save it, with a model_index.json."""
    place = tmp_path_factory.mktemp("flux")
    write_flux(place)
    FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True).save_pretrained(place / "scheduler")
    index = """{"_class_name": "FluxPipeline", "_diffusers_version": "0.30.0",
      "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"], "vae": ["diffusers", "AutoencoderKL"],
      "text_encoder": ["transformers", "CLIPTextModel"], "text_encoder_2": ["transformers", "T5EncoderModel"],
      "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
      "tokenizer_2": ["transformers", "PreTrainedTokenizerFast"],
      "transformer": ["diffusers", "FluxTransformer2DModel"]}"""
    (place / "model_index.json").write_text(index)
    vae = place / "vae" / "config.json"
    vae.write_text(vae.read_text().replace('"shift_factor": null', '"shift_factor": 0.1'))
    return place


@pytest.fixture(scope="module")
def corrections(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = add_mask_lora(MDiTFace.load(folder, device="cpu", precision="fp32").components.model, 2)
    add_stream_lora(model, ("image", "text"), 2)
    drawn(lora_parameters(model), std=0.2)
    file = tmp_path_factory.mktemp("lora") / "corrections.safetensors"
    save_lora(model, file)
    return file


def noise(pipe: Any) -> torch.Tensor:
    return pipe._pack_latents(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), 1, 4, 8, 8)


@pytest.mark.parametrize("with_lora", [False, True])
def test_it_paints_what_limner_paints(folder: Path, corrections: Path, with_lora: bool) -> None:
    pipe: Any = MDiTFacePipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    lora = [corrections] if with_lora else []
    painter = MDiTFace.load(folder, device="cpu", precision="fp32", text_length=8, lora=lora)
    if with_lora:
        pipe.load_lora_weights(corrections)
    for text, mask in (("a woman", None), ("a woman", halves()), (None, halves())):
        ours = np.asarray(painter.paint(text, mask, size=64, steps=2)[0].image).astype(int)
        theirs = np.asarray(pipe(text, mask=mask, latents=noise(pipe), **SETTINGS).images[0]).astype(int)
        assert ours.std() > 5 and np.abs(ours - theirs).max() <= 1, (text, mask is None)


def test_without_a_mask_it_is_flux_to_the_bit(folder: Path) -> None:
    pipe: Any = MDiTFacePipeline.from_pretrained(folder)
    plain: Any = FluxPipeline(**{k: v for k, v in pipe.components.items() if k != "mask_corrections"})
    given = {**SETTINGS, "output_type": "latent"}
    made = [p("a man", generator=torch.Generator().manual_seed(3), **given).images for p in (pipe, plain)]
    assert torch.equal(*made)
    masked = pipe("a man", mask=halves(), generator=torch.Generator().manual_seed(3), **given).images
    assert not torch.allclose(masked, made[0], atol=1e-2)
    again = pipe("a man", generator=torch.Generator().manual_seed(3), **given).images
    assert torch.equal(again, made[0])  # nothing of the mask stays behind


def test_saved_loaded_and_loaded_as_a_custom_pipeline(folder: Path, corrections: Path, tmp_path: Path) -> None:
    pipe: Any = MDiTFacePipeline.from_pretrained(folder)
    pipe.load_lora_weights(corrections)
    pipe.unload_lora_weights()  # the streams' corrections; the mask's are a component
    given = {**SETTINGS, "output_type": "latent", "mask": halves()}
    made = pipe("a man", generator=torch.Generator().manual_seed(3), **given).images
    pipe.save_pretrained(tmp_path / "saved")
    again: Any = MDiTFacePipeline.from_pretrained(tmp_path / "saved")
    assert torch.equal(again("a man", generator=torch.Generator().manual_seed(3), **given).images, made)
    for place, expected in ((tmp_path / "saved", True), (folder, False)):
        custom: Any = DiffusionPipeline.from_pretrained(place, custom_pipeline=CUSTOM_PIPELINE, trust_remote_code=True)
        assert type(custom).__name__ == "MDiTFacePipeline"
        found = custom("a man", generator=torch.Generator().manual_seed(3), **given).images
        assert torch.equal(found, made) == expected


def test_callback_generator_batches_and_encoded_masks(folder: Path) -> None:
    pipe: Any = MDiTFacePipeline.from_pretrained(folder)
    seen: list[tuple[int, tuple[int, ...]]] = []

    def look(owner: Any, step: int, time: torch.Tensor, values: dict) -> dict:
        seen.append((step, tuple(values["latents"].shape)))
        return values

    features = pipe.encode_mask(halves(), 64, 64)
    given = {**SETTINGS, "output_type": "latent", "num_images_per_prompt": 2}
    made = pipe(["a man", "a woman"], mask=features, callback_on_step_end=look, **given,
                generator=[torch.Generator().manual_seed(k) for k in range(4)]).images  # fmt: skip
    assert seen == [(0, (4, 16, 16)), (1, (4, 16, 16))]
    alone = pipe("a woman", mask=halves(), **SETTINGS, output_type="latent", generator=torch.Generator().manual_seed(2))
    assert torch.allclose(made[2:3], alone.images, atol=1e-4)
    with pytest.raises(ValueError, match="nothing to paint"):
        pipe(**SETTINGS)
