"""Video: frames in, a steady track of one face, edited frames out, the sound kept, and no frame made twice.

Needs the extra ``video`` (PyAV). Finished frames lie beside the result, in ``NAME.parts``, until the film is whole:
after an interruption the same command goes on where it stopped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.faces.geometry import compose, invert, overlap, transform_points, warp
from limner.faces.picture import read_picture, save_png
from limner.faces.record import Face
from limner.files import atomic_write, make_folder, write_bytes_atomic, write_json_atomic

from .motion import SIZE, Motion, motion_of
from .portrait import Portrait, choose_face

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
SMOOTH_CROP = 2.0
"""Frames (deviation of a Gaussian) over which the place of a crop is averaged: more than the mesh's jitter, less than a
gesture (our choice)."""
SMOOTH_MOTION = 0.8
SAME_FACE = 0.2  # overlap of boxes from one frame to the next

Progress = Callable[[str, int, int], None]
"""(what is done, frames done, frames in all)."""


def is_video(path: str | Path) -> bool:
    """By its name."""
    return Path(path).suffix.lower() in SUFFIXES


@dataclass(frozen=True)
class Clip:
    """What a video file says of itself. rate: frames a second."""

    path: Path
    rate: float
    frames: int

    @classmethod
    def open(cls, path: Path) -> Clip:
        """``InputError`` for what is no video. ``frames`` is an estimate where the file does not say."""
        with _container(path) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 25)
            seconds = float((container.duration or 0) / 1_000_000)
            return cls(Path(path), rate, int(stream.frames or round(seconds * rate) or 1))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames (H, W, 3) uint8 RGB, upright."""
        import av

        with _container(self.path) as container:
            try:
                for frame in container.decode(video=0):
                    turned = round(-(getattr(frame, "rotation", 0) or 0) / 90) % 4
                    yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), -turned))
            except av.FFmpegError as error:
                raise InputError(f"{self.path.name} is damaged: {error.strerror or error}") from None


def _container(path: Path):
    import av

    if not Path(path).is_file():
        raise InputError(f"no such file: {path}")
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise InputError(f"{Path(path).name} is not a video that can be read: {error.strerror or error}") from None
    if not container.streams.video:
        container.close()
        raise InputError(f"{Path(path).name} holds no pictures: give a video")
    return container


@dataclass(frozen=True, eq=False)
class Track:
    """One face through F frames. found: (F,) bool; what a frame without it has is that of the frame before.

    crop: (F, 2, 3), frame → aligned 256 x 256 picture. regions: (F, 256, 256). expression, pose, gaze, light: as in
    `Motion` and `Face`.
    """

    found: np.ndarray
    crop: np.ndarray
    regions: np.ndarray
    expression: np.ndarray
    pose: np.ndarray
    gaze: np.ndarray
    light: np.ndarray

    def smoothed(self) -> Track:
        """The same without jitter: places averaged over SMOOTH_CROP frames, motion over SMOOTH_MOTION.

        Regions are brought along into the new crops.
        """
        crop = smooth(self.crop.reshape(len(self.crop), 6), SMOOTH_CROP).reshape(-1, 2, 3)
        regions = [
            warp(regions, compose(new, invert(old)), SIZE, nearest=True, border=0)
            for regions, old, new in zip(self.regions, self.crop, crop)
        ]
        motion = {name: smooth(getattr(self, name), SMOOTH_MOTION) for name in ("expression", "pose", "gaze", "light")}
        return replace(self, crop=crop, regions=np.stack(regions), **motion)

    def motion(self, frame: int) -> Motion:
        """What the face does in a frame."""
        return Motion(*(getattr(self, name)[frame].astype(np.float32) for name in ("expression", "pose", "gaze")))

    def portrait(self, frame: int, picture: np.ndarray, size: int, name: str) -> Portrait:
        """The face of a frame (H, W, 3) as a portrait of side ``size``."""
        crop = self.crop[frame] * (size / SIZE)
        scaled = np.array([[size / SIZE, 0, 0], [0, size / SIZE, 0]])
        regions = warp(self.regions[frame], scaled, size, nearest=True)
        light = self.light[frame].astype(np.float32)
        return Portrait(warp(picture, crop, size, border="edge"), regions, self.motion(frame), light, crop, name)


def smooth(values: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian average over the first axis, (F, K); at the ends over what is there. A constant stays one."""
    reach = max(int(np.ceil(3 * deviation)), 1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    frames = np.arange(len(values))
    index = frames[:, None] + np.arange(-reach, reach + 1)[None]
    there = (index >= 0) & (index < len(values))
    share = weights[None] * there
    share /= share.sum(1, keepdims=True)
    return np.einsum("fr,frk->fk", share, values[index.clip(0, len(values) - 1)])


def follow(clip: Clip, reader: Any, number: int | None = None, progress: Progress | None = None) -> Track:
    """Track a face through a video: the one chosen in the first frame that shows any, then the nearest to it.

    reader: a ``FaceReader``. ``InputError`` if no frame shows a face.
    """
    last: Face | None = None
    rows: list[dict[str, np.ndarray]] = []
    found: list[bool] = []
    for done, frame in enumerate(clip, 1):
        faces = reader.read(frame, recognise=False)
        face = choose_face(faces, number, clip.path.name) if last is None and faces else _nearest(faces, last)
        found.append(face is not None)
        if face is not None:
            last = face
            rows.append(_measured(face, reader.topology))
        else:
            rows.append(rows[-1] if rows else {})
        if progress is not None:
            progress("following the face", done, max(clip.frames, done))
    if last is None:
        raise InputError(f"no face was found in any frame of {clip.path.name}")
    first = next(row for row in rows if row)
    columns = {name: np.stack([(row or first)[name] for row in rows]) for name in first}
    return Track(found=np.array(found), **columns)


def _nearest(faces: list[Face], last: Face | None) -> Face | None:
    if last is None or not faces:
        return None
    best = max(faces, key=lambda face: float(overlap(face.box, last.box)))
    return best if float(overlap(best.box, last.box)) >= SAME_FACE else None


def _measured(face: Face, topology: Any) -> dict[str, np.ndarray]:
    mesh = transform_points(face.landmarks, face.crop)
    motion = motion_of(mesh, face.expression, face.gaze, topology)
    regions = warp(face.regions, face.crop, SIZE, nearest=True, border=0)
    crop = np.asarray(face.crop, np.float64)
    return {"crop": crop, "regions": regions, "light": np.asarray(face.light, np.float64), **vars(motion)}


class Workshop:
    """The folder ``NAME.parts`` beside a film in the making: its job, the track, the frames that are done."""

    def __init__(self, out: Path, job: dict[str, Any]) -> None:
        self.folder = out.with_name(f"{out.name}.parts")
        note = self.folder / "job.json"
        text = json.loads(json.dumps(job))
        if note.is_file() and json.loads(note.read_text(encoding="utf-8")) != text:
            shutil.rmtree(self.folder)  # another job of the same name: none of its frames fit
        make_folder(self.folder)
        write_json_atomic(note, job)

    def track(self, make: Callable[[], Track]) -> Track:
        """The track, made once."""
        file = self.folder / "track.npz"
        if file.is_file():
            with np.load(file, allow_pickle=False) as stored:
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
    out: Path, frames: Iterator[np.ndarray], rate: float, sound: Path | None, recipe: dict[str, Any]
) -> None:
    """Frames (H, W, 3) as an H.264 MP4 with another file's sound and a recipe in its comment; whole, or not at all.

    An odd side loses its last row or column, since the format halves the colours' sides.
    """
    import av

    with atomic_write(out) as temporary, av.open(str(temporary), "w", format="mp4") as film:
        film.metadata["comment"] = json.dumps(recipe, sort_keys=True)
        stream = None
        voice = av.open(str(sound)) if sound is not None else None
        heard = None
        try:
            for frame in frames:
                height, width = (side // 2 * 2 for side in frame.shape[:2])
                if stream is None:
                    from fractions import Fraction

                    stream = film.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
                    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                    stream.options = {"crf": "17"}
                    if voice is not None and voice.streams.audio:
                        heard = film.add_stream_from_template(voice.streams.audio[0])
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
                film.mux(stream.encode(picture))
            if stream is not None:
                film.mux(stream.encode())
            if voice is not None and heard is not None:
                for packet in voice.demux(voice.streams.audio[0]):
                    if packet.dts is not None:
                        packet.stream = heard
                        film.mux(packet)
        finally:
            if voice is not None:
                voice.close()


def sign_video(out: Path, recipe: dict[str, Any], ingredients: tuple[Any, ...]) -> None:
    """Add a C2PA manifest to a film that is written."""
    from limner.provenance.credentials import credentials
    from limner.provenance.manifest import sign

    write_bytes_atomic(out, sign(out.read_bytes(), "video/mp4", recipe, credentials(), ingredients))
