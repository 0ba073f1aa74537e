"""People in folders: videos or folders of frames, one person a folder, to pictures of one face in motion.

    DIR/<person>/<clip>/<frame>.jpg …      VoxCeleb, VFHQ and CelebV as frames (deeper levels are clips as well)
    DIR/<person>/…/<clip>.mp4 …            the same as videos
    DIR/<person>/<photo>.jpg …             plain photos, taken as one clip
    DIR/<clip>.mp4                         a video at the top is a person of its own

In every clip one face is followed: from sampled frame to sampled frame the one that overlaps with where it was and has
the same identity vector; where both fail (a cut to someone else) the frame is left out. Small and blurred faces are
left out, too. Over all clips of a person the face nearest to the mean identity is the reference, and pictures that move
as differently as possible are chosen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limner.data.blocks import Result
from limner.data.build import BuildSpec, load_face_reader
from limner.data.pair_factors import MOTION, SPREADS, measure_factors
from limner.data.shards import PAIR_FIELDS, pack_attributes
from limner.data.sources import UNKNOWN_LICENCE
from limner.data.stages import NOTHING_CARRIED, Reader, Row, find_faces, read_faces
from limner.data.synthetic_pairs import PairSettings, keep_same
from limner.errors import InputError
from limner.faces.geometry import overlap
from limner.faces.identity import SAME_PERSON
from limner.faces.picture import SUFFIXES, read_picture
from limner.faces.topology import Topology
from limner.faces.video import SUFFIXES as VIDEOS
from limner.faces.video import upright

OVERLAP = 0.3  # of the boxes in two frames, from which on they may be one face
READ_AT_ONCE = 16  # frames


@dataclass(frozen=True)
class Clip:
    """A video file, or the frames of a folder in order."""

    name: str
    video: Path | None
    frames: tuple[Path, ...] = ()


@dataclass(frozen=True)
class VideoPerson:
    """Somebody, and the clips that show them."""

    id: str
    source: str
    licence: str
    clips: tuple[Clip, ...]


@dataclass(frozen=True, kw_only=True)
class VideoSettings(PairSettings):
    """What decides the content of a pair set from videos. `variants` is how many pictures a person are kept."""

    variants: int = 8
    """Pictures kept a person."""
    every: float = 0.5
    """Seconds between frames that are looked at."""
    stride: int = 12
    """Frames between those that are looked at, where frames are files and have no clock."""
    frames: int = 40
    """Frames looked at in one clip, at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every <= 0:
            raise InputError(f"every is {self.every} seconds: choose more than 0")
        for name in ("stride", "frames"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: choose 1 or more")


@dataclass(frozen=True)
class VideoModels:
    """What a worker needs."""

    reader: Reader
    topology: Topology


def load_tools() -> VideoModels:
    """The shipped face reader."""
    return VideoModels(load_face_reader(), Topology.load())


def build_spec() -> BuildSpec:
    """How `build.build` makes a pair set from `VideoPerson`s and `VideoSettings`."""
    return BuildSpec(load=load_tools, make=make_people, fields=PAIR_FIELDS, block=4, batch=1)


def find_people(place: str | os.PathLike[str], licence: str | None = None) -> list[VideoPerson]:
    """The people in a folder, by name. Raises InputError when there is none."""
    root = Path(place)
    if not root.is_dir():
        raise InputError(f"there is no folder {root}: give one with a sub-folder for each person")
    label = root.resolve().name
    found = []
    for path in sorted(root.iterdir()):
        if path.name.startswith("."):
            continue
        clips = tuple(_clips(path)) if path.is_dir() else ()
        if path.is_file() and path.suffix.lower() in VIDEOS:
            clips = (Clip(path.name, path),)
        if clips:
            name = path.stem if path.is_file() else path.name
            found.append(VideoPerson(f"{label}/{name}", label, licence or UNKNOWN_LICENCE, clips))
    if not found:
        raise InputError(f"no people in {root}: give each person a sub-folder with videos or frames")
    return found


def _clips(folder: Path) -> Iterator[Clip]:
    for here, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        files = sorted(name for name in names if not name.startswith("."))
        relative = Path(here).relative_to(folder)
        frames = tuple(Path(here) / name for name in files if name.lower().endswith(SUFFIXES))
        if frames:
            yield Clip(relative.as_posix(), None, frames)
        for name in files:
            if name.lower().endswith(VIDEOS):
                yield Clip((relative / name).as_posix(), Path(here) / name)


def sample_frames(clip: Clip, settings: VideoSettings) -> Iterator[tuple[float | None, np.ndarray]]:
    """(seconds or None, upright frame (H, W, 3) uint8) of a clip, spread evenly over it when it is longer than `frames`
    allow.

    Raises InputError for a video that cannot be opened; needs PyAV (extra video) for videos.
    """
    if clip.video is None:
        # a short clip is looked at more closely, so that it can give as many pictures as are kept
        paths = clip.frames[:: min(settings.stride, max(len(clip.frames) // settings.variants, 1))]
        for k in _spread(len(paths), settings.frames):
            yield None, read_picture(paths[k])
        return
    import av

    try:
        with av.open(str(clip.video)) as container:
            if not container.streams.video:
                raise InputError(f"{clip.video} holds no pictures")
            stream = container.streams.video[0]
            length = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
            every = max(settings.every, length / settings.frames)
            due, taken = 0.0, 0
            for frame in container.decode(stream):
                now = float(frame.time or 0.0)
                if now + 1e-6 < due:
                    continue
                yield now, upright(frame)
                due, taken = now + every, taken + 1
                if taken >= settings.frames:
                    return
    except (av.FFmpegError, UnicodeDecodeError) as error:
        raise InputError(f"{clip.video} is no video that can be read ({error}): convert it to .mp4") from error


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of 0..count - 1, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def follow(frames: Sequence[Sequence[Row]]) -> list[Row]:
    """The rows of one face through the frames of a clip; each frame's rows are its measured faces, largest first.

    Rows need `box` (pixels of the frame) and `face`. The face of the first frame that has one is followed: its box may
    move, its identity vector may not. A frame without it is skipped.
    """
    track: list[Row] = []
    for rows in frames:
        if not track:
            track += rows[:1]
            continue
        centre = np.mean([row["face"].identity for row in track], 0)
        scored = []
        for row in rows:
            distance = float(np.linalg.norm(row["face"].identity - centre))
            near = float(overlap(row["box"], track[-1]["box"])) >= OVERLAP
            # what has moved far must look more alike
            if distance < (SAME_PERSON if near else SAME_PERSON - 0.1):
                scored.append((distance - 0.1 * near, row))
        if scored:
            track.append(min(scored, key=lambda pair: pair[0])[1])
    return track


def make_people(people: Sequence[VideoPerson], tools: VideoModels, settings: VideoSettings) -> Result:
    """Rows of the pictures that were kept of some people, and why others were not."""
    rows: list[Row] = []
    errors: list[Mapping[str, str]] = []
    for person in people:
        tracked: list[Row] = []
        for clip in person.clips:
            try:
                tracked += _read_clip(person, clip, tools, settings, errors)
            except (InputError, OSError) as error:
                errors.append({"id": f"{person.id}/{clip.name}", "reason": str(error).splitlines()[0]})
        sharp = [row for row in tracked if _is_sharp(row)]
        errors += [{"id": row["id"], "reason": "the face is blurred"} for row in tracked if not _is_sharp(row)]
        if len(sharp) < 2:
            errors.append({"id": person.id, "reason": f"{len(sharp)} usable pictures of this person: 2 are needed"})
            continue
        chosen = choose_pictures(sharp, tools.topology, settings)
        for variant, row in enumerate(chosen):
            row["variant"] = variant
        kept, dropped = keep_same(chosen, chosen, tools, settings)
        rows += kept
        errors += dropped
    return rows, errors


def choose_pictures(rows: Sequence[Row], topology: Topology, settings: VideoSettings) -> list[Row]:
    """At most `variants` rows of one person: first the one nearest to the mean identity, then, of those close to it,
    each time the one whose motion is farthest from all chosen (our choice: because frames of a video are alike, and
    pairs are wanted that differ)."""
    identity = np.stack([row["face"].identity for row in rows])
    reference = int(np.argmin(np.linalg.norm(identity - identity.mean(0), axis=1)))
    same = np.linalg.norm(identity - identity[reference], axis=1) < settings.limit
    points = np.stack([_motion(row, topology) for row in rows])
    chosen, farthest = [reference], np.linalg.norm(points - points[reference], axis=1)
    farthest[~same] = -1.0
    while len(chosen) < settings.variants and farthest.max() > 0:
        chosen.append(int(farthest.argmax()))
        farthest = np.minimum(farthest, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return [dict(rows[k]) for k in chosen]


def _motion(row: Row, topology: Topology) -> np.ndarray:
    face = row["face"]
    measured = measure_factors(
        {
            "landmarks": face.landmarks,
            "gaze": face.gaze,
            "light": face.light,
            "attributes": pack_attributes(face.attributes),
        },
        topology,
    )
    return measured[: len(MOTION)] / [SPREADS[name] for name in MOTION]


def _is_sharp(row: Row) -> bool:
    found = row["face"].attributes.get("sharpness")
    return found is None or found.value != "blurred"


def _read_clip(
    person: VideoPerson, clip: Clip, tools: VideoModels, settings: VideoSettings, errors: list[Mapping[str, str]]
) -> list[Row]:
    """The followed face of one clip, measured; frames without a face large enough go to `errors`."""
    found: list[Row] = []
    for k, (seconds, frame) in enumerate(sample_frames(clip, settings)):
        row = {
            **NOTHING_CARRIED,
            "id": f"{person.id}/{clip.name}@{seconds:.2f}" if seconds is not None else f"{person.id}/{clip.name}@{k}",
            "source": person.source,
            "licence": person.licence,
            "person": person.id,
            "aligned": False,
            "w": None,
            "photo": frame,
            "moves": [],
            "clip": clip.name,
            "seconds": seconds,
            "frame": k,
        }
        try:
            found += find_faces(row, tools.reader, settings.record)
        except InputError as error:
            errors.append({"id": row["id"], "reason": str(error)})
    measured: list[Row] = []
    for start in range(0, len(found), READ_AT_ONCE):
        part = found[start : start + READ_AT_ONCE]
        measured += [row for row in read_faces(part, tools.reader) if row is not None]
    frames: dict[int, list[Row]] = {}
    for row in measured:
        frames.setdefault(row["frame"], []).append(row)
    return follow([frames[k] for k in sorted(frames)])
