from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from limner.faces import picture as P


def scene(height: int = 40, width: int = 60) -> np.ndarray:
    """A picture whose four corners differ, smooth enough for JPEG."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), np.full_like(x, 90)], -1).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def close(one: np.ndarray, other: np.ndarray, within: float = 4.0) -> bool:
    return one.shape == other.shape and np.abs(one.astype(int) - other).mean() < within


def refused(source) -> str:
    with pytest.raises(P.PictureError) as caught:
        P.read_picture(source)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    return str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "JPEG", "WEBP", "AVIF", "JPEG2000"])
def test_formats(kind):
    options = {"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}
    read = P.read_picture(encoded(Image.fromarray(scene()), kind, **options))
    assert read.dtype == np.uint8 and close(read, scene(), 0.5 if kind in ("PNG", "BMP", "TIFF", "PPM") else 5)


def test_sources_agree(tmp_path: Path):
    data = encoded(Image.fromarray(scene()), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    for source in (
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        data,
        bytearray(data),
        Image.fromarray(scene()),
        scene(),
    ):
        read = P.read_picture(source)
        assert (read == scene()).all() and read.flags.writeable


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation):
    upright = Image.fromarray(scene())
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert close(P.read_picture(encoded(stored, "JPEG", quality=95, exif=exif)), scene())


def test_transparency_is_laid_on_white():
    rgba = np.dstack([scene(), np.zeros((40, 60), np.uint8)])
    rgba[:, 30:, 3] = 255
    expected = scene()
    expected[:, :30] = 255
    for kind in ("PNG", "WEBP"):
        assert close(P.read_picture(encoded(Image.fromarray(rgba), kind, lossless=True)), expected, 0.5)
    assert (P.read_picture(rgba) == expected).all()
    grey = Image.new("LA", (60, 40), (80, 0))
    assert (P.read_picture(encoded(grey, "PNG")) == 255).all()
    keyed = encoded(Image.new("RGB", (60, 40), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert (P.read_picture(keyed) == 255).all()


def test_sixteen_bits():
    ramp = np.linspace(0, 65535, 60).astype(np.uint16)[None].repeat(40, 0)
    expected = np.linspace(0, 255, 60)[None, :, None]
    for data in (encoded(Image.fromarray(ramp), "PNG"), encoded(Image.fromarray(ramp), "TIFF"), ramp):
        assert np.abs(P.read_picture(data) - expected).max() <= 1


def test_sixteen_bit_colour_png():
    """Written by hand: Pillow reads such files but does not write them."""
    pixels = (scene().astype(">u2") * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60, 40, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert (P.read_picture(png) == scene()).all()


def test_cmyk_palette_grey_bilevel_and_float():
    assert close(P.read_picture(encoded(Image.fromarray(scene()).convert("CMYK"), "JPEG", quality=95)), scene(), 6)
    assert close(P.read_picture(encoded(Image.fromarray(scene()).convert("CMYK"), "TIFF")), scene(), 2)
    assert close(P.read_picture(encoded(Image.fromarray(scene()).convert("P"), "PNG")), scene(), 30)
    grey = np.array(Image.fromarray(scene()).convert("L"))
    assert (P.read_picture(encoded(Image.fromarray(grey), "PNG")) == grey[..., None]).all()
    assert set(np.unique(P.read_picture(encoded(Image.fromarray(grey).convert("1"), "PNG")))) == {0, 255}
    assert close(P.read_picture(encoded(Image.fromarray(grey / np.float32(255)), "TIFF")), np.dstack([grey] * 3), 0.6)


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue", "green")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        extra = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **extra)
        read = P.read_picture(data)
        assert read.shape == (30, 40, 3) and (np.abs(read - [255, 0, 0]) < 3).all()


def test_embedded_profile_is_converted():
    lab = ImageCms.createProfile("LAB")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(scene())
    assert (P.read_picture(encoded(image, "PNG", icc_profile=srgb)) == scene()).all()
    # A profile for another colour space, and rubbish, are left aside.
    assert (P.read_picture(encoded(image, "PNG", icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())) == scene()).all()
    assert (P.read_picture(encoded(image, "PNG", icc_profile=b"rubbish")) == scene()).all()


def test_tiny_is_refused():
    assert "at least 16" in refused(np.zeros((15, 40, 3), np.uint8))
    assert "at least 16" in refused(encoded(Image.new("RGB", (400, 1)), "PNG"))
    assert P.read_picture(np.zeros((16, 16, 3), np.uint8)).shape == (16, 16, 3)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header promises this many pixels and whose data holds almost none."""
    data = bytearray(encoded(Image.new("L", (20, 20)), "PNG"))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize("size", [(8000, 5001), (12000, 9000), (60000, 60000), (2**31 - 1, 2**31 - 1)])
def test_huge_is_refused_before_decoding(size):
    assert "40 megapixels" in refused(png_claiming(*size))


def test_forty_megapixels_pass():
    assert P.read_picture(Image.new("L", (8000, 5000))).shape == (5000, 8000, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.98])
def test_truncated_is_refused_or_read_but_never_anything_else(kind, share):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    data = encoded(image, kind)
    assert refused(data[: int(len(data) * share)])


def test_rubbish_is_refused(tmp_path: Path):
    rng = np.random.default_rng(0)
    for data in (
        b"",
        b"hello",
        rng.bytes(5000),
        b"\x89PNG\r\n\x1a\n" + rng.bytes(500),
        b"\xff\xd8\xff" + rng.bytes(500),
    ):
        refused(data)
    (tmp_path / "note.txt").write_text("no picture")
    assert "note.txt is not a picture" in refused(tmp_path / "note.txt")
    assert "no such file" in refused(tmp_path / "absent.jpg")
    assert "folder" in refused(tmp_path)
    refused(None)
    refused(3.5)


def test_damage_anywhere_never_raises_anything_else():
    rng = np.random.default_rng(1)
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"):
        whole = encoded(Image.fromarray(scene(64, 64)), kind)
        for _ in range(40):
            data = bytearray(whole)
            for place in rng.integers(0, len(data), 6):
                data[place] = rng.integers(0, 256)
            try:
                assert P.read_picture(bytes(data)).dtype == np.uint8
            except P.PictureError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((40, 40, 2), np.uint8),
        np.zeros(40, np.uint8),
        np.full((40, 40), -1.0),
        np.full((40, 40), np.nan),
        np.full((40, 40), 1e6),
        np.full((40, 40), "a"),
    ],
)
def test_arrays_without_a_meaning_are_refused(array):
    refused(array)


def test_png_text_and_bytes_are_stable(tmp_path: Path):
    text = {"limner": '{"seed": 3}', "title": "Ölbild 画像"}
    data = P.encode_png(scene(), text)
    assert P.read_png_text(data) == text and P.encode_png(scene(), text) == data
    P.save_png(tmp_path / "deep" / "a.png", scene(), text)
    assert P.read_png_text(tmp_path / "deep" / "a.png") == text
    assert (P.read_picture(tmp_path / "deep" / "a.png") == scene()).all()
    assert P.read_png_text(P.encode_png(scene())) == {}


def test_saving_by_name(tmp_path: Path):
    for name in ("a.png", "a.jpg", "a.webp"):
        P.save_picture(tmp_path / name, scene())
        assert close(P.read_picture(tmp_path / name), scene())
    with pytest.raises(P.PictureError, match="choose a name that ends in"):
        P.save_picture(tmp_path / "a.xyz", scene())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "a.png", "a.webp"]


def test_region_maps_from_files():
    from limner.faces.regions import PALETTE, colourise

    ids = np.random.default_rng(0).integers(0, 19, (40, 40)).astype(np.uint8)
    assert (P.read_region_map(P.encode_png(ids)) == ids).all()
    assert (P.read_region_map(P.encode_png(colourise(ids))) == ids).all()
    for colours in (PALETTE, np.random.default_rng(1).integers(0, 256, (19, 3)).astype(np.uint8)):
        indexed = Image.fromarray(ids)
        indexed.putpalette(colours.ravel().tolist())
        assert (P.read_region_map(encoded(indexed, "PNG")) == ids).all()
