"""Three hundred pictures that mean no good: bombs, lies, cuts, two formats at once, wrong names, odd numbers."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

COUNT = 300
FORMATS = {
    "png": ("PNG", {}), "jpg": ("JPEG", {}), "webp": ("WEBP", {}), "gif": ("GIF", {}), "bmp": ("BMP", {}),
    "tif": ("TIFF", {"compression": "tiff_lzw"}), "ppm": ("PPM", {}), "jp2": ("JPEG2000", {}), "avif": ("AVIF", {}),
}  # fmt: skip


def photograph(size: int = 128) -> Image.Image:
    """Smooth colours and a face-like blob."""
    y, x = np.mgrid[0:size, 0:size] / size
    face = np.hypot(x - 0.5, (y - 0.5) * 0.8) < 0.3
    return Image.fromarray((np.stack([x, y, 1 - x], 2) * 120 + 60 + face[..., None] * 60).astype(np.uint8))


def encode(image: Image.Image, suffix: str, **more: object) -> bytes:
    """The picture's bytes in the format of a suffix."""
    kind, settings = FORMATS[suffix]
    out = io.BytesIO()
    image.save(out, kind, **settings, **more)  # type: ignore[arg-type]
    return out.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk with a right checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, body: bytes, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    """A PNG whose header says what it likes."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that would become large pictures, or headers that say they will."""
    zeros = zlib.compress(bytes(60_000_000), 9)
    for width, height in ((30_000, 30_000), (2**31 - 1, 2**31 - 1), (40_000_001, 1), (1, 40_000_001), (6324, 6325)):
        yield f"bomb-{width}x{height}.png", png(width, height, zeros)
    yield "almost-40-megapixels.png", png(6324, 6324, zlib.compress(bytes(6324 * (1 + 3 * 6324)), 9))
    yield "forty-megapixels-16-bit.png", png(6000, 6600, zlib.compress(bytes(6600 * (1 + 6 * 6000)), 9), depth=16)
    text = zlib.compress(bytes(200_000_000), 9)
    yield "text-bomb.png", png(32, 32, zlib.compress(bytes(32 * 97)), extra=png_chunk(b"zTXt", b"k\0\0" + text))
    yield "itext-bomb.png", png(32, 32, zlib.compress(bytes(32 * 97)),
                                extra=png_chunk(b"iTXt", b"k\0\1\0\0\0" + text))  # fmt: skip
    yield "profile-bomb.png", png(32, 32, zlib.compress(bytes(32 * 97)), extra=png_chunk(b"iCCP", b"p\0\0" + text))
    yield "many-chunks.png", png(32, 32, zlib.compress(bytes(32 * 97)), extra=png_chunk(b"tEXt", b"a\0b") * 200_000)
    yield "gif-65535.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0xF7, 0, 0) + bytes(768) + b";"
    jpeg = bytearray(encode(photograph(), "jpg"))
    at = jpeg.index(b"\xff\xc0")
    for side in (65500, 6300):
        jpeg[at + 5 : at + 9] = struct.pack(">HH", side, side)
        yield f"jpeg-says-{side}.jpg", bytes(jpeg)
    bmp = bytearray(encode(photograph(), "bmp"))
    for width, height in ((60000, 60000), (-5, 128), (128, -(2**31)), (0, 0)):
        bmp[18:26] = struct.pack("<ii", width, height)
        yield f"bmp-says-{width}x{height}.bmp", bytes(bmp)
    yield "ppm-says-much.ppm", b"P6 60000 60000 255\n" + bytes(1000)
    yield "ppm-negative.ppm", b"P6 -5 12 255\n" + bytes(1000)
    yield (
        "webp-says-16384.webp",
        b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + b"\xff\x3f\0\xff\x3f\0",
    )


def cuts() -> Iterator[tuple[str, bytes]]:
    """Every format cut at every tenth."""
    for suffix in FORMATS:
        data = encode(photograph(), suffix)
        for tenth in range(10):
            yield f"cut-{tenth}0.{suffix}", data[: len(data) * tenth // 10]


def polyglots() -> Iterator[tuple[str, bytes]]:
    """Two formats at once, and names that say another."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("run.sh", "exit 1")
    page = b"<script>alert(1)</script>"
    for suffix in ("png", "jpg", "gif", "webp"):
        data = encode(photograph(), suffix)
        yield f"and-zip.{suffix}", data + archive.getvalue()
        yield f"and-page.{suffix}", data + page
        yield f"zip-first.{suffix}", archive.getvalue() + data
        for other in ("png", "jpg", "tif"):
            if other != suffix:
                yield f"{suffix}-called.{other}", data
    yield "postscript.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(/etc/passwd) (r) file\n"
    yield "vector.png", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "document.jpg", b"%PDF-1.7\n1 0 obj <</Type/Catalog>> endobj\n"
    yield "heic.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
    yield "program.png", b"\x7fELF" + bytes(500)
    yield "empty.png", b""
    yield "one-byte.jpg", b"\xff"
    yield "zeros.webp", bytes(5000)
    yield "text.gif", b"GIF89a is what this text begins with"


def numbers() -> Iterator[tuple[str, bytes]]:
    """Pixels of unusual kinds."""
    base = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    for name, value in (("nan", np.nan), ("infinite", np.inf), ("negative", -7.0), ("huge", 1e30), ("plain", 0.5)):
        array = base.copy()
        array[5, 5] = value
        out = io.BytesIO()
        Image.fromarray(array).save(out, "TIFF")
        yield f"float-{name}.tif", out.getvalue()
    modes = {
        "sixteen.png": Image.fromarray((base * 65535).astype(np.uint16)),
        "integer.tif": Image.fromarray((base * 1e9).astype(np.int32)),
        "negative.tif": Image.fromarray((base * -1e9).astype(np.int32)),
        "cmyk.jpg": photograph().convert("CMYK"), "cmyk.tif": photograph().convert("CMYK"),
        "lab.tif": photograph().convert("LAB"), "one-bit.png": photograph().convert("1"),
        "palette.png": photograph().convert("P"), "grey-alpha.png": photograph().convert("LA"),
        "alpha.webp": photograph().convert("RGBA"), "ycbcr.jpg": photograph().convert("YCbCr"),
    }  # fmt: skip
    for name, image in modes.items():
        yield name, encode(image, name.rpartition(".")[2])
    yield "palette-clear.png", encode(photograph().convert("P"), "png", transparency=bytes(range(256)))
    frames = [photograph(64).rotate(k) for k in range(60)]
    for suffix in ("gif", "webp", "png"):
        yield f"moving.{suffix}", encode(frames[0], suffix, save_all=True, append_images=frames[1:])
    yield "moving.tif", encode(frames[0], "tif", save_all=True, append_images=frames[1:20])
    for name, exif in (
        ("nonsense", b"Exif\0\0" + os.urandom(300)),
        ("empty", b"Exif\0\0"),
        ("long", b"Exif\0\0" + bytes(60000)),
    ):
        yield f"exif-{name}.jpg", encode(photograph(), "jpg", exif=exif)
    yield "profile-nonsense.jpg", encode(photograph(), "jpg", icc_profile=os.urandom(5000))
    yield "profile-nonsense.png", encode(photograph(), "png", icc_profile=bytes(5000))
    for width, height in ((1, 1), (16, 16), (15, 400), (400, 15), (20_000, 17)):
        yield f"side-{width}x{height}.png", encode(Image.new("RGB", (width, height), "red"), "png")


def bends(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Good files in which a few bytes were changed, mostly at the front, where headers are."""
    draws = np.random.default_rng(seed)
    good = {suffix: encode(photograph(), suffix) for suffix in FORMATS}
    for number in range(count):
        suffix = list(FORMATS)[number % len(FORMATS)]
        data = bytearray(good[suffix])
        for _ in range(int(draws.integers(1, 30))):
            reach = min(len(data), 200) if draws.random() < 0.7 else len(data)
            data[int(draws.integers(4, reach))] = int(draws.integers(256))
        yield f"bent-{number:03d}.{suffix}", bytes(data)


def write_all(folder: Path, count: int = COUNT, seed: int = 0) -> list[Path]:
    """The files, and a few things that are no files at all."""
    made = [*bombs(), *cuts(), *polyglots(), *numbers()]
    special: dict[str, Callable[[Path], object]] = {
        "folder.png": Path.mkdir, "queue.png": os.mkfifo, "device.png": lambda path: path.symlink_to("/dev/zero"),
        "circle.png": lambda path: path.symlink_to(path), "nowhere.png": lambda path: path.symlink_to("/nowhere"),
    }  # fmt: skip
    made += bends(count - len(made) - len(special), seed)
    paths = []
    for name, data in made:
        paths.append(folder / name)
        paths[-1].write_bytes(data)
    for name, make in special.items():
        paths.append(folder / name)
        make(paths[-1])
    assert len({*paths}) == len(paths) == count
    return paths
