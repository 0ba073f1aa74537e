"""One code path for three kinds of autoencoder, equal to what diffusers computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderTiny

from limner.codecs.continuous import KLCodec
from limner.codecs.deep_compression import DeepCompressionAutoencoder
from limner.errors import InputError
from limner.weights.fingerprint import weights_hash


def tiny_kl() -> Any:
    make: Any = AutoencoderKL  # whose annotations say tuples of one
    return make(
        block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1, latent_channels=4, norm_num_groups=4, scaling_factor=0.3611, shift_factor=0.1159,
    )  # fmt: skip


def tiny_dc() -> AutoencoderDC:
    return AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=8,
        encoder_block_types="ResBlock", decoder_block_types="ResBlock",
        encoder_block_out_channels=(8, 8, 16), decoder_block_out_channels=(8, 8, 16),
        encoder_layers_per_block=(0, 1, 1), decoder_layers_per_block=(0, 1, 1),
        encoder_qkv_multiscales=((), (), ()), decoder_qkv_multiscales=((), (), ()),
        upsample_block_type="pixel_shuffle", downsample_block_type="pixel_unshuffle",
        decoder_norm_types="rms_norm", decoder_act_fns="silu", scaling_factor=0.5,
    )  # fmt: skip


def tiny_tiny() -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1), latent_channels=4,
    )  # fmt: skip


def saved(model: Any, folder: Path) -> Path:
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("shortcut", [True, False])
def test_our_deep_compression_autoencoder_is_diffusers_to_the_bit(tmp_path: Path, first: int, shortcut: bool) -> None:
    """The nano codec's own architecture, and the variants its configuration allows: same values, same fingerprint."""
    make: Any = AutoencoderDC.from_config
    config = {**dict(tiny_dc().config), "encoder_layers_per_block": (first, 1, 2), "encoder_out_shortcut": shortcut,
              "decoder_layers_per_block": (first, 2, 1), "decoder_in_shortcut": shortcut}  # fmt: skip
    model = make(config)
    codec = KLCodec.load(saved(model, tmp_path))
    assert isinstance(codec.autoencoder, DeepCompressionAutoencoder)
    theirs = KLCodec(model.eval())
    assert weights_hash(codec) == weights_hash(theirs)
    x = torch.rand(2, 3, 32, 48) * 2 - 1
    z = theirs.encode(x)
    assert torch.equal(codec.encode(x), z) and torch.equal(codec.decode(z), theirs.decode(z))


def test_what_ours_does_not_cover_is_diffusers_own(tmp_path: Path) -> None:
    make: Any = AutoencoderDC.from_config
    for change in ({"upsample_block_type": "interpolate"}, {"decoder_norm_types": "batch_norm"}):
        model = make({**dict(tiny_dc().config), **change})
        assert isinstance(KLCodec.load(saved(model, tmp_path)).autoencoder, AutoencoderDC)


@pytest.mark.parametrize("make", [tiny_kl, tiny_dc, tiny_tiny])
def test_a_saved_autoencoder_gives_what_diffusers_gives(make, tmp_path: Path) -> None:
    model = make()
    codec = KLCodec.load(saved(model, tmp_path))
    model.eval()
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    encoded = model.encode(x)
    z = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded[0]
    shift, scale = model.config.get("shift_factor") or 0.0, model.config.get("scaling_factor") or 1.0
    latents = codec.encode(x)
    torch.testing.assert_close(latents, (z - shift) * scale, rtol=0, atol=1e-6)
    assert latents.shape == (2, codec.channels, 32 // codec.factor, 32 // codec.factor)
    torch.testing.assert_close(codec.decode(latents), model.decode(z).sample.clamp(-1, 1), rtol=0, atol=1e-5)


def test_single_equals_batched(tmp_path: Path) -> None:
    codec = KLCodec.load(saved(tiny_dc(), tmp_path))
    x = torch.rand(3, 3, 32, 32) * 2 - 1
    torch.testing.assert_close(codec.encode(x)[1:2], codec.encode(x[1:2]), rtol=0, atol=1e-6)


def test_a_folder_that_is_no_autoencoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json is missing"):
        KLCodec.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    with pytest.raises(InputError, match="UNet2DModel"):
        KLCodec.load(tmp_path)


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    folder = saved(tiny_kl(), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"latent_channels": 5}))
    with pytest.raises(InputError, match=r"first difference: decoder\.conv_in\.weight"):
        KLCodec.load(folder)
