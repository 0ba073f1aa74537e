"""The synthetic source without its generator: a tiny one of the same make stands in for its networks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from limner.data import synthetic
from limner.data.synthetic import FaceGenerator, face_file, read_vectors, write_set
from limner.errors import InputError
from limner.faces.picture import read_picture


class TinyGenerator(FaceGenerator):
    """The arithmetic of the real one around networks that are a matrix and a gradient."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.matrix = np.random.default_rng(1).standard_normal((512, 512)).astype(np.float32) / 23

    def map(self, z: np.ndarray) -> np.ndarray:
        return (z.reshape(512) @ self.matrix + 3).astype(np.float32)

    def synthesise(self, w: np.ndarray) -> np.ndarray:
        self.made.append(1)
        return np.repeat(np.clip(w.reshape(16, 32, 1) * 40 + 60, 0, 255).astype(np.uint8), 3, 2)


def test_a_face_is_a_function_of_its_index() -> None:
    one, two = TinyGenerator(), TinyGenerator()
    assert np.array_equal(one.w_of(5), two.w_of(5)) and not np.array_equal(one.w_of(5), one.w_of(6))
    assert np.array_equal(one.face(5), two.face(5)) and one.face(5).shape == (256, 256, 3)


def test_w_is_drawn_towards_the_mean_by_psi() -> None:
    generator = TinyGenerator()
    draws = np.random.default_rng(10_007)
    psi = draws.uniform(0.65, 0.95)
    w = generator.map(draws.standard_normal((1, 512)))
    assert np.allclose(generator.w_of(7) - generator.mean, psi * (w - generator.mean), atol=1e-6)
    assert np.allclose(generator.mean, 3, atol=0.1)


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


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(InputError, match=r"pip install --no-deps random-face==2021\.7\.21\.1"):
            synthetic.generator_folder()
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"limner\[synth\]"):
        FaceGenerator(tmp_path)


@pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None or importlib.util.find_spec("random_face") is None,
    reason="the generator (extra synth) is not installed",
)
def test_the_real_generator_makes_a_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "_MEAN_DRAWS", 50)
    generator = FaceGenerator.load(threads=1)
    face = generator.face(0)
    assert face.shape == (256, 256, 3) and 30 < face.std() < 110
    assert generator.w_of(0).std() > 0.05
