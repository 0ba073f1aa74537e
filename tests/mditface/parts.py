"""A painter small enough for tests, in the files a real one has: weights, codec folder, embedded text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from limner.models.mditface.config import MDiTConfig
from limner.weights.tensors import save_tensors
from mditface.tiny import TINY, random_model


def write_codec(folder: Path, channels: int = 4, levels: int = 5) -> None:
    """A random AutoencoderKL of factor 2^(levels - 1) in diffusers' format."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": (8,) * levels,
        "latent_channels": channels,
        "norm_num_groups": 4,
        "layers_per_block": 1,
        "scaling_factor": 1.0,
    }
    AutoencoderKL(**sizes).save_pretrained(folder)


def write_nano(folder: Path, seed: int = 0, **changes: object) -> Path:
    """A weight file of a tiny random model for 64 px pictures, and its codec. Returns the file."""
    write_codec(folder / "codec")
    fields = {"text_width": 384, "text_pooled": 384, "text_length": 8}
    config = MDiTConfig.from_dict({**TINY.to_dict(), **fields, **changes})
    header = {"model": config.to_dict(), "codec": str(folder / "codec"), "size": 64, "guidance": 2.0}
    file = folder / f"nano-{seed}.safetensors"
    save_tensors(file, random_model(config, seed).state_dict(), header, dtype=torch.float16)
    return file


def write_flux(folder: Path, guidance: bool = True) -> Path:
    """A tiny random FLUX.1-dev pipeline in diffusers' format: transformer, VAE of factor 8, CLIP, T5, tokenizers.

    Without guidance it is a FLUX.1-schnell.
    """
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

    torch.manual_seed(0)
    flux = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=20,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 6, 6),
    )
    with torch.no_grad():
        for parameter in flux.parameters():
            parameter.normal_(std=0.15)
    flux.save_pretrained(folder / "transformer")
    write_codec(folder / "vae", channels=4, levels=4)
    words = ["<pad>", "</s>", "<unk>", "a", "woman", "man", "smiling"]
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    shared: dict[str, Any] = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    for name, longest in (("tokenizer", 77), ("tokenizer_2", 512)):
        made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=longest, **shared)
        made.save_pretrained(folder / name)
    sizes: dict[str, Any] = {"vocab_size": 12, "hidden_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2}
    marks: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    CLIPTextModel(CLIPTextConfig(**sizes, **marks, intermediate_size=32, projection_dim=20)).save_pretrained(
        folder / "text_encoder"
    )
    T5EncoderModel(T5Config(vocab_size=12, d_model=24, d_kv=6, d_ff=48, num_layers=1, num_heads=4)).save_pretrained(
        folder / "text_encoder_2"
    )
    (folder / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    return folder
