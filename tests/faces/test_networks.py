"""The networks that look at the aligned picture: who, how old, which emotion, which traits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limner.faces import geometry as G
from limner.faces.demographics import DemographicsNetwork
from limner.faces.emotion import EMOTIONS, EmotionNet
from limner.faces.faceapi import load_affine
from limner.faces.identity import SAME_PERSON, IdentityEncoder
from limner.faces.tflite import TfliteNetwork
from limner.faces.traits import TraitHeads


@pytest.fixture(scope="module")
def crop(face, astronaut) -> np.ndarray:
    return G.warp(astronaut, face.crop, 256, border="edge")


def batch(*crops: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.fixture(scope="module")
def encoder() -> IdentityEncoder:
    return IdentityEncoder.load()


def test_identity_survives_what_leaves_the_person_alone(encoder, crop):
    darker = (crop * 0.6).astype(np.uint8)
    small = np.array(G.resize(np.array(G.resize(crop, (100, 100))), (256, 256)))
    original, *others = encoder(batch(crop, crop[:, ::-1].copy(), darker, small))
    for other in others:
        assert torch.dist(original, other) < 0.7 * SAME_PERSON
    assert torch.dist(original, encoder(batch(crop[::-1].copy()))[0]) > 0.3


def test_identity_one_by_one_and_at_other_sizes(encoder, crop):
    pictures = batch(crop, crop[:, ::-1].copy(), 255 - crop)
    together = encoder(pictures)
    assert together.shape == (3, 128)
    assert torch.allclose(together, torch.cat([encoder(each[None]) for each in pictures]), atol=1e-4)
    large = torch.nn.functional.interpolate(pictures[:1], (512, 512), mode="bilinear")
    assert torch.dist(encoder(large)[0], together[0]) < 0.1


def test_identity_has_a_gradient(encoder, crop):
    picture = batch(crop).requires_grad_()
    encoder(picture).square().sum().backward()
    assert picture.grad is not None and torch.isfinite(picture.grad).all()
    seen = picture.grad[0].abs().sum(0) > 0
    assert seen[150, 128] and not seen[10, 10]  # the face is looked at, the corner is not
    assert all(not parameter.requires_grad for parameter in encoder.parameters())


def test_eight_bits_become_numbers_by_scale_and_offset():
    tensors = load_affine("face-identity")
    assert all(value.is_floating_point() for value in tensors.values())
    assert tensors["conv32_down.conv.filters"].shape == (32, 3, 7, 7)
    assert len(torch.unique(tensors["conv32_1.conv1.conv.filters"])) <= 256


def test_a_smile_is_happy(crop):
    net = EmotionNet.load()
    shares = net(batch(crop, crop[:, ::-1].copy()))
    assert torch.allclose(shares.sum(1), torch.ones(2))
    assert [EMOTIONS[k] for k in shares.argmax(1)] == ["happy", "happy"]
    assert torch.allclose(net(batch(crop)), shares[:1], atol=1e-5)


def test_age_and_gender(crop):
    network = DemographicsNetwork.load()
    both = network(np.stack([crop, crop[:, ::-1]]))
    assert ((both.age > 25) & (both.age < 50)).all() and (both.woman > 0.5).all() and (both.age_spread > 0).all()
    assert network(crop[None]).age[0] == pytest.approx(both.age[0], abs=1e-3)
    assert both.woman[0] == pytest.approx(both.woman[1], abs=0.02)  # a mirror changes nobody


def test_traits_are_probabilities_and_right(crop):
    heads = TraitHeads.load()
    one, other = heads(batch(crop, crop[:, ::-1].copy()))
    for traits in (one, other):
        for shares in traits.values():
            assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert traits["eyewear"]["none"] > 0.9 and traits["hat"]["no"] > 0.5 and traits["beard"]["none"] > 0.5
    assert heads(batch(crop))[0]["hat"]["yes"] == pytest.approx(one["hat"]["yes"], abs=1e-4)


def test_painted_sunglasses_are_seen(face, crop):
    points = G.transform_points(face.landmarks, face.crop)
    rows, columns = np.mgrid[:256, :256]
    painted = crop.copy()
    for eye in ((33, 133), (263, 362)):
        x, y = points[list(eye), :2].mean(0)
        painted[((columns - x) / 26) ** 2 + ((rows - y - 4) / 18) ** 2 < 1] = 12
    bridge = (np.abs(rows - points[168, 1]) < 3) & (np.abs(columns - points[168, 0]) < 20)
    painted[bridge] = 12
    assert TraitHeads.load()(batch(painted))[0]["eyewear"]["none"] < 0.5


def test_tflite_networks_check_their_input():
    network = TfliteNetwork.load("face-mesh", "mesh.tflite")
    with pytest.raises(ValueError, match="expected"):
        network(np.zeros((1, 64, 64, 3), np.float32))
    one, two = np.random.default_rng(0).random((2, 192, 192, 3), np.float32)
    together = network(np.stack([one, two]))
    assert np.array_equal(together[0], np.concatenate([network(one[None])[0], network(two[None])[0]]))


def test_loading_a_network_prints_nothing(capfd):
    TfliteNetwork.load("iris", "iris.tflite")
    assert capfd.readouterr() == ("", "")
