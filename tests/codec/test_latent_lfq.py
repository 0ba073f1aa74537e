"""Codes for the latents of a generator codec: layout, inverses, what is refused, and that training lowers the loss."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from limner.codecs.generator import GeneratorConfig
from limner.codecs.generator_codec import GeneratorCodec, GeneratorCodecConfig
from limner.codecs.latent_lfq import LatentLFQCodec, LatentLFQConfig
from limner.codecs.latent_lfq_task import LatentLFQTask, importance
from limner.codecs.styles_data import HELD_OUT, StyleBatches, styles_of
from limner.errors import InputError

SIZES = {"bits": 5, "width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny codec's folder: 4 × 4 grid tokens of 24 numbers, 64 px."""
    torch.manual_seed(0)
    generator = GeneratorConfig(style=32, mapping_layers=1, widths=(32, 16, 16, 16, 8))
    codec = GeneratorCodec(GeneratorCodecConfig(generator=generator, cut=1, channels=6, patch=2, head=(3, 8, 8)))
    for parameter in codec.parameters():
        parameter.data.normal_(std=0.2)
    codec.fit(codec.generator.mapping(torch.randn(200, 32)))
    folder = tmp_path_factory.mktemp("codec")
    codec.save(folder, {}, dtype=torch.float32)
    return folder


def make(base: Path) -> LatentLFQCodec:
    torch.manual_seed(1)
    return LatentLFQCodec(LatentLFQConfig(base=str(base), codes=2, **SIZES)).eval().requires_grad_(False)


def test_every_grid_token_has_its_square_of_codes(base: Path) -> None:
    codec = make(base)
    latents = torch.randn(2, *codec.base.latent_shape())
    codes = codec.encode_latents(latents)
    assert codes.shape == (2, 64) and codec.factor == 8
    bits = codec.encoder(latents)[:, 1:]  # (B, N, q q C)
    token = bits[1, 6].view(2, 2, 5)  # token 6 of a 4 × 4 grid: row 1, column 2
    square = codes[1].view(8, 8)[2:4, 4:6]
    expected = ((token > 0) * torch.tensor([16, 8, 4, 2, 1])).sum(-1)
    assert torch.equal(square, expected)


def test_bits_go_back_to_the_token_they_came_from(base: Path) -> None:
    codec = make(base)
    codec.decoder = _Identity()  # type: ignore[assignment]
    z = torch.randint(0, 2, (1, 5, 8, 8)).float() * 2 - 1
    tokens = codec.restore(z)[0, 1:]  # (N, q q C)
    assert torch.equal(tokens[6].view(2, 2, 5), z[0, :, 2:4, 4:6].permute(1, 2, 0))


class _Identity(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_codes_that_are_not_whole_are_refused(base: Path) -> None:
    codec = make(base)
    with pytest.raises(ValueError, match="codes go from 0 to 31"):
        codec.decode(torch.full((1, 64), 32))
    with pytest.raises(ValueError, match="this codec has 8 × 8"):
        codec.decode(torch.zeros(1, 60, dtype=torch.int64))
    assert codec.decode(torch.zeros(1, 64, dtype=torch.int64)).shape == (1, 3, 64, 64)
    assert codec.decode(torch.zeros(1, 64, dtype=torch.int64), size=128).shape == (1, 3, 128, 128)


def test_a_saved_codec_comes_back_and_knows_its_base(base: Path, tmp_path: Path) -> None:
    codec = make(base)
    codec.save(tmp_path, {"steps": "1"}, dtype=torch.float32)
    latents = torch.randn(1, *codec.base.latent_shape())
    again = LatentLFQCodec.load(tmp_path)
    assert torch.equal(again.encode_latents(latents), codec.encode_latents(latents))
    assert torch.equal(again.decode(codec.encode_latents(latents)), codec.decode(codec.encode_latents(latents)))
    described = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**described, "base_sha256": "0"}))
    with pytest.raises(InputError, match="was trained with another"):
        LatentLFQCodec.load(tmp_path)


def test_importance_spends_bits_by_variance(base: Path) -> None:
    codec = GeneratorCodec.load(base)
    weights = importance(codec, 1.0, 0.5)
    assert weights.shape == codec.latent_shape()
    assert torch.allclose(weights[1:].mean(), torch.tensor(1.0)) and torch.allclose(
        weights[0].mean(), torch.tensor(8.0)
    )
    assert torch.equal(weights[1].argsort(), codec.get_buffer("deviation").repeat(4).argsort())
    assert torch.allclose(importance(codec, 0.0, 0.5)[1:], torch.ones(16, 24))


def test_batches_are_functions_of_the_step_and_leave_some_styles_out() -> None:
    styles = np.arange(HELD_OUT + 4, dtype=np.float16)[:, None].repeat(8, 1)
    batches = StyleBatches(styles, 8, seed=3, share=0.5)
    one, again, other = batches.batch(2), batches.batch(2), batches.batch(3)
    assert all(torch.equal(one[key], again[key]) for key in one) and not torch.equal(one["z"], other["z"])
    assert one["styles"].shape == (4, 8) and one["z"].shape == (4, 8) and one["styles"].max() < 4
    assert batches.held_out(HELD_OUT).min() == 4


def test_training_lowers_what_is_lost(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    codec = GeneratorCodec.load(base)
    w = codec.generator.mapping(torch.randn(400, 32)).half().numpy()
    np.savez(tmp_path / "w.npz", ids=np.arange(400), w=w)
    settings = {"styles": ["w.npz"], "architecture": {"base": str(base), **SIZES}, "held_out_count": 32}
    task = LatentLFQTask(settings, batch_size=32, seed=0)
    torch.manual_seed(0)
    model = task.build()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 3e-3)
    assert all(not p.requires_grad for p in task.base.parameters()), "the base stays as it is"
    with torch.no_grad():
        before = task.validate(model)["variance_lost"]
    for step in range(60):
        loss, parts = task.loss(model, task.batch(step), torch.Generator().manual_seed(step), step)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        after = task.validate(model)
    assert after["variance_lost"] < 0.8 * before and set(parts) == {"latents", "entropy", "commitment"}
    assert task.samples(model).shape == (2 * 64, 8 * 64, 3)
    assert styles_of(task.batch(0), codec.generator).shape == (32, 32)
