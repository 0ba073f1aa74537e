"""Making a generator codec: it is fitted, its head learns the generator's picture, and the folder can be used."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from codec.tiny import lpips_tensors
from limner.codecs.generator import Generator, GeneratorConfig
from limner.codecs.generator_codec import GeneratorCodec
from limner.codecs.generator_codec_task import GeneratorCodecTask
from limner.weights.configs import to_header
from limner.weights.tensors import save_tensors

TINY = GeneratorConfig(style=32, mapping_layers=1, widths=(32, 16, 16, 16, 8))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    torch.manual_seed(0)
    generator = Generator(TINY)
    for name, parameter in generator.named_parameters():
        parameter.data.normal_(std=0.1 if "mapping" in name else 0.25)
    save_tensors(tmp_path / "generator.safetensors", dict(generator.state_dict()), {})
    save_tensors(tmp_path / "lpips.safetensors", lpips_tensors(), {})
    architecture = {"generator": to_header(TINY), "cut": 1, "channels": 6, "patch": 2, "head": [3, 8, 8]}
    names = {"generator": "generator.safetensors", "lpips": "lpips.safetensors", "lpips_weight": 0.0}
    sizes = {"fit_faces": 200, "pictures": 12, "window": 64, "held_out": 6}
    return {**names, **sizes, "architecture": architecture}


def test_the_head_learns_the_generators_picture(settings: dict[str, object], tmp_path: Path) -> None:
    task = GeneratorCodecTask(settings, batch_size=2, seed=0)
    model = task.build()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained and all(name.startswith("head.") for name in trained)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    with torch.no_grad():
        before = task.validate(model)["psnr"]
    for step in range(60):
        loss, parts = task.loss(model, task.batch(step), torch.Generator().manual_seed(step), step)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        assert task.validate(model)["psnr"] > before + 2
        assert task.samples(model).shape == (3 * 64, 6 * 64, 3)
    assert set(parts) == {"l1", "squares", "lpips"}
    task.export(model, tmp_path / "codec.safetensors", {"step": "60"})
    again = GeneratorCodec.load(tmp_path / "codec")
    assert asdict(again.config) == asdict(task.config)
    with torch.no_grad():
        spread = again.encode_style(task._styles(np.random.default_rng(5), 200, again)).std()
    assert 0.8 < float(spread) < 1.2


def test_a_face_is_taught_the_same_each_time(settings: dict[str, object]) -> None:
    task, other = (GeneratorCodecTask(settings, batch_size=2, seed=0) for _ in range(2))
    model = task.build()
    assert isinstance(model, GeneratorCodec)
    first, again = task._taught(model, 3), task._taught(model, 3)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert all(torch.equal(a, b) for a, b in zip(first, other._taught(model, 3)))
    assert not torch.equal(first[0], task._taught(model, 4)[0])
    assert torch.equal(task.batch(7)["faces"], other.batch(7)["faces"])
