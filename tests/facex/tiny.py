"""Bases and controllers small enough for tests, random, in the files that real ones have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limner.models.facex.base import load_unet, save_base
from limner.models.facex.config import NANO, ControlConfig
from limner.models.facex.control import Controller, new_controller, save_controller
from mditface.parts import write_codec

SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}
CONTROL = {**NANO, "width": 16}


def randomise(module: nn.Module, seed: int, std: float = 0.15) -> None:
    """Draw every parameter, so that no zero initialisation hides a missing connection."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=std, generator=generator)


def tiny_unet(channels: int = 4, text: int = 384, widths: tuple[int, ...] = (8, 16), size: int = 4) -> Any:
    """A random UNet2DConditionModel with cross-attention everywhere."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        down_block_types=("CrossAttnDownBlock2D",) * len(widths),
        up_block_types=("CrossAttnUpBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        cross_attention_dim=text,
        attention_head_dim=2,
        norm_num_groups=4,
    ).eval()


def write_nano_base(folder: Path, **sizes: Any) -> Path:
    """A nano base for 64 px pictures: UNet, schedule, and a codec of factor 16."""
    write_codec(folder / "codec")
    card = {"codec": str(folder / "codec"), "text_length": 8, "size": 64}
    save_base(tiny_unet(**sizes), SCHEDULE, card, folder, {})
    return folder


def write_editor(folder: Path, seed: int = 0, **fields: Any) -> Path:
    """A whole random editor: ``controller.safetensors`` and ``base``. Returns the folder."""
    write_nano_base(folder / "base")
    controller = random_controller(load_unet(folder / "base" / "unet"), seed, **fields)
    save_controller(controller, folder / "controller.safetensors", {"guidance": 2.0})
    return folder


def random_controller(unet: Any, seed: int = 0, **fields: Any) -> Controller:
    """A controller of the UNet's family, every weight drawn."""
    controller = new_controller(unet, ControlConfig(**{**CONTROL, **fields}))
    randomise(controller, seed)
    return controller.eval().requires_grad_(False)


def write_stable_diffusion(folder: Path) -> Path:
    """A tiny random pipeline in the layout of Stable Diffusion 1.5: UNet, VAE of factor 8, CLIP, tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

    unet = tiny_unet(channels=4, text=20, size=8)
    unet.save_pretrained(folder / "unet")
    write_codec(folder / "vae", channels=4, levels=4)
    words = ["<pad>", "</s>", "<unk>", "a", "woman", "man", "smiling"]
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    marks: dict[str, Any] = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder / "tokenizer")
    sizes: dict[str, Any] = {"vocab_size": 12, "hidden_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0, "max_position_embeddings": 12}
    CLIPTextModel(CLIPTextConfig(**sizes, **ids, intermediate_size=32, projection_dim=20)).save_pretrained(
        folder / "text_encoder"
    )
    schedule = {
        **SCHEDULE,
        "prediction_type": "epsilon",
        "rescale_betas_zero_snr": False,
        "_class_name": "PNDMScheduler",
    }
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(schedule))
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return folder
