"""Training a small codec: batches from the step alone, reconstruction improves, the export loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC

from codec.tiny import SETTINGS, make_folder
from limner.codecs.continuous import KLCodec
from limner.codecs.crops import PictureCrops
from limner.codecs.discrete import LFQCodec
from limner.codecs.kl_task import CodecTask
from limner.codecs.lfq_task import LFQTask
from limner.errors import InputError
from limner.faces.data_folders import picture_files
from limner.faces.image_tensors import to_model, to_pictures
from limner.training.config import TrainingConfig
from limner.training.loop import train


def test_pictures_survive_the_way_into_a_model_and_back() -> None:
    pictures = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    x = to_model(pictures)
    assert x.shape == (1, 3, 16, 16) and x.min() == -1 and x.max() == 1
    np.testing.assert_array_equal(to_pictures(x), pictures)


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "faces", 5)
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    files = picture_files(["faces"])
    one, again, other = (PictureCrops(files, 2, seed, window=64) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.batch(3), again.batch(3))
    assert not torch.equal(one.batch(3), other.batch(3)) and not torch.equal(one.batch(3), one.batch(4))
    assert one.batch(0).shape == (2, 3, 64, 64)


def test_every_epoch_visits_every_picture_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "faces", 5)
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    visited: list[Path] = []
    crops = PictureCrops(picture_files(["faces"]), 2, 0)
    monkeypatch.setattr(crops, "crop", lambda file, random: visited.append(file) or np.zeros((256, 256, 3), np.uint8))
    for step in range(5):
        crops.batch(step)
    assert sorted(visited[:5]) == sorted(visited[5:]) == crops.files and visited[:5] != visited[5:]


def test_a_missing_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    with pytest.raises(InputError, match="LIMNER_DATA"):
        picture_files(["nowhere"])


def test_it_learns_and_its_export_is_a_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "faces", 4)
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    settings = SETTINGS | {"lpips": str(tmp_path / "lpips.safetensors"), "adversarial_weight": 0.01}
    config = TrainingConfig.model_validate({
        "name": "tiny", "task": settings,
        "train": {"steps": 60, "batch_size": 2, "learning_rate": 3e-3, "warmup": 5, "precision": "fp32", "ema": 0.9,
                  "validate_every": 30, "sample_every": 60, "threads": 1},
    })  # fmt: skip
    task = CodecTask(config.task, 2, 0)
    lines: list[dict] = []
    weights = train(task, config, tmp_path / "run", report=lines.append)
    validations = [line for line in lines if line["kind"] == "validate"]
    assert validations[-1]["faces.psnr"] > validations[0]["faces.psnr"] > 8
    assert "critic" in lines[-2] or any("critic" in line for line in lines)
    codec = KLCodec.load(weights.with_suffix(""))
    x = to_model(task.held_out["faces"])
    latents = codec.encode(x)
    assert latents.std().item() == pytest.approx(1, abs=0.1), "the scaling factor makes unit variance"
    error = (codec.decode(latents) - x).mul(127.5).square().mean((1, 2, 3))
    psnr = (10 * torch.log10(255**2 / error)).mean().item()
    assert psnr == pytest.approx(validations[-1]["faces.psnr"], abs=0.2)

    (tmp_path / "stage-1").symlink_to(weights.with_suffix(""))
    edit = {"task": settings | {"init_from": "stage-1", "decoder_only": True}, "train": config.train.model_dump()}
    second = TrainingConfig.model_validate({"name": "tiny-2", **edit, "train": edit["train"] | {"steps": 5}})
    sharper = KLCodec.load(train(CodecTask(second.task, 2, 0), second, tmp_path / "run-2").with_suffix(""))
    assert torch.equal(sharper.encode(x), latents), "latents made with the first stage stay valid"
    assert not torch.equal(sharper.decode(latents), codec.decode(latents))


def test_codes_learn_too_and_their_encoder_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "faces", 4)
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    five = {
        "encoder_block_out_channels": [8] * 4 + [16], "decoder_block_out_channels": [8] * 4 + [16],
        "encoder_layers_per_block": [0, 1, 1, 1, 1], "decoder_layers_per_block": [0, 1, 1, 1, 1],
        "encoder_qkv_multiscales": [[]] * 5, "decoder_qkv_multiscales": [[]] * 5,
    }  # fmt: skip
    torch.manual_seed(0)
    AutoencoderDC(**{**SETTINGS["architecture"], **five}).save_pretrained(tmp_path / "base")  # type: ignore[arg-type]
    settings = {
        "kind": "lfq", "pictures": ["faces"], "held_out": {"faces": "faces"}, "window": 64, "held_out_count": 2,
        "lpips": str(tmp_path / "lpips.safetensors"), "adversarial_weight": 0.01, "adversarial_after": 55,
        "architecture": {"bits": 4, "base": str(tmp_path / "base"), "width": 16, "groups": 4, "blocks": 0},
    }  # fmt: skip
    config = TrainingConfig.model_validate({
        "name": "tiny", "task": settings,
        "train": {"steps": 60, "batch_size": 2, "learning_rate": 5e-3, "warmup": 5, "precision": "fp32", "ema": 0.8,
                  "validate_every": 60, "sample_every": 60, "threads": 1, "log_every": 1},
    })  # fmt: skip
    task = LFQTask(config.task, 2, 0)
    lines: list[dict] = []
    weights = train(task, config, tmp_path / "run", report=lines.append)
    logged = [line for line in lines if line["kind"] == "train"]
    first, last = ([line["l1"] for line in part] for part in (logged[:5], logged[-10:]))
    assert np.mean(last) < 0.9 * np.mean(first) and "critic" in logged[-1] and "critic" not in logged[54]
    assert [line for line in lines if line["kind"] == "validate"][-1]["faces.codebook_use"] > 0.25
    codec = LFQCodec.load(weights.with_suffix(""))
    x = to_model(task.held_out["faces"])
    codes = codec.encode(x)
    base = KLCodec.load(tmp_path / "base").autoencoder
    assert all(torch.equal(a, b) for a, b in zip(codec.encoder.base.autoencoder.parameters(), base.parameters()))  # type: ignore[union-attr, operator]

    (tmp_path / "stage-1").symlink_to(weights.with_suffix(""))
    edit = {"task": settings | {"init_from": "stage-1", "decoder_only": True}, "train": config.train.model_dump()}
    later = {"steps": 3, "precision": "bf16"}  # latents are remembered in half precision, whatever the step's is
    second = TrainingConfig.model_validate({"name": "tiny-2", **edit, "train": edit["train"] | later})
    sharper = LFQCodec.load(train(LFQTask(second.task, 2, 0), second, tmp_path / "run-2").with_suffix(""))
    assert torch.equal(sharper.encode(x), codes), "codes made with the first stage stay valid"
    assert not torch.equal(sharper.decode(codes), codec.decode(codes))
