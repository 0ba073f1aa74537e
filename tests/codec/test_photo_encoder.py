"""The encoder of photographs: where its tokens look, how it is saved with a codec, and that it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from codec.test_latent_lfq import base  # noqa: F401 (a fixture)
from limner.codecs.generator_codec import GeneratorCodec
from limner.codecs.photo_encoder import PhotoEncoder, PhotoEncoderConfig
from limner.codecs.photo_encoder_task import PhotoEncoderTask
from limner.codecs.styles_data import read_synthetic
from limner.errors import InputError
from limner.faces.image_tensors import to_pictures
from limner.faces.picture import save_picture

SMALL = {"width": 32, "heads": 2, "layers": 1}


def test_a_token_sees_its_own_place_most() -> None:
    torch.manual_seed(0)
    encoder = PhotoEncoder(PhotoEncoderConfig(**SMALL)).eval()
    picture = torch.zeros(1, 3, 256, 256)
    marked = picture.clone()
    marked[:, :, 64:96, 160:192] = 1  # row 2, column 5 of 8 × 8
    places = [encoder.tokens(each)[0] for each in (picture, marked)]
    change = (places[1] - places[0]).abs().sum(2)[0].view(8, 8)
    assert int(change.argmax()) == 2 * 8 + 5
    assert encoder(picture).shape == (1, 65, 128)


def test_a_codec_without_an_encoder_says_so_and_one_with_it_encodes(base: Path, tmp_path: Path) -> None:  # noqa: F811
    codec = GeneratorCodec.load(base)
    with pytest.raises(InputError, match="no encoder of photographs"):
        codec.encode(torch.zeros(1, 3, 64, 64))
    torch.manual_seed(0)
    encoder = PhotoEncoder(PhotoEncoderConfig(grid=4, outputs=24, size=64, **SMALL)).eval()
    codec.save(tmp_path, {}, dtype=torch.float32)
    encoder.save(tmp_path, {}, dtype=torch.float32)
    picture = torch.rand(2, 3, 64, 64) * 2 - 1
    found = GeneratorCodec.load(tmp_path).encode(picture)
    assert found.shape == (2, 17, 24) and torch.allclose(found, encoder(picture), atol=1e-5)


def test_it_learns_latents_of_synthetic_faces_and_pictures_of_photographs(
    base: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    codec = GeneratorCodec.load(base)
    torch.manual_seed(0)
    w = codec.generator.mapping(torch.randn(40, 32))
    pictures = to_pictures(codec.decode(codec.encode_style(w)))
    for folder in ("faces", "photos"):
        for k, picture in enumerate(pictures):
            save_picture(tmp_path / folder / f"{k:06d}.png", picture)
    np.savez(tmp_path / "faces" / "w.npz", ids=np.array([f"{k:06d}" for k in range(40)]), w=w.half().numpy())
    files, styles = read_synthetic([tmp_path / "faces"])
    assert files[3].name == "000003.png" and np.array_equal(styles[3], w[3].half().numpy())
    settings = {"codec": str(base), "synthetic": ["faces"], "architecture": SMALL, "held_out": 8}
    task = PhotoEncoderTask(settings, batch_size=16, seed=0)
    assert all(torch.equal(task.batch(1)[key], task.batch(1)[key]) for key in task.batch(1))
    model = task.build()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 2e-3)
    losses = []
    for step in range(40):
        loss, _ = task.loss(model, task.batch(step), torch.Generator(), step)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])
    with torch.no_grad():
        assert set(task.validate(model.eval())) == {"variance_lost"}
