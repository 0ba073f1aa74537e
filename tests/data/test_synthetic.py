"""The synthetic source, on the codec of a tiny generator with styles of the real one's width."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch

from limner.codecs.generator import GeneratorConfig
from limner.codecs.generator_codec import GeneratorCodec, GeneratorCodecConfig
from limner.codecs.truncation import PSI
from limner.data.synthetic import FaceGenerator, face_file, read_vectors, write_set
from limner.faces.picture import read_picture


@cache
def tiny_codec() -> GeneratorCodec:
    """512 px pictures through 8 channels; its head gives 256 px."""
    torch.manual_seed(0)
    generator = GeneratorConfig(mapping_layers=1, widths=(8, 8, 8, 8, 8, 8, 8, 8))
    codec = GeneratorCodec(GeneratorCodecConfig(generator=generator, cut=1, channels=8, head=(5, 8, 8)))
    codec = codec.eval().requires_grad_(False)
    for name, parameter in codec.named_parameters():
        if "mapping" not in name:  # default weights are so small that the constant input does not reach the picture
            parameter.copy_(torch.randn(parameter.shape) * (0.05 if "modulation" in name else 0.5))
    codec.fit(codec.generator.mapping(torch.randn(100, 512)))
    return codec


class TinyGenerator(FaceGenerator):
    """The real class around that codec; it counts the pictures that it makes."""

    def __init__(self) -> None:
        super().__init__(tiny_codec())
        self.made: list[int] = []

    def face_of(self, w: np.ndarray, side: int = 256) -> np.ndarray:
        self.made.append(1)
        return super().face_of(w, side)


def test_a_face_is_a_function_of_its_index() -> None:
    one, two = TinyGenerator(), TinyGenerator()
    assert np.array_equal(one.w_of(5), two.w_of(5)) and not np.array_equal(one.w_of(5), one.w_of(6))
    assert np.array_equal(one.face(5), two.face(5)) and one.face(5).shape == (256, 256, 3)


def test_w_is_drawn_towards_the_mean_by_psi() -> None:
    generator = TinyGenerator()
    draws = np.random.default_rng(10_007)
    psi = draws.uniform(*PSI)
    w = generator.map(draws.standard_normal((1, 512)))
    assert np.allclose(generator.w_of(7) - generator.mean, psi * (w - generator.mean), atol=1e-6)


def test_a_picture_is_what_the_codec_decodes_from_the_latents_of_w() -> None:
    generator = TinyGenerator()
    w = generator.w_of(3)
    latents = generator.codec.encode_style(torch.from_numpy(w)[None])
    decoded = (generator.codec.decode(latents)[0].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(generator.face_of(w) - decoded).mean() < 1.0, "up to the rounding of 16 bits"


def test_a_style_for_each_place_moves_only_what_its_places_decide() -> None:
    generator = TinyGenerator()
    w = generator.w_of(3)
    places = np.repeat(w[None], 23, 0)
    same = generator.face_of(places)
    places[-1] += 1  # the generator's own last place, which the head does not use
    assert same.shape == (256, 256, 3) and np.array_equal(generator.face_of(places), same)
    large = generator.face_of(places, 512)
    assert large.shape == (512, 512, 3) and not np.array_equal(large, generator.face_of(np.repeat(w[None], 23, 0), 512))
    places[0] += 1
    assert not np.array_equal(generator.face_of(places), same)


def test_a_set_goes_on_and_keeps_earlier_vectors(tmp_path: Path) -> None:
    generator = TinyGenerator()
    assert write_set(generator, tmp_path, range(2)) == 2
    (tmp_path / face_file(1)).unlink()
    seen = []
    assert write_set(generator, tmp_path, range(1, 4), lambda index, new: seen.append((index, new))) == 3
    assert seen == [(1, True), (2, True), (3, True)] and len(generator.made) == 5
    vectors = read_vectors(tmp_path)
    assert sorted(vectors) == ["000000", "000001", "000002", "000003"]
    assert np.allclose(vectors["000002"], generator.w_of(2), atol=0.01) and vectors["000002"].dtype == np.float16
    assert np.array_equal(read_picture(tmp_path / face_file(3)), generator.face(3))
    assert not list(tmp_path.glob("*.partial*"))
