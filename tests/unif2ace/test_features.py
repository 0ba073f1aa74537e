"""Feature encoders behind one interface, and the resampler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from limner.models.unif2ace.features import CLIPFeatures, IdentityFeatures, MapFeatures, RatioEmbedding, Resampler
from unif2ace.tiny import TINY, random_model


def pictures(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_clip_features_are_the_towers_patches_before_the_last_layer() -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    tower = CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=32, patch_size=8))  # type: ignore[arg-type]
    encoder = CLIPFeatures(tower)
    found = encoder.encode(pictures())
    assert encoder.width == 16 and found.shape == (2, 16, 16) and not found.requires_grad
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (CLIPFeatures.MEAN, CLIPFeatures.DEVIATION))
    with torch.no_grad():
        states = tower((pictures() * 0.5 + 0.5 - mean) / deviation, output_hidden_states=True).hidden_states
    assert torch.allclose(found, states[2][:, 1:], atol=1e-5)


def test_nano_encoders_are_the_shipped_networks() -> None:
    from limner.faces.efficientnet import EfficientNetLite0
    from limner.faces.identity import IdentityEncoder
    from limner.models.unif2ace.config import preset

    network = EfficientNetLite0.load()
    semantic = MapFeatures(network, 320, side=64)
    found = semantic.encode(pictures())
    resized = F.interpolate(pictures(), size=(64, 64), mode="bilinear", antialias=True)
    assert found.shape == (2, 4, 320) and semantic.width == preset("nano").clip_width
    assert torch.allclose(found[0, 1], network.maps(resized)[-1][0, :, 0, 1])
    identity = IdentityFeatures(IdentityEncoder.load(), 128)
    vectors = identity.encode(pictures())
    assert vectors.shape == (2, 1, 128) and identity.width == preset("nano").face_width
    assert torch.allclose(vectors.square().mean(2), torch.ones(2, 1), atol=1e-5)


def test_a_face_is_three_tokens_at_nano() -> None:
    """On two photographs: who it is, its shape and its view and colours; a mirrored face turns the other way."""
    from limner.demo import show
    from limner.faces.image_tensors import to_model
    from limner.faces.picture import read_picture
    from limner.faces.reader import FaceReader
    from limner.faces.shape import ShapeModel
    from limner.models.unif2ace.encoders import FACE, load_encoder
    from limner.models.unif2ace.face_features import FARTHEST

    folder = Path(show.__file__).parent / "photographs"
    photos = [p for p in map(read_picture, sorted(folder.glob("*.*g"))) if p.shape[0] == p.shape[1]][:2]
    faces = np.concatenate([FaceReader.load().align(photo, 0.5, 256)[0] for photo in photos])
    x = to_model(np.concatenate([faces, faces[:, :, ::-1]]))
    encoder, identity = load_encoder(FACE, "face"), load_encoder("face-identity", "face")
    found = encoder.encode(x)
    count = len(faces)
    assert found.shape == (2 * count, 3, 128) and encoder.width == 128 and bool(found.isfinite().all())
    assert torch.equal(found[:, 0], identity.encode(x)[:, 0])
    shape, angles, place = found[:, 1], found[:, 2, :3], found[:, 2, 3:6]
    model = ShapeModel.load()
    for row, face in enumerate(FaceReader.load().read_crops(faces)):
        assert face is not None
        expected = model.decompose(face.landmarks)
        own = torch.from_numpy(np.concatenate([expected.identity, expected.expression]).clip(-FARTHEST, FARTHEST))
        assert np.corrcoef(shape[row], own)[0, 1] > 0.75  # the mesh was looked for from another place
        assert np.abs(shape[row] - own).mean() < 0.5 < np.abs(own).mean()
        pose = expected.pose
        assert angles[row].tolist() == pytest.approx([pose.yaw / 20, pose.pitch / 20, pose.roll / 20], abs=0.05)
        eyes = (pose.centre[:2] - 128) / 64
        assert place[row].tolist() == pytest.approx([*eyes, pose.scale / 6.4 - 2], abs=0.05)
    assert float(shape.abs().max()) <= FARTHEST
    straight, mirrored = angles[:count], angles[count:]
    assert float(angles[:, 0].abs().max()) > 0.1  # somebody is turned away
    assert torch.allclose(mirrored, straight * torch.tensor([-1, 1, -1]), atol=0.15)
    colours = found[:, 2, 6:114].view(-1, 3, 6, 6)
    assert torch.allclose(colours.mean((2, 3)), x.mean((2, 3)), atol=0.02) and not found[:, 2, 114:].any()
    assert torch.allclose(colours[count:], colours[:count].flip(3), atol=1e-5)


def test_resampler_gives_a_token_per_image_token_and_does_not_mind_the_order_of_features() -> None:
    resampler = random_model().clip_in
    assert isinstance(resampler, Resampler)
    features = torch.randn(2, 5, TINY.clip_width, generator=torch.Generator().manual_seed(1))
    found = resampler(features)
    assert found.shape == (2, TINY.image_tokens, TINY.width)
    assert torch.allclose(resampler(features.flip(1)), found, atol=1e-5)
    assert torch.allclose(resampler(features[1:]), found[1:], atol=1e-5)
    changed = features.clone()
    changed[0, 3] += 1
    assert not torch.allclose(resampler(changed)[0], found[0], atol=1e-3)
    assert not torch.allclose(found[0, 0], found[0, 1], atol=1e-3)  # each query reads for itself


def test_ratio_embedding_tells_ratios_apart() -> None:
    embedding = random_model().ratio_in
    assert isinstance(embedding, RatioEmbedding) and isinstance(embedding, nn.Module)
    found = embedding(torch.linspace(0, 1, 33))
    assert found.shape == (33, 1, TINY.width)
    apart = torch.cdist(found[:, 0], found[:, 0]) + 9 * torch.eye(33)
    assert apart.min() > 0.05


def test_clip_features_are_the_last_layer_but_one_with_clip_s_own_activation() -> None:
    """As Show-o takes them of CLIP ViT-L/14-336: hidden state −2, patches without the class token, quick GELU."""
    from torch.nn import functional as F
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    from limner.models.unif2ace.features import CLIPFeatures

    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
    }
    tower = CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=42, patch_size=14, hidden_act="quick_gelu")).eval()
    picture = np.random.default_rng(0).integers(0, 256, (42, 42, 3), dtype=np.uint8)
    found = CLIPFeatures(tower).encode(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1)
    processor = CLIPImageProcessor(size={"shortest_edge": 42}, crop_size={"height": 42, "width": 42})
    pixels = processor(images=picture, return_tensors="pt")["pixel_values"]
    vision: Any = tower.vision_model if hasattr(tower, "vision_model") else tower
    with torch.no_grad():
        hidden = vision.pre_layrnorm(vision.embeddings(pixels))
        for layer in vision.encoder.layers[:-1]:
            out = layer(hidden, None)
            hidden = out[0] if isinstance(out, tuple) else out
    assert found.shape == (1, 9, 16) and torch.allclose(found, hidden[:, 1:], atol=1e-4)
    mlp, x = vision.encoder.layers[0].mlp, torch.randn(1, 16)
    with torch.no_grad():
        up = mlp.fc1(x)
        assert torch.allclose(mlp(x), mlp.fc2(up * torch.sigmoid(1.702 * up)), atol=1e-6)
        assert not torch.allclose(mlp(x), mlp.fc2(F.gelu(up)), atol=1e-6)
