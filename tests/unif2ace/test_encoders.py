"""CLIP and ArcFace-style encoders from files in their own formats, tiny and random."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from limner.errors import InputError
from limner.faces.geometry import align_ffhq
from limner.models.unif2ace.encoders import ARCFACE_FRAME, ArcFace, load_encoder


def field(number: int, value: int | bytes) -> bytes:
    """One field of a protocol buffer: a number, or bytes with their length."""

    def varint(n: int) -> bytes:
        out = b""
        while n > 127:
            out, n = out + bytes([n & 127 | 128]), n >> 7
        return out + bytes([n])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def write_onnx(file: Path, kernel: np.ndarray, fixed_batch: bool = False, side: int = 112) -> None:
    """A network in ONNX: global mean of a 1 × 1 convolution, (B, 3, 112, 112) to (B, C, 1, 1) to (B, C)."""

    def dims(*sizes: int | str) -> bytes:
        shown = [field(1, size) if isinstance(size, int) else field(2, size.encode()) for size in sizes]
        return b"".join(field(1, one) for one in shown)

    def value(name: str, *sizes: int | str) -> bytes:
        return field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, dims(*sizes))))

    def node(kind: str, takes: list[str], gives: str) -> bytes:
        return b"".join(field(1, name.encode()) for name in takes) + field(2, gives.encode()) + field(4, kind.encode())

    batch: int | str = 1 if fixed_batch else "B"
    weight = b"".join(field(1, size) for size in (*kernel.shape, 1, 1)) + field(2, 1) + field(8, b"w")
    weight += field(9, struct.pack(f"<{kernel.size}f", *kernel.ravel()))
    graph = field(1, node("Conv", ["x", "w"], "a")) + field(1, node("GlobalAveragePool", ["a"], "b"))
    graph += field(1, node("Flatten", ["b"], "y")) + field(2, b"tiny") + field(5, weight)
    graph += field(11, value("x", batch, 3, side, side)) + field(12, value("y", batch, len(kernel)))
    file.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 13)))


@pytest.mark.parametrize("fixed_batch", [False, True])
def test_an_arcface_network_in_onnx(tmp_path: Path, fixed_batch: bool) -> None:
    kernel = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    write_onnx(tmp_path / "net.onnx", kernel, fixed_batch)
    encoder = load_encoder(str(tmp_path / "net.onnx"), "face")
    left, top, side = (round(share * 256) for share in ARCFACE_FRAME)
    colours = torch.rand(3, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pictures = torch.ones(3, 3, 256, 256)
    pictures[:, :, top : top + side, left : left + side] = colours[:, :, None, None]
    found = encoder.encode(pictures)
    assert encoder.width == 6 and found.shape == (3, 1, 6)
    expected = torch.nn.functional.normalize(colours @ torch.from_numpy(kernel).T, dim=1) * 6**0.5
    assert torch.allclose(found[:, 0], expected, atol=1e-4), "the frame and nothing beside it"
    red = torch.zeros(1, 3, 256, 256)
    red[:, 0] = 1
    assert torch.allclose(ArcFace(tmp_path / "net.onnx")(red), torch.from_numpy(kernel[:, 0])[None], atol=1e-4), "RGB"


def test_the_crop_puts_eyes_and_mouth_where_arcface_wants_them() -> None:
    """The template's points (eyes, nose, corners of the mouth at 112 px) come back to it from an aligned picture."""
    template = np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]])
    crop = align_ffhq(template, 256)
    left, top, side = ARCFACE_FRAME
    placed = template @ crop[:, :2].T + crop[:, 2]
    found = (placed / 256 - [left, top]) / side * 112
    assert np.abs(found - template).max() < 2.5


def test_what_is_no_such_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    write_onnx(tmp_path / "small.onnx", np.ones((2, 3), np.float32), side=96)
    for name, what in (("bad.onnx", "no ONNX network"), ("small.onnx", "ArcFace-style")):
        with pytest.raises(InputError, match=what) as caught:
            load_encoder(str(tmp_path / name), "face")
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"\.onnx file"):
        load_encoder(str(tmp_path), "face")
    with pytest.raises(InputError, match="a folder of a CLIP model"):
        load_encoder(str(tmp_path), "clip")


def test_a_clip_model_s_folder(tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    from limner.models.unif2ace.features import CLIPFeatures

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    tower = CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=42, patch_size=14))  # type: ignore[arg-type]
    tower.save_pretrained(tmp_path / "clip")
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    encoder = load_encoder(str(tmp_path / "clip"), "clip")
    found = encoder.encode(pictures)
    assert encoder.width == 16 and found.shape == (2, 9, 16)
    assert torch.allclose(found, CLIPFeatures(tower).encode(pictures), atol=1e-5)
    (tmp_path / "clip" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="safetensors"):
        load_encoder(str(tmp_path / "clip"), "clip")
