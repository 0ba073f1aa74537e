"""Video files: their frames, upright and each with its time. Needs the extra ``video`` (PyAV)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limner.errors import InputError

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
    """What a video file says of itself. rate: frames a second. comment: its own words, "" for none."""

    path: Path
    rate: float
    frames: int
    comment: str = ""

    @classmethod
    def open(cls, path: Path) -> Clip:
        """``InputError`` for what is no video. ``frames`` is an estimate where the file does not say."""
        with opened(path) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 25)
            seconds = float((container.duration or 0) / 1_000_000)
            frames = int(stream.frames or round(seconds * rate) or 1)
            return cls(Path(path), rate, frames, container.metadata.get("comment", ""))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames (H, W, 3) uint8 RGB, upright."""
        return (frame for _, frame in self.timed())

    def timed(self) -> Iterator[tuple[float, np.ndarray]]:
        """Frames with the second each is shown at; without one that can be, 1 / rate after the one before."""
        last = -math.inf
        with opened(self.path) as container:
            for frame in container.decode(video=0):
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
    quarters = round((getattr(frame, "rotation", 0) or 0) / 90)  # counter-clockwise
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarters))


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
