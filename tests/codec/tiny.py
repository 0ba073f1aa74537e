"""A codec small enough to train in a test, with pictures and an LPIPS file of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from limner.faces.picture import save_png
from limner.weights.tensors import save_tensors

WIDTHS, KERNELS = (64, 192, 384, 256, 256), (11, 5, 3, 3, 3)
SETTINGS = {
    "kind": "codec",
    "pictures": ["faces"],
    "held_out": {"faces": "faces"},
    "window": 64,
    "architecture": {
        "in_channels": 3, "latent_channels": 4, "attention_head_dim": 8,
        "encoder_block_types": "ResBlock", "decoder_block_types": "ResBlock",
        "encoder_block_out_channels": [8, 8, 16], "decoder_block_out_channels": [8, 8, 16],
        "encoder_layers_per_block": [0, 1, 1], "decoder_layers_per_block": [0, 1, 1],
        "encoder_qkv_multiscales": [[], [], []], "decoder_qkv_multiscales": [[], [], []],
        "upsample_block_type": "pixel_shuffle", "downsample_block_type": "pixel_unshuffle",
        "decoder_norm_types": "rms_norm", "decoder_act_fns": "silu", "scaling_factor": 1.0,
    },
}  # fmt: skip


def lpips_tensors() -> dict[str, torch.Tensor]:
    """Random weights in the layout of LPIPS(alex)."""
    generator, tensors, channels = torch.Generator().manual_seed(0), {}, 3
    for index, (width, kernel) in enumerate(zip(WIDTHS, KERNELS, strict=True)):
        shape = (width, channels, kernel, kernel)
        tensors[f"features.{index}.weight"] = torch.randn(shape, generator=generator) * (channels * kernel**2) ** -0.5
        tensors[f"features.{index}.bias"] = torch.zeros(width)
        tensors[f"heads.{index}.weight"] = torch.rand(1, width, 1, 1, generator=generator) / width
        channels = width
    return tensors


def make_folder(folder: Path, count: int) -> None:
    """Smooth coloured pictures of 256 px in `folder`, and LPIPS weights beside it."""
    rows, columns = np.mgrid[:256, :256] / 256
    for index in range(count):
        random = np.random.default_rng(index)
        waves = [np.sin(6 * (rows * random.normal() + columns * random.normal()) + random.uniform(0, 6)) for _ in "rgb"]
        save_png(folder / f"{index}.png", (127.5 + 120 * np.stack(waves, -1)).astype(np.uint8))
    save_tensors(folder.parent / "lpips.safetensors", lpips_tensors(), {})
