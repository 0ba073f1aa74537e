"""Films in the making: finished frames kept until the film is whole, then written with the sound and a recipe.

Needs the extra ``video`` (PyAV). Finished frames lie beside the result, in ``NAME.parts``: after an interruption the
same command goes on where it stopped.
"""

from __future__ import annotations

import heapq
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import fields
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.faces.picture import read_picture, save_png
from limner.faces.video import MIME
from limner.faces.video_colour import BT601, BT709, EXACT
from limner.files import atomic_write, make_folder, write_bytes_atomic, write_json_atomic
from limner.provenance.manifest import Ingredient

from .face_track import Track

TICK = Fraction(1, 360_000)
"""Seconds that times in a film are whole multiples of: those of every common frame rate are, 1001ths among them."""


class FrameStore:
    """The folder ``NAME.parts`` beside a film in the making: its job, the track, the frames that are done.

    ``InputError`` if it holds those of another job.
    """

    def __init__(self, out: Path, job: dict[str, Any]) -> None:
        self.folder = out.with_name(f"{out.name}.parts")
        note = self.folder / "job.json"
        if note.is_file() and json.loads(note.read_text(encoding="utf-8")) != json.loads(json.dumps(job)):
            raise InputError(
                f"{self.folder} holds frames of a film that was to be made otherwise: make that one, remove the folder,"
                " or name another film"
            )
        make_folder(self.folder)
        write_json_atomic(note, job)

    def track(self, make: Callable[[], Track]) -> Track:
        """The track, made once; again where an older version made it."""
        file = self.folder / "track.npz"
        if file.is_file():
            with np.load(file, allow_pickle=False) as stored:
                if set(stored.files) == {each.name for each in fields(Track)}:
                    return Track(**{name: stored[name] for name in stored.files})
        track = make()
        with atomic_write(file) as temporary:
            np.savez_compressed(temporary, **vars(track))
        return track

    def has(self, number: int) -> bool:
        """Whether a frame is made."""
        return self._file(number).is_file()

    def keep(self, number: int, picture: np.ndarray) -> None:
        """A frame that was made; packed loosely, for it lies here for minutes."""
        save_png(self._file(number), picture, level=1)

    def frame(self, number: int) -> np.ndarray:
        """A frame that is made."""
        return read_picture(self._file(number))

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.png"

    def close(self) -> None:
        """The film is whole."""
        shutil.rmtree(self.folder)


def write_video(
    out: Path,
    frames: Iterable[np.ndarray],
    rate: float,
    sound: Path | None,
    recipe: dict[str, Any],
    seconds: Sequence[float] | None = None,
    pixel: Fraction = Fraction(1),
) -> None:
    """Frames (H, W, 3) as an H.264 MP4 with another file's sound and a recipe in its comment; whole, or not at all.

    rate: frames a second. seconds: when each frame is shown, on the sound's clock; evenly from 0 for None. pixel: width
    of a pixel over its height. The colours are BT.709's, and say so, at half the sides; of frames with an odd side at
    full ones, since half an odd side is none.
    """
    import av

    rest = iter(frames)
    first = next(rest)
    height, width = first.shape[:2]
    layout = "yuv420p" if height % 2 == width % 2 == 0 else "yuv444p"
    with atomic_write(out) as temporary, ExitStack() as held:
        film = held.enter_context(av.open(str(temporary), "w", format="mp4"))
        film.metadata["comment"] = json.dumps(recipe, sort_keys=True)
        stream = film.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, layout
        stream.codec_context.sample_aspect_ratio = pixel
        stream.codec_context.colorspace = stream.codec_context.color_primaries = stream.codec_context.color_trc = BT709
        stream.codec_context.color_range = 1
        stream.options = {"crf": "17", "bf": "0"}  # frames that are stored in order keep their times exactly
        stream.time_base = stream.codec_context.time_base = TICK
        voice = held.enter_context(av.open(str(sound))) if sound is not None else None
        heard = film.add_stream_from_template(voice.streams.audio[0]) if voice and voice.streams.audio else None

        def seen() -> Iterator[av.Packet]:
            for number, frame in enumerate(chain([first], rest)):
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                picture = picture.reformat(
                    format=layout, src_colorspace=BT601, dst_colorspace=BT709, interpolation=EXACT
                )
                picture.pts = round((number / rate if seconds is None else seconds[number]) / TICK)
                picture.duration, picture.time_base = round(1 / rate / TICK), TICK
                yield from stream.encode(picture)
            yield from stream.encode()

        def spoken() -> Iterator[av.Packet]:
            try:
                for packet in voice.demux(voice.streams.audio[0]) if voice and heard else ():
                    if packet.dts is not None and not packet.is_corrupt:
                        packet.stream = heard
                        yield packet
            except av.FFmpegError:  # a file that was cut off: its sound goes as far as it goes
                return

        for packet in heapq.merge(seen(), spoken(), key=lambda packet: (packet.dts or 0) * packet.time_base):
            film.mux(packet)


def ingredient_of(video: Path, edited: bool) -> Ingredient:
    """A video that went into a film, for its manifest. edited: it was changed into the film, not only looked at."""
    mime = MIME.get(video.suffix.lower(), "application/octet-stream")
    return Ingredient(video.name, video.read_bytes(), mime, edited)


def sign_video(out: Path, recipe: dict[str, Any], ingredients: tuple[Ingredient, ...]) -> None:
    """Add a C2PA manifest to a film that is written."""
    from limner.provenance.credentials import credentials
    from limner.provenance.manifest import sign

    write_bytes_atomic(out, sign(out.read_bytes(), "video/mp4", recipe, credentials(), ingredients))
