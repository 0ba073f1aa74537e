"""The face generator and its codec, on a tiny generator of the same make, and the embedded one against its source."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from limner.codecs.generator import GeneratorConfig, inverse_haar
from limner.codecs.generator_codec import GeneratorCodec, GeneratorCodecConfig
from limner.errors import InputError

TINY = GeneratorConfig(style=32, mapping_layers=2, widths=(32, 32, 32, 16, 8))
CONFIG = GeneratorCodecConfig(generator=TINY, cut=1, channels=6, patch=2, head=(3, 8, 8))


@pytest.fixture(scope="module")
def codec() -> GeneratorCodec:
    torch.manual_seed(0)
    made = GeneratorCodec(CONFIG).eval().requires_grad_(False)
    for parameter in made.generator.parameters():
        parameter.copy_(torch.randn(parameter.shape) * 0.3)
    made.generator.get_buffer("mean_style").copy_(torch.randn(32))
    made.fit(styles(made, 400))
    return made


def styles(codec: GeneratorCodec, count: int) -> torch.Tensor:
    """Styles (count, 32) around the mean style, as a mapping network gives them."""
    return codec.generator.get_buffer("mean_style") + torch.randn(count, 32)


def test_the_inverse_haar_step_keeps_energy_and_inverts_the_transform() -> None:
    x = torch.randn(2, 12, 5, 5, dtype=torch.float64)
    picture = inverse_haar(x)  # (2, 3, 10, 10)
    assert torch.allclose(picture.square().sum(), x.square().sum())
    quads = picture.unfold(2, 2, 2).unfold(3, 2, 2)  # (2, 3, 5, 5, 2, 2)
    signs = {"low": [[1, 1], [1, 1]], "vertical": [[1, 1], [-1, -1]], "horizontal": [[1, -1], [1, -1]]}
    found = {name: (quads * torch.tensor(sign)).sum((4, 5)) / 2 for name, sign in signs.items()}
    assert torch.allclose(found["low"], x[:, :3])
    assert torch.allclose(found["vertical"], x[:, 3::3])
    assert torch.allclose(found["horizontal"], x[:, 4::3])


def test_lower_and_upper_half_make_the_whole_wherever_it_is_cut(codec: GeneratorCodec) -> None:
    generator, w = codec.generator, torch.randn(2, 32)
    whole = generator(w)
    assert whole.shape == (2, 3, TINY.size, TINY.size) == (2, 3, 128, 128)
    for cut in range(TINY.blocks + 1):
        assert torch.allclose(generator.picture(generator.features(w, cut), w, cut), whole, atol=1e-4)


def test_one_style_for_every_place_equals_one_style(codec: GeneratorCodec) -> None:
    generator, w = codec.generator, torch.randn(1, 32)
    repeated = w[:, None].expand(-1, TINY.places, -1).clone()
    assert torch.allclose(generator(repeated), generator(w), atol=1e-5)
    repeated[:, -1] += 1  # the last place colours the picture
    assert not torch.allclose(generator(repeated), generator(w), atol=1e-2)


def test_every_block_takes_its_own_three_styles(codec: GeneratorCodec) -> None:
    """Places in order: the first convolution, three in each block, the output."""
    w = torch.randn(1, TINY.places, 32)
    for place in range(TINY.places - 1):
        changed = w.clone()
        changed[:, place] += 1
        block = (place + 2) // 3  # the features after this many blocks are the first that feel it
        if block:
            assert torch.equal(codec.generator.features(changed, block - 1), codec.generator.features(w, block - 1))
        assert not torch.equal(codec.generator.features(changed, block), codec.generator.features(w, block))


def test_gradients_reach_styles_and_features(codec: GeneratorCodec) -> None:
    w = torch.randn(1, 32, requires_grad=True)
    codec.generator(w).square().mean().backward()
    assert w.grad is not None and w.grad.abs().max() > 0


def test_latents_are_whitened_and_split_again(codec: GeneratorCodec) -> None:
    torch.manual_seed(1)
    w = styles(codec, 300)
    latents = codec.encode_style(w)
    assert latents.shape == (300, *codec.latent_shape()) == (300, 17, 24)
    assert latents.mean(0).abs().max() < 0.5 and 0.8 < float(latents.std()) < 1.2
    features, style = codec.split(latents)
    again = torch.cat((codec._style_token(style), codec._tokens(features)), 1)
    assert torch.allclose(again, latents, atol=1e-3)


def test_all_components_lose_nothing() -> None:
    torch.manual_seed(0)
    whole = GeneratorCodec(GeneratorCodecConfig(generator=TINY, cut=1, channels=32, patch=1, head=(3, 8, 8)))
    whole.fit(torch.randn(200, 32))
    w = torch.randn(3, 32)
    with torch.no_grad():
        features, style = whole.split(whole.encode_style(w))
        assert torch.allclose(features, whole.generator.features(w, 1), atol=1e-3)
        assert torch.allclose(style, w, atol=1e-3)


def test_pictures_have_the_sizes_that_are_offered(codec: GeneratorCodec) -> None:
    latents = codec.encode_style(torch.randn(2, 32))
    assert CONFIG.sizes == (64, 128)
    for size in CONFIG.sizes:
        picture = codec.decode(latents, size)
        assert picture.shape == (2, 3, size, size) and picture.abs().max() <= 1
        assert torch.equal(picture[1:], codec.decode(latents[1:], size))  # no picture depends on its batch
    with pytest.raises(ValueError, match=r"size=96: choose one of 64, 128"):
        codec.decode(latents, 96)
    with pytest.raises(ValueError, match="latents are"):
        codec.decode(latents[:, 1:])


def test_a_saved_codec_comes_back(codec: GeneratorCodec, tmp_path: Path) -> None:
    codec.save(tmp_path, {"note": "tiny"}, dtype=torch.float32)
    again = GeneratorCodec.load(tmp_path)
    latents = codec.encode_style(torch.randn(1, 32))
    assert torch.equal(again.decode(latents), codec.decode(latents))
    (tmp_path / "codec.safetensors").write_bytes((tmp_path / "generator.safetensors").read_bytes())
    with pytest.raises(InputError, match="not a generator codec"):
        GeneratorCodec.load(tmp_path)


def test_the_embedded_generator_makes_the_pictures_of_its_source() -> None:
    """Means of 256 px squares of two faces, as OpenVINO makes them from the package's own files in float32.

    tools/convert/face_generator.py compares every pixel before rounding: 2.5e-4 at most.
    """
    reference = torch.tensor(json.loads(Path(__file__).with_name("generator_reference.json").read_text()))
    generator = GeneratorCodec.load().generator
    with torch.no_grad():
        for index, expected in enumerate(reference):
            z = np.random.default_rng(10_000 + index).standard_normal((1, 512)).astype(np.float32)
            picture = generator(generator.mapping(torch.from_numpy(z)))
            assert torch.allclose(torch.nn.functional.avg_pool2d(picture, 256)[0], expected, atol=2e-3)


def test_the_embedded_codec_keeps_a_face() -> None:
    codec = GeneratorCodec.load()
    with torch.no_grad():
        w = codec.generator.truncate(codec.generator.mapping(torch.randn(1, 512, generator=_generator(4))), 0.8)
        target = codec.head(codec.generator.features(w, 5), w).clamp(-1, 1)
        made = codec.decode(codec.encode_style(w))
    other = codec.decode(torch.randn(1, *codec.latent_shape(), generator=_generator(5)))
    near, far = ((x - target).square().mean().item() for x in (made, other))
    assert near < 0.02 and far > 5 * near


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cut": 3}, "cut=3"),
        ({"channels": 40}, "channels=40"),
        ({"patch": 3}, "patch=3"),
        ({"channels": 12}, "at most 32"),
    ],
)
def test_impossible_sizes_are_refused(wrong: dict[str, int], message: str) -> None:
    given = {"generator": TINY, "cut": 1, "channels": 6, "patch": 2, "head": (3, 8, 8), **wrong}
    with pytest.raises(ValueError, match=message):
        GeneratorCodecConfig(**given)
