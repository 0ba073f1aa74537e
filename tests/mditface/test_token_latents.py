"""Painting in token latents: a style vector before a grid, as a generator codec has them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from limner.codecs.generator_codec import GeneratorCodec
from limner.errors import InputError
from limner.models.mditface.engine import MDiTFace
from limner.models.mditface.prepare import Face, Makers, make_shard
from limner.models.mditface.task import VECTOR_WEIGHT, flow_loss
from limner.words.encoder import MiniLM
from mditface.parts import write_token_painter
from mditface.tiny import KINDS, TINY, draw_mask, inputs, kind


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> MDiTFace:
    return MDiTFace.load(write_token_painter(tmp_path_factory.mktemp("painter")), precision="fp32")


def test_every_token_has_a_velocity_and_vectors_and_grid_see_each_other() -> None:
    model = kind("vectors")
    given = inputs(model, batch=1)
    x = given.pop("latents").requires_grad_(True)
    velocity = model(x, **given)
    assert velocity.shape == x.shape == (1, 2 + 16, 6)
    from_vector = torch.autograd.grad(velocity[0, 0].sum(), x, retain_graph=True)[0][0]
    from_grid = torch.autograd.grad(velocity[0, 5].sum(), x)[0][0]
    assert from_vector[10].abs().max() > 0 and from_grid[1].abs().max() > 0


def test_vector_tokens_need_a_fixed_grid() -> None:
    with pytest.raises(ValueError, match="vector_tokens=1: positions must say"):
        replace(TINY, vector_tokens=1)
    assert replace(TINY, **KINDS["vectors"]).image_tokens == 18
    with pytest.raises(ValueError, match="depends on the picture's size"):
        _ = TINY.image_tokens


def test_the_loss_weighs_vectors_apart() -> None:
    model = kind("vectors")
    given = inputs(model)
    prompt = given["prompt"]
    batch = {
        "latents": given["latents"],
        "regions": draw_mask(model, batch=2),
        "tokens": prompt.tokens,
        "pooled": prompt.pooled,
        "keep": prompt.keep,
    }
    noise, yes = torch.randn(given["latents"].shape), torch.ones(2, dtype=torch.bool)
    loss = flow_loss(model, batch, given["t"], noise, yes, yes)
    t = given["t"][:, None, None]
    features = model.static_path(model.embed_mask(batch["regions"]), (4, 4))
    velocity = model((1 - t) * batch["latents"] + t * noise, given["t"], prompt, features)
    squares = (velocity - noise + batch["latents"]).square()
    assert torch.allclose(loss, squares[:, 2:].mean((1, 2)) + VECTOR_WEIGHT * squares[:, :2].mean((1, 2)), atol=1e-5)


def test_one_set_of_latents_gives_pictures_of_several_sizes(painter: MDiTFace) -> None:
    small, large = (painter.paint("a woman", steps=2, size=size, seed=3)[0] for size in (64, 128))
    assert small.image.size == (64, 64) and large.image.size == (128, 128)
    again = painter.paint("a woman", steps=2, size=128, seed=3)[0]
    assert np.array_equal(np.asarray(large.image), np.asarray(again.image))
    assert np.array_equal(np.asarray(painter.replay(large.recipe).image), np.asarray(large.image))
    with pytest.raises(InputError, match="size=256: these weights support only size=64 or 128"):
        painter.paint("a woman", size=256)


def test_a_mask_keeps_the_size_of_the_grid_whatever_the_picture_has(painter: MDiTFace) -> None:
    regions = np.zeros((64, 64), np.uint8)
    regions[4:40, 8:56], regions[14:50, 16:48] = 13, 1
    large = painter.paint("a woman", regions, steps=2, size=128)[0]
    without = painter.paint("a woman", steps=2, size=128)[0]
    assert large.image.size == (128, 128) and not np.array_equal(np.asarray(large.image), np.asarray(without.image))
    assert np.array_equal(np.asarray(painter.replay(large.recipe).image), np.asarray(large.image))


def test_a_generator_codec_takes_latents_from_styles(painter: MDiTFace) -> None:
    codec = painter.components.codec
    assert isinstance(codec, GeneratorCodec)
    makers = Makers(codec, MiniLM.load(), text_length=8, captions=2, mirror=False)
    styles = torch.randn(3, 32)
    blank = np.zeros((64, 64, 3), np.uint8)
    faces = [Face(blank, blank[:, :, 0], ("a woman", "portrait"), False, {}, style.numpy()) for style in styles]
    made, count = make_shard(faces, makers)
    assert count == 3 and torch.allclose(made["latents"].float(), codec.encode_style(styles), atol=2e-2, rtol=1e-2)
    with pytest.raises(InputError, match="latents of synthetic faces only"):
        make_shard([replace(faces[0], style=None)], makers)
    with pytest.raises(InputError, match="without --style"):
        make_shard(faces, replace(makers, palette=True))
