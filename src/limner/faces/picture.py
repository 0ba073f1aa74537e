"""Bytes to RGB arrays and back: the only place in Limner that decodes or encodes an image.

Whatever comes in leaves as (H, W, 3) uint8 sRGB, upright, or as one line that says why not.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from limner.errors import InputError
from limner.faces.map_colours import read_map_picture
from limner.faces.video import OTHERS
from limner.faces.video import SUFFIXES as READ_VIDEOS
from limner.files import write_bytes_atomic

Source: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | np.ndarray

MAX_PIXELS = 40_000_000
MIN_SIDE = 16  # pixels; nothing smaller holds a face
# What Pillow may be asked to decode. Its other formats are rare, or run other programs (EPS).
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000")
SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".avif",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".ppm",
    ".jp2",
)  # of pictures in folders
# RuntimeError: the AVIF decoder's; OverflowError: sizes in headers that no C integer holds
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, RuntimeError, OverflowError, struct.error,
    zlib.error,
)  # fmt: skip
VIDEOS = (*READ_VIDEOS, *OTHERS)
_ASCII = b"ASCII\0\0\0"  # how EXIF marks the letters of a UserComment
_BAND = 2_000_000  # pixels converted at a time
# How EXIF's orientations are made upright (EXIF 2.32, tag 0x0112); 1 is upright.
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda rgb: rgb[:, ::-1],
    3: lambda rgb: rgb[::-1, ::-1],
    4: lambda rgb: rgb[::-1],
    5: lambda rgb: rgb.swapaxes(0, 1),
    6: lambda rgb: np.rot90(rgb, -1),
    7: lambda rgb: rgb[::-1, ::-1].swapaxes(0, 1),
    8: lambda rgb: np.rot90(rgb, 1),
}
_TURNED = (5, 6, 7, 8)  # of those, the ones that exchange width and height
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


def is_picture_name(name: str | os.PathLike[str]) -> bool:
    """Whether a file in a folder counts as a picture: by its suffix, and not hidden (macOS writes ``._photo.jpg``)."""
    path = Path(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


class PictureError(InputError):
    """This source is no picture that Limner can use. One line, with the way out."""


def read_picture(source: Source, name: str = "this picture") -> np.ndarray:
    """Decode a photo, upright and in sRGB.

    source: path, encoded bytes, PIL image, or array: (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA; uint8, uint16,
    bool, or float in [0, 1]. name: what messages call bytes and images, which have no file name. Returns (H, W, 3)
    uint8, a new array. EXIF rotation is applied, transparency is laid on white (our choice: what a page would show), an
    embedded colour profile is converted to sRGB, of an animation the first frame counts. Raises PictureError for what
    is not a picture, is damaged, has more than 40 megapixels (before decoding), or a side under 16 pixels.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    with _opened(source, name) as (image, name), _decoding(name):
        return _upright_rgb(image)


def read_small(source: Source, side: int) -> np.ndarray:
    """As `read_picture`, shrunk to at most ``side`` pixels a side; JPEGs are decoded no larger than that needs."""
    with _opened(source) as (image, name), _decoding(name):
        image.draft(image.mode, (2 * side, 2 * side))  # JPEG only: at an eighth, a quarter or half of its size
        small = Image.fromarray(_upright_rgb(image))
        small.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
        return np.array(small)


def picture_size(source: Source, name: str = "this picture") -> tuple[int, int]:
    """Width and height as the file's header has them, of a picture within limits; nothing is decoded.

    Raises PictureError as `read_picture` does, but not for what only decoding shows.
    """
    with _opened(source, name) as (image, _):
        return image.size


def check_picture(source: Source, name: str = "this picture") -> tuple[int, int]:
    """Decode a picture to see that it is whole, with as little memory as its format allows.

    Returns its upright width and height. Raises PictureError as `read_picture` does.
    """
    with _opened(source, name) as (image, name), _decoding(name):
        width, height = image.size
        turned = _orientation(image) in _TURNED
        image.draft(image.mode, (1, 1))
        image.load()
        return (height, width) if turned else (width, height)


def read_region_map(source: Source, palette: str = "auto", drawn: bool = False) -> np.ndarray:
    """Decode a picture of a region map: numbers 0..18 as grey or as palette indices, or colours of a known palette.

    palette, drawn: see `map_colours.read_map_picture`. What is transparent is background. Returns (H, W) uint8. Raises
    PictureError as `read_picture` does and InputError when it shows no region map.
    """
    if isinstance(source, np.ndarray):
        return read_map_picture(source, palette, drawn)
    with _opened(source) as (image, name), _decoding(name):
        image = ImageOps.exif_transpose(image)
        if image.mode == "P":
            try:
                return read_map_picture(np.array(_on_black(image)), palette, drawn)
            except InputError:
                return read_map_picture(np.array(image), palette, drawn)
        numbers = image.mode == "L" or image.mode in _SIXTEEN_BIT or image.mode == "I"
        return read_map_picture(np.array(image if numbers else _on_black(image)), palette, drawn)


def _on_black(image: Image.Image) -> Image.Image:
    """A map with black, which is background, where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, "black")
    ground.alpha_composite(image.convert("RGBA"))
    return ground.convert("RGB")


def read_alpha(source: Source, name: str = "this picture") -> np.ndarray:
    """How opaque a picture is, upright: (H, W) uint8, 0 transparent to 255 opaque; 255 everywhere if it does not say.

    Raises as `read_picture` does.
    """
    with _opened(source, name) as (image, name), _decoding(name):
        upright = ImageOps.exif_transpose(image)
        if not upright.has_transparency_data:
            return np.full(upright.size[::-1], 255, np.uint8)
        return np.array(upright.convert("RGBA").getchannel("A"))


def read_png_text(source: Source) -> dict[str, str]:
    """The text entries of a PNG, as `encode_png` wrote them; {} when there are none. Raises as `read_picture` does."""
    if isinstance(source, np.ndarray):
        return {}
    with _opened(source) as (image, name), _decoding(name):
        if isinstance(image, PngImagePlugin.PngImageFile):
            return {str(key): str(value) for key, value in image.text.items()}
        return {str(key): value for key, value in image.info.items() if isinstance(value, str)}


def encode_png(image: np.ndarray | Image.Image, text: dict[str, str] | None = None, level: int = 6) -> bytes:
    """PNG bytes of (H, W) or (H, W, 3) uint8, with UTF-8 text entries. The same input gives the same bytes.

    level: 0..9, how hard to look for the smallest file; 1 is several times as fast as 6.
    """
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    buffer = io.BytesIO()
    _as_pil(image).save(buffer, "PNG", pnginfo=info, compress_level=level)
    return buffer.getvalue()


def save_png(
    path: str | os.PathLike[str],
    image: np.ndarray | Image.Image,
    text: dict[str, str] | None = None,
    level: int = 6,
) -> None:
    """Write a PNG with text entries: whole, or not at all. level: as of ``encode_png``."""
    write_bytes_atomic(path, encode_png(image, text, level))


def encode_jpeg(image: np.ndarray | Image.Image, quality: int = 92, comment: str = "", xmp: str = "") -> bytes:
    """JPEG bytes of (H, W) or (H, W, 3) uint8, quality 1..95, colour at full resolution.

    comment: ASCII text for EXIF's UserComment; xmp: an XMP packet. PictureError if one is too long for a JPEG (64 KB).
    """
    if not 1 <= quality <= 95:
        raise ValueError(f"quality is {quality}: choose 1 to 95")
    if max(len(comment), len(xmp.encode())) > 65000:
        raise PictureError("the notes that go with this picture are too long for a JPEG: name it .png or .webp")
    buffer = io.BytesIO()
    _as_pil(image).save(buffer, "JPEG", quality=quality, subsampling=0, **_notes(comment, xmp))
    return buffer.getvalue()


def encode_webp(image: np.ndarray | Image.Image, quality: int = 92, comment: str = "", xmp: str = "") -> bytes:
    """WebP bytes of (H, W) or (H, W, 3) uint8, quality 1..100; notes as in `encode_jpeg`, of any length."""
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}: choose 1 to 100")
    buffer = io.BytesIO()
    _as_pil(image).save(buffer, "WEBP", quality=quality, **_notes(comment, xmp))
    return buffer.getvalue()


def read_comment(source: Source) -> str | None:
    """The EXIF UserComment of a picture, if it has one in ASCII. Raises as `read_picture` does."""
    if isinstance(source, np.ndarray):
        return None
    with _opened(source) as (image, name), _decoding(name):
        comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if not isinstance(comment, bytes) or not comment.startswith(_ASCII):
        return None
    return comment.removeprefix(_ASCII).decode("ascii", "replace").rstrip("\0 ")


def save_picture(
    path: str | os.PathLike[str], image: np.ndarray | Image.Image, text: dict[str, str] | None = None
) -> None:
    """Write a picture in the format its name ends in (.png, .jpg, .webp); text entries go into PNG only."""
    suffix = Path(path).suffix.lower()
    if suffix == ".png":
        save_png(path, image, text)
    elif suffix in (".jpg", ".jpeg"):
        write_bytes_atomic(path, encode_jpeg(image))
    elif suffix == ".webp":
        write_bytes_atomic(path, encode_webp(image))
    else:
        raise PictureError(f"cannot write {Path(path).name}: choose a name that ends in .png, .jpg or .webp")


def _notes(comment: str, xmp: str) -> dict[str, bytes]:
    notes = {}
    if comment:
        exif = Image.Exif()
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = _ASCII + comment.encode("ascii")
        notes["exif"] = exif.tobytes()
    if xmp:
        notes["xmp"] = xmp.encode()
    return notes


def _as_pil(image: np.ndarray | Image.Image) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(f"pictures to encode are (H, W) or (H, W, 3) uint8, not {image.shape} {image.dtype}")
    return Image.fromarray(image)


@contextmanager
def _opened(source: Source, name: str = "this picture") -> Iterator[tuple[Image.Image, str]]:
    """An image that has not been decoded yet and is within limits, and the name to use for it in a message."""
    if isinstance(source, Image.Image):
        _check_size(*source.size, name)
        yield source, name
        return
    if isinstance(source, bytes | bytearray | memoryview):
        stream = io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        name, stream = path.name or str(path), path
        if not path.exists():
            raise PictureError(f"no such file: {path}")
        if not path.is_file():
            raise PictureError(f"{path} is a folder or a device: give a picture file")
    else:
        raise PictureError(f"a picture is a path, bytes, a PIL image or an array, not {type(source).__name__}")
    with _decoding(name):
        Image.init()  # loads the decoders; older Pillow releases lack AVIF
        image = Image.open(stream, formats=[kind for kind in FORMATS if kind in Image.OPEN])
    with image:
        _check_size(*image.size, name)
        yield image, name


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn everything a decoder can raise about a damaged file into one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (InputError, AssertionError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise PictureError(f"{name} has more than 40 megapixels: make it smaller") from None
    except UnidentifiedImageError:
        kind = "a film, not a picture" if Path(name).suffix.lower() in VIDEOS else "not a picture Limner can read"
        raise PictureError(f"{name} is {kind}: give a PNG, JPEG, WebP, AVIF, GIF or TIFF") from None
    except PermissionError:
        raise PictureError(f"{name} may not be read: check its permissions") from None
    except _BROKEN as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise PictureError(f"{name} is damaged or cut short ({reason}): fetch or export it again") from None


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise PictureError(f"{name} has {width} x {height} pixels; the limit is 40 megapixels: make it smaller")
    if min(width, height) < MIN_SIDE:
        raise PictureError(f"{name} has {width} x {height} pixels; each side must have at least {MIN_SIDE}")


def _upright_rgb(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8. Converted band by band, because a whole picture in every mode on the way takes a gigabyte."""
    image.load()
    width, height = image.size
    convert = _converter(image)
    rows = max(1, _BAND // width)
    rgb = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        rgb[top : top + rows] = convert(image.crop((0, top, width, min(height, top + rows))))
    turn = _TURNS.get(_orientation(image))
    return rgb if turn is None else np.ascontiguousarray(turn(rgb))


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def _converter(image: Image.Image) -> Callable[[Image.Image], np.ndarray]:
    """What makes (h, w, 3) uint8 sRGB of each band of a picture."""
    if image.mode in _SIXTEEN_BIT:
        return lambda band: _grey(_eight_bit(np.asarray(band)))
    if image.mode in ("I", "F"):
        values = np.asarray(image)
        most = _check_values(values)
        return lambda band: _grey(_eight_bit(np.asarray(band), most))
    if image.has_transparency_data:
        return _on_white
    transform = _to_srgb(image)
    if transform is None:
        return lambda band: np.asarray(band.convert("RGB"))
    return lambda band: np.asarray(ImageCms.applyTransform(band, transform))


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, 2)


def _on_white(band: Image.Image) -> np.ndarray:
    ground = Image.new("RGBA", band.size, "white")
    ground.alpha_composite(band.convert("RGBA"))
    return np.asarray(ground.convert("RGB"))


def _to_srgb(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """The way from an opaque image's own colours to sRGB; None where it needs none. An unreadable profile, or one for
    another kind of pixel, is left aside as browsers do."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK"):
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), image.mode, "RGB")
    except (OSError, ImageCms.PyCMSError):
        return None


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise PictureError(f"an array picture is (H, W), (H, W, 3) or (H, W, 4), not {array.shape}")
    _check_size(array.shape[1], array.shape[0], "this picture")
    array = _eight_bit(array)
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[2] == 4:
        alpha = array[..., 3:].astype(np.uint32)
        array = ((array[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.repeat(array, 3, 2) if array.shape[2] == 1 else array.copy()


def _check_values(array: np.ndarray) -> float:
    """The largest value; PictureError for negative and non-finite ones."""
    if not np.isfinite(array).all() or array.min() < 0:
        raise PictureError("an array picture has no negative or non-finite values: scale it to 0..1 or 0..255")
    return float(array.max())


def _eight_bit(array: np.ndarray, most: float | None = None) -> np.ndarray:
    """uint8 values of any numeric array; refuses what has no known white. most: the largest value of the whole picture
    that the array is a part of, which was checked; None: it is the whole."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise PictureError(f"an array picture has numbers, not {array.dtype}")
    if most is None:
        most = _check_values(array)
    if array.dtype.kind == "f" and most <= 1:
        return np.rint(array * 255).astype(np.uint8)
    if most <= 255:
        return np.rint(array).astype(np.uint8)
    if most <= 65535:
        return np.rint(array / 257).astype(np.uint8)
    raise PictureError(f"an array picture of {array.dtype} goes up to {most:g}: scale it to 0..1 or 0..255")
