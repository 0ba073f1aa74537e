"""The painter at full scale's shape: a FLUX.1 pipeline folder, with and without mask corrections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from limner.errors import InputError
from limner.models.mditface.embedding import Prompt
from limner.models.mditface.engine import MDiTFace
from limner.models.mditface.lora import add_mask_lora, mask_parameters
from limner.models.mditface.lora_file import load_lora, save_lora
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
    regions[:32], regions[32:56] = 13, 1
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
    save_lora(adapted, tmp_path / "lora.safetensors")
    loaded = MDiTFace.load(pipeline, device="cpu", precision="fp32", lora=tmp_path / "lora.safetensors")
    for one, other in zip(mask_parameters(loaded.components.model), mask_parameters(adapted)):
        assert torch.equal(one, other.bfloat16().float())
    settings: dict[str, Any] = {"size": 64, "steps": 2}
    plain, masked = painter.paint("a woman", **settings)[0], painter.paint("a woman", halves(), **settings)[0]
    assert np.array_equal(pixels(loaded.paint("a woman", **settings)[0]), pixels(plain))
    assert not np.array_equal(pixels(loaded.paint("a woman", halves(), **settings)[0]), pixels(masked))


def test_corrections_of_another_shape_are_refused(painter: MDiTFace, tmp_path: Path) -> None:
    save_lora(add_mask_lora(kind("full"), 2), tmp_path / "other.safetensors")  # two double blocks, not one
    with pytest.raises(InputError, match=r"transformer_blocks\.1"):
        load_lora(painter.components.model, tmp_path / "other.safetensors")
    from limner.weights.tensors import save_tensors

    save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, {})
    with pytest.raises(InputError, match="no LoRA"):
        load_lora(painter.components.model, tmp_path / "x.safetensors")


def prepared(pipeline: Path, data: Path) -> Path:
    """A set of seven faces, prepared for FLUX: words as they are, pictures and coloured maps by its own codec."""
    from limner.codecs.continuous import KLCodec
    from limner.data.preparing import Portion
    from limner.models.mditface.prepare import Face, Makers, prepare

    faces = []
    for i in range(4):
        random = np.random.default_rng(i)
        picture = random.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
        faces.append(Face(picture, halves(), ("a woman", "a man"), validation=i == 3))
    makers = Makers(KLCodec.load(pipeline / "vae"), None, text_length=512, captions=2, palette=True, live=True)
    facts = {"codec": str(pipeline / "vae"), "encoder": str(pipeline)}
    prepare([Portion(lambda: faces, 0, {"of": 0})], data, makers, facts)
    return data


def test_corrections_are_trained_prepared_and_painted_with(pipeline: Path, tmp_path: Path) -> None:
    """The whole way at full scale's shape: faces, prepare with FLUX's own encoders, train, export, paint."""
    from limner.models.mditface.task import MDiTFaceTask

    data = prepared(pipeline, tmp_path / "prepared")
    settings: dict[str, Any] = {"data": str(data), "flux": str(pipeline), "rank": 2, "sample_steps": 1}
    settings |= {
        "drop_text": 0.2,
        "drop_mask": 0.2,
        "drop_both": 0.1,
        "lora_streams": ["image", "text"],
        "lora_rank": 2,
    }
    task = MDiTFaceTask(settings, 2, 0)
    model = task.build()
    assert all(parameter.is_meta for parameter in model.parameters())  # nothing is held before the pieces are known
    task.fill(model.to_empty(device="cpu"))
    types = {parameter.dtype for parameter in model.parameters() if not parameter.requires_grad}
    assert types == {torch.bfloat16}
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-2, weight_decay=0.0)
    with pytest.raises(InputError, match="base_precision=fp32"):
        task.loss(model, task.batch(0), torch.Generator().manual_seed(0), 0)
    losses = []
    for _ in range(25):
        with torch.autocast("cpu", torch.bfloat16):  # the same draw: it must fall
            loss, _ = task.loss(model, task.batch(0), torch.Generator().manual_seed(0), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1e-3
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed and all(".adapter." in name for name in changed)
    for stream in ("image", "text", "merged"):
        assert any(f".{stream}.adapter." in name for name in changed)
    with torch.no_grad():
        assert set(task.validate(model)) == {"both.loss", "mask.loss", "text.loss"}
        sheet = task.samples(model)
    assert sheet is not None and sheet.shape == (5 * 64, 64, 3)
    task.export(model, tmp_path / "lora.safetensors", {"step": "25"})
    painter = MDiTFace.load(pipeline, device="cpu", precision="fp32", lora=tmp_path / "lora.safetensors")
    assert painter.paint("a woman", halves(), size=64, steps=1)[0].image.size == (64, 64)


def test_dropped_conditions_are_the_absences_of_sampling(pipeline: Path, tmp_path: Path) -> None:
    """A dropped mask is no mask tokens, dropped words are the empty prompt: the losses are those of such inputs."""
    from limner.models.mditface.flow import draw_noise, flux_shift, interpolate
    from limner.models.mditface.mask_cache import encode_mask
    from limner.models.mditface.task import MDiTFaceTask, flow_loss, mask_input

    data = prepared(pipeline, tmp_path / "prepared")
    settings: dict[str, Any] = {"data": str(data), "flux": str(pipeline), "rank": 2, "base_precision": "fp32"}
    task = MDiTFaceTask(settings, 4, 0)
    assert task.shift == pytest.approx(flux_shift(16))  # 64 pixels; what sampling takes
    model: Any = task.build().to_empty(device="cpu")
    task.fill(model)
    batch = task.with_features(task.batch(0))
    times, noise = torch.tensor([0.2, 0.4, 0.6, 0.8]), draw_noise(batch["latents"].shape[1:], 0, 4)
    words, mask = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    encoder = MDiTFace.load(pipeline, device="cpu", precision="fp32").components.encoder
    with torch.no_grad():
        losses = flow_loss(model, batch, times, noise, words, mask, task.empty(torch.device("cpu")))
        empty = encoder.encode([""], 512)
        for k in range(4):
            tokens = batch["tokens"][k : k + 1] if words[k] else empty.tokens
            pooled = batch["pooled"][k : k + 1] if words[k] else empty.pooled
            cache = encode_mask(model, mask_input(model, batch)[k : k + 1]) if mask[k] else None
            noisy = interpolate(batch["latents"][k : k + 1], noise[k : k + 1], times[k : k + 1])
            v = model(noisy, times[k : k + 1], Prompt(tokens, pooled), cache, torch.ones(1))
            expected = (v - (noise[k] - batch["latents"][k])).square().mean()
            assert losses[k].item() == pytest.approx(expected.item(), rel=1e-4)
    assert len({round(loss, 4) for loss in losses.tolist()}) == 4


def test_schnell_takes_four_steps_and_no_guidance(tmp_path: Path, monkeypatch) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    from limner.models.mditface.flow import schedule
    from limner.models.mditface.flux_times import read_shift

    pipeline = write_flux(tmp_path, guidance=False)
    painter = MDiTFace.load(pipeline, device="cpu", precision="fp32", text_length=7)
    rows: list[int] = []
    forward = type(painter.components.model).forward
    monkeypatch.setattr(
        type(painter.components.model),
        "forward",
        lambda self, x, *a, **k: (rows.append(len(x)), forward(self, x, *a, **k))[1],
    )
    picture = painter.paint("a woman", halves(), size=64)[0]
    assert rows == [1, 1, 1, 1] and picture.recipe["steps"] == 4 and picture.recipe["branches"] == 1
    assert painter._prompt(["a woman"]).tokens.shape[1] == 7 and picture.recipe["text_length"] == 7
    with pytest.raises(InputError, match="takes no guidance"):
        painter.paint("a woman", guidance=3.0, size=64)
    with pytest.raises(InputError, match="1 to 256"):
        MDiTFace.load(pipeline, device="cpu", text_length=512)
    for dynamic in (False, True):
        settings: dict[str, Any] = {"shift": 3.0, "use_dynamic_shifting": dynamic}
        scheduler: Any = FlowMatchEulerDiscreteScheduler(**settings)
        scheduler.save_pretrained(pipeline / "scheduler")
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift

        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / 6, 6).tolist(), mu=calculate_shift(1024))
        ours = schedule(6, read_shift(pipeline, dev=dynamic)(1024))
        assert np.allclose(ours, scheduler.sigmas.numpy(), atol=1e-6)
    (pipeline / "scheduler" / "scheduler_config.json").write_text('{"use_karras_sigmas": true}')
    with pytest.raises(InputError, match="use_karras_sigmas"):
        read_shift(pipeline, dev=True)
