"""FaceXPipeline on a Stable Diffusion folder: what Limner's own engine gives, as diffusers' users ask for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline

from facex.tiny import random_controller, write_stable_diffusion
from limner.errors import InputError
from limner.faces.reader import FaceReader
from limner.models.facex.base import load_unet
from limner.models.facex.control import save_controller
from limner.models.facex.engine import FaceX
from limner.models.facex.pipeline import CUSTOM_PIPELINE, FaceXPipeline
from limner.models.facex.plan import EditPlan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion 1.5's layout with its model_index.json, but for the checkers, and a controller for it."""
    place = write_stable_diffusion(tmp_path_factory.mktemp("sd"))
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.6.0",
        "scheduler": ["diffusers", "PNDMScheduler"],
        "vae": ["diffusers", "AutoencoderKL"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
    }
    (place / "model_index.json").write_text(json.dumps(index))
    controller = random_controller(load_unet(place / "unet"))
    save_controller(controller, place / "controller.safetensors", {"guidance": 2.0, "base": "none"})
    return place


@pytest.fixture
def pipe(folder: Path, reader: FaceReader) -> Any:
    made: Any = FaceXPipeline.from_pretrained(folder)
    made.load_controller(folder / "controller.safetensors")
    made._reader = reader
    return made


def test_it_edits_as_limner_does_and_leaves_the_unet_plain(folder: Path, pipe: Any, photo, reader: FaceReader) -> None:
    plan = EditPlan.motion(yaw=10.0)
    seed = int(torch.randint(0, 2**62, (), generator=torch.Generator().manual_seed(5)))
    editor = FaceX.load(folder / "controller.safetensors", base=folder, device="cpu", precision="fp32", reader=reader)
    ours = np.asarray(editor.edit(photo, plan, seed=seed, steps=2).image).astype(int)
    before = {key: value.clone() for key, value in pipe.unet.state_dict().items()}
    made = pipe(photo, plan, num_inference_steps=2, generator=torch.Generator().manual_seed(5)).images[0]
    theirs = np.asarray(made).astype(int)
    assert np.abs(ours - photo).max() > 20 and np.abs(ours - theirs).max() <= 1
    after = pipe.unet.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    plain: Any = StableDiffusionPipeline(
        **{k: v for k, v in pipe.components.items() if k not in ("controller",)}, requires_safety_checker=False
    )
    assert plain.unet.conv_in.in_channels == 4


def test_saved_loaded_and_loaded_as_a_custom_pipeline(folder: Path, pipe: Any, photo, reader, tmp_path: Path) -> None:
    given = {"source": photo, "num_inference_steps": 1, "output_type": "np"}
    made = pipe(photo, generator=torch.Generator().manual_seed(1), **given).images
    pipe.save_pretrained(tmp_path / "saved")
    for place in (tmp_path / "saved", folder):
        again: Any = DiffusionPipeline.from_pretrained(place, custom_pipeline=CUSTOM_PIPELINE, trust_remote_code=True)
        again._reader = reader
        if place == folder:
            with pytest.raises(InputError, match="load_controller"):
                again(photo, **given)
            again.load_controller(folder / "controller.safetensors")
        found = again(photo, generator=torch.Generator().manual_seed(1), **given).images
        assert np.abs(found - made).max() <= 1.1 / 255


def test_callback_sees_and_changes_latents_and_one_thing_is_asked_for(pipe: Any, photo) -> None:
    seen: list[tuple[int, tuple[int, ...]]] = []

    def look(owner: Any, step: int, time: torch.Tensor, values: dict) -> dict:
        seen.append((step, tuple(values["latents"].shape)))
        return {"latents": values["latents"] * 0}

    plan, given = EditPlan.motion(yaw=10.0), {"num_inference_steps": 2, "warp_strength": 0.0}
    plain = pipe(photo, plan, **given).images[0]
    changed = pipe(photo, plan, callback_on_step_end=look, **given).images[0]
    assert [step for step, _ in seen] == [0, 1] and all(shape == (1, 4, 8, 8) for _, shape in seen)
    assert not np.array_equal(np.asarray(plain), np.asarray(changed))
    for wrong in ({}, {"plan": plan, "driver": photo}):
        with pytest.raises(ValueError, match="one of plan"):
            pipe(photo, **wrong)
