"""The painter at full scale's shape: a FLUX.1 pipeline folder, with and without mask corrections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from limner.errors import InputError
from limner.models.mditface.engine import MDiTFace
from limner.models.mditface.lora import add_mask_lora, load_mask_lora, mask_parameters, save_mask_lora
from limner.provenance.picture import Picture
from mditface.parts import write_flux
from mditface.tiny import kind


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_flux(tmp_path_factory.mktemp("flux"))


@pytest.fixture(scope="module")
def painter(pipeline: Path) -> MDiTFace:
    return MDiTFace.load(pipeline, device="cpu", precision="fp32")


def halves() -> np.ndarray:
    regions = np.zeros((64, 64), np.uint8)
    regions[:32] = 13
    return regions


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(picture.image).astype(int)


def test_flux_paints_words_and_masks_at_any_size(painter: MDiTFace) -> None:
    base = painter.paint("a woman", size=64, steps=2)[0]
    assert pixels(base).shape == (64, 64, 3)
    assert painter.paint("a woman", size=96, steps=1)[0].image.size == (96, 96)
    changes = [
        ("a man", None, {}),
        ("a woman", halves(), {}),
        ("a woman", None, {"guidance": 9.0}),
        (None, halves(), {}),
    ]
    for text, mask, settings in changes:
        assert not np.array_equal(pixels(painter.paint(text, mask, size=64, steps=2, **settings)[0]), pixels(base))
    masked = painter.paint("a woman", halves(), size=64, steps=2, merge="regions")[0]
    assert masked.recipe["branches"] == 1  # guidance is an input of the network
    assert np.array_equal(pixels(painter.replay(masked.recipe)), pixels(masked))


def test_flux_refuses_what_it_cannot_do(painter: MDiTFace) -> None:
    with pytest.raises(InputError, match="multiple of 16"):
        painter.paint("a woman", size=72)
    with pytest.raises(InputError, match="mask_guidance"):
        painter.paint("a woman", halves(), size=64, mask_guidance=2.0)


@torch.no_grad()
def test_corrections_travel_in_a_file_of_their_own(painter: MDiTFace, pipeline: Path, tmp_path: Path) -> None:
    adapted = add_mask_lora(painter.components.model, rank=2)
    generator = torch.Generator().manual_seed(5)
    for parameter in mask_parameters(adapted):
        parameter.normal_(std=0.3, generator=generator)
    save_mask_lora(adapted, tmp_path / "lora.safetensors")
    loaded = MDiTFace.load(pipeline, device="cpu", precision="fp32", lora=tmp_path / "lora.safetensors")
    for one, other in zip(mask_parameters(loaded.components.model), mask_parameters(adapted)):
        assert torch.equal(one, other.bfloat16().float())
    settings: dict[str, Any] = {"size": 64, "steps": 2}
    plain, masked = painter.paint("a woman", **settings)[0], painter.paint("a woman", halves(), **settings)[0]
    assert np.array_equal(pixels(loaded.paint("a woman", **settings)[0]), pixels(plain))
    assert not np.array_equal(pixels(loaded.paint("a woman", halves(), **settings)[0]), pixels(masked))


def test_corrections_of_another_shape_are_refused(painter: MDiTFace, tmp_path: Path) -> None:
    save_mask_lora(kind("lora"), tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="tensor"):
        load_mask_lora(painter.components.model, tmp_path / "other.safetensors")
    from limner.weights.tensors import save_tensors

    save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, {})
    with pytest.raises(InputError, match="no mask corrections"):
        load_mask_lora(painter.components.model, tmp_path / "x.safetensors")


def test_corrections_are_trained_prepared_and_painted_with(pipeline: Path, tmp_path: Path, monkeypatch) -> None:
    """The whole way at full scale's shape: faces, prepare with FLUX's own encoders, train, export, paint."""
    import limner.models.mditface.prepare as module
    from limner.models.mditface.task import MDiTFaceTask

    def faces(folders: object, *rest: object) -> Iterator[module.Face]:
        for i in range(4):
            random = np.random.default_rng(i)
            picture = random.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
            yield module.Face(picture, halves(), ("a woman", "a man"), validation=i == 3)

    monkeypatch.setattr(module, "read_faces", faces)
    monkeypatch.setattr(module, "count_faces", lambda folders, mirror: 7)
    data = tmp_path / "prepared"
    module.main(["shards", "--out", str(data), "--flux", str(pipeline), "--text-length", "6", "--captions", "2"])
    settings: dict[str, Any] = {"data": str(data), "flux": str(pipeline), "rank": 2, "sample_steps": 1}
    with pytest.raises(InputError, match="no absent conditions"):
        MDiTFaceTask(settings, 2, 0)
    task = MDiTFaceTask({**settings, "drop_text": 0.0, "drop_mask": 0.0, "drop_both": 0.0}, 2, 0)
    model = task.build()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-2, weight_decay=0.0)
    losses = []
    for _ in range(25):
        loss, _ = task.loss(model, task.batch(0), torch.Generator().manual_seed(0), 0)  # the same draw: it must fall
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1e-3
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed and all(".adapter." in name for name in changed)
    with torch.no_grad():
        assert set(task.validate(model)) == {"both.loss"}
        sheet = task.samples(model)
    assert sheet is not None and sheet.shape == (3 * 64, 64, 3)
    task.export(model, tmp_path / "lora.safetensors", {"step": "25"})
    painter = MDiTFace.load(pipeline, device="cpu", precision="fp32", lora=tmp_path / "lora.safetensors")
    assert painter.paint("a woman", halves(), size=64, steps=1)[0].image.size == (64, 64)
