"""People to measure edits on, one or two pictures of each, from the folders that users have.

a set of `limner data pairs`             its test split, two pictures a person
DIR/<person>/…                           VoxCeleb, VFHQ, CelebV: videos or frames; the first and the last
DIR/original_sequences/youtube/…         FaceForensics++; who is swapped with whom is read from splits/test.json
DIR/<photo>.jpg                          photos of people who are each there once
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from limner.data.pairs import is_pair_set
from limner.data.shards import is_built, iterate
from limner.data.video_people import VideoPerson, VideoSettings, find_people, sample_frames
from limner.errors import InputError
from limner.faces.picture import Source, is_picture_name

TWO_LOOKS = VideoSettings(variants=2, frames=2)


@dataclass(frozen=True)
class GalleryPerson:
    """Somebody, and one, two or more pictures of them (never none)."""

    id: str
    pictures: tuple[Source, ...]


@dataclass(frozen=True)
class Gallery:
    """People, and who is edited with the help of whom: numbers of (source, target). skipped: a line for every clip that
    could not be read, and for everybody of whom nothing could."""

    people: tuple[GalleryPerson, ...]
    pairs: tuple[tuple[int, int], ...]
    skipped: tuple[str, ...] = ()
    frames: int = 2
    """Pictures of each person at most; above two all of them are edited."""


def read_gallery(place: Path, count: int = 0, frames: int = 2) -> Gallery:
    """The first ``count`` people of a folder (0: all of them), each a source and each a target once.

    FaceForensics++ has pairs of its own; elsewhere the target of person k is person k + 1. Clips that cannot be read
    are skipped, and so are people who have no others. frames: of each person; above two they are spread evenly over
    the person's first clip. ``InputError`` where fewer than two people are left, and for more frames of people who have
    no clips.
    """
    if frames < 2:
        raise InputError(f"frames={frames}: at least 2")
    if not place.is_dir():
        raise InputError(f"there is no folder {place}; relative paths start from LIMNER_DATA")
    pairs: Sequence[tuple[str, str]] = ()
    skipped: list[str] = []
    if is_built(place):
        if not is_pair_set(place):
            raise InputError(f"{place} has one picture a person, unnamed: give a set of `limner data pairs`, or photos")
        people = _of_pair_set(place, count)
    elif (place / "original_sequences").is_dir():
        filmed = find_people(_youtube(place))
        pairs = _published_pairs(place)
        wanted = list(dict.fromkeys(name for pair in pairs for name in pair)) or [_short(one) for one in filmed]
        known = {_short(one): one for one in filmed}
        people = _seen((known[name] for name in wanted if name in known), count, skipped, frames)
    elif photos := sorted(file for file in place.iterdir() if is_picture_name(file)):
        people = [GalleryPerson(file.stem, (file,)) for file in photos[: count or None]]
    else:
        people = _seen(find_people(place), count, skipped, frames)
    if len(people) < 2:
        why = f"; {skipped[0]}" if skipped else ""
        raise InputError(f"{place} shows {len(people)} people: edits are measured on at least two{why}")
    if frames > 2 and all(len(person.pictures) <= 2 for person in people):
        raise InputError(f"{place} has no clips of more than two pictures to take {frames} frames from")
    return Gallery(tuple(people), _numbered(people, pairs), tuple(skipped), frames)


def _of_pair_set(place: Path, count: int) -> list[GalleryPerson]:
    pictures: dict[str, list[bytes]] = {}
    for row in iterate(place, "test", ["person", "image"]):
        pictures.setdefault(row["person"], []).append(row["image"]["bytes"])
    return [GalleryPerson(name, tuple(found[:2])) for name, found in islice(pictures.items(), count or None)]


def _seen(filmed: Iterable[VideoPerson], count: int, skipped: list[str], wanted: int) -> list[GalleryPerson]:
    """The first ``count`` of whom something can be read (0: all of them); what cannot is noted in ``skipped``."""
    people: list[GalleryPerson] = []
    for person in filmed:
        frames = []
        clips = dict.fromkeys((person.clips[0], person.clips[-1])) if wanted == 2 else person.clips[:1]
        settings = TWO_LOOKS if wanted == 2 else VideoSettings(variants=wanted, frames=wanted)
        for clip in clips:
            try:
                frames += [frame for _, frame in sample_frames(clip, settings)]
            except (InputError, OSError) as error:
                skipped.append(f"{person.id}/{clip.name}: {str(error).splitlines()[0]}")
        if not frames:
            skipped.append(f"{person.id}: no clip of theirs shows anything")
            continue
        if wanted == 2 and len(frames) > 1:
            frames = [frames[0], frames[-1]]
        people.append(GalleryPerson(_short(person), tuple(frames)))
        if len(people) == count:
            break
    return people


def _short(person: VideoPerson) -> str:
    return person.id.rsplit("/", 1)[-1]


def _youtube(place: Path) -> Path:
    """Where FaceForensics++ keeps its untouched videos, or frames of them: in the first compression that is there."""
    root = place / "original_sequences" / "youtube"
    for name in ("raw", "c23", "c40"):
        for kind in ("videos", "images", "frames"):
            if (root / name / kind).is_dir():
                return root / name / kind
    raise InputError(f"{root} has no raw, c23 or c40 with videos, images or frames in it")


def _published_pairs(place: Path) -> list[tuple[str, str]]:
    file = place / "splits" / "test.json"
    if not file.is_file():
        return []
    try:
        return [(str(source), str(target)) for source, target in json.loads(file.read_text("utf-8"))]
    except (ValueError, TypeError) as error:
        raise InputError(f"{file} is no list of pairs: {error}") from None


def _numbered(people: Sequence[GalleryPerson], pairs: Sequence[tuple[str, str]]) -> tuple[tuple[int, int], ...]:
    number: Mapping[str, int] = {person.id: k for k, person in enumerate(people)}
    found = [
        (number[a], number[b])
        for source, target in pairs
        for a, b in ((source, target), (target, source))
        if a in number and b in number
    ]
    return tuple(found) or tuple((k, (k + 1) % len(people)) for k in range(len(people)))
