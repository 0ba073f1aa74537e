"""Video files: their frames, upright and each with its time. Needs the extra ``video`` (PyAV)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.faces.video_colour import to_rgb

MIME = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".m4v": "video/x-m4v",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".avi": "video/x-msvideo",
    ".mts": "video/mp2t",
    ".m2ts": "video/mp2t",
    ".ts": "video/mp2t",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".wmv": "video/x-ms-wmv",
    ".flv": "video/x-flv",
    ".3gp": "video/3gpp",
    ".ogv": "video/ogg",
}
"""Media types by suffix."""
SUFFIXES = tuple(MIME)
LATE = 1.0
"""Seconds by which a film may end before the length that its header gives: that of the sound, or rounded."""
OTHERS = (".mxf", ".vob", ".dv", ".m2v", ".asf", ".rm", ".rmvb", ".f4v", ".divx", ".mod", ".tod", ".r3d", ".braw")
"""Suffixes of films that are not read: for messages."""


def is_video(path: str | Path) -> bool:
    """By its name. ``InputError`` for a kind of film that is not read."""
    suffix = Path(path).suffix.lower()
    if suffix in OTHERS:
        raise InputError(f"{Path(path).name}: {suffix} is not a film format that is read (only {', '.join(SUFFIXES)})")
    return suffix in SUFFIXES


@dataclass(frozen=True)
class Clip:
    """What a video file says of itself. rate: frames a second. comment: its own words, "" for none. pixel: width of an
    upright pixel over its height. whole: whether the file goes to its end, or was cut off."""

    path: Path
    rate: float
    frames: int
    comment: str = ""
    pixel: Fraction = Fraction(1)
    whole: bool = True

    @classmethod
    def open(cls, path: Path) -> Clip:
        """``InputError`` for what is no video. ``frames`` is an estimate where the file does not say."""
        with opened(path) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 25)
            seconds = float((container.duration or 0) / 1_000_000)
            frames = int(stream.frames or round(seconds * rate) or 1)
            comment, pixel = container.metadata.get("comment", ""), stream.sample_aspect_ratio or Fraction(1)
            first = next(_frames(container), None)
            if first is not None and _quarters(first) % 2:
                pixel = 1 / pixel
        return cls(Path(path), rate, frames, comment, pixel, is_whole(path))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames (H, W, 3) uint8 RGB, upright."""
        return (frame for _, frame in self.timed())

    def timed(self) -> Iterator[tuple[float, np.ndarray]]:
        """Frames with the second each is shown at; without one that can be, 1 / rate after the one before.

        Of a damaged file those before the damage; ``InputError`` if that is none.
        """
        last = -math.inf
        with opened(self.path) as container:
            for frame in _frames(container):
                told = math.nan if frame.time is None else float(frame.time)
                last = told if told > last else max(last + 1 / self.rate, 0.0)
                yield last, upright(frame)


def frame_at(path: Path, where: float) -> np.ndarray:
    """The frame (H, W, 3) at a share ``where`` (0..1) of a video's length. ``InputError`` for a damaged file."""
    import av

    with opened(path) as container:
        length = container.duration / av.time_base if container.duration else 0.0
        target = where * length
        # Seeking lands on a key frame before; from there frames are decoded until the time is reached.
        container.seek(int(target * av.time_base))
        last = None
        for frame in container.decode(video=0):
            last = frame
            if frame.time is None or frame.time >= target:
                break
        if last is None:
            raise InputError(f"{Path(path).name} holds no frames: give another video")
        return upright(last)


def upright(frame: Any) -> np.ndarray:
    """A decoded frame as (H, W, 3) uint8 RGB, turned as players turn it: phones film sideways and note it."""
    return np.ascontiguousarray(np.rot90(to_rgb(frame), _quarters(frame)))


def _quarters(frame: Any) -> int:
    """Quarter turns, counter-clockwise, that make a frame upright."""
    return round((getattr(frame, "rotation", 0) or 0) / 90)


def is_whole(path: str | Path) -> bool:
    """Whether a video goes as far as its header says; packets are counted, not decoded."""
    import av

    with opened(path) as container:
        stream = container.streams.video[0]
        packets, end = 0, 0.0
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    return False
                packets += packet.size > 0
                if packet.pts is not None and packet.time_base is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        except av.FFmpegError:
            return False
        if stream.frames:
            return packets >= stream.frames
        length = float((container.duration or 0) / av.time_base)
        return end >= length - LATE


def _frames(container: Any) -> Iterator[Any]:
    """The frames of the first video stream; of a damaged file those before the damage. InputError if
    there is none."""
    import av

    stream, shown = container.streams.video[0], False
    try:
        for packet in container.demux(stream):
            for frame in packet.decode():
                if frame.is_corrupt:
                    return
                shown = True
                yield frame
    except av.FFmpegError:
        for frame in _held_back(stream):
            shown = True
            yield frame
        if not shown:
            name = Path(container.name).name
            raise InputError(f"{name} is damaged or cut off within its first picture: give the whole file") from None


def _held_back(stream: Any) -> Iterator[Any]:
    """What a decoder still holds after an error."""
    import av

    try:
        yield from (frame for frame in stream.codec_context.decode(None) if not frame.is_corrupt)
    except av.FFmpegError:
        return


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """PyAV's container of a file that holds a video. ``InputError``, one line, for another and for a damaged one."""
    import av

    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except av.FFmpegError as error:
        raise InputError(f"{path.name} is not a video that can be read: {error.strerror or error}") from None
    with container:
        if not container.streams.video:
            raise InputError(f"{path.name} holds no pictures: give a video")
        try:
            yield container
        except av.FFmpegError as error:
            raise InputError(f"{path.name} is damaged: {error.strerror or error}") from None
