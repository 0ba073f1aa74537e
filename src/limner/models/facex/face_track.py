"""One face followed through a video, and its track without jitter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from limner.errors import InputError
from limner.faces.geometry import compose, invert, overlap, resize, transform_points, warp
from limner.faces.identity import SAME_PERSON
from limner.faces.image_tensors import to_model
from limner.faces.record import Face, choose_face
from limner.faces.video import Clip

from .motion import SIZE, Motion, motion_of
from .neighbours import face_area, through_gaps
from .portrait import Portrait, check_face

SMOOTH_CROP = 2.0
"""Frames (deviation of a Gaussian) over which the place of a crop is averaged: more than the mesh's jitter, less than a
gesture (our choice)."""
SMOOTH_MOTION = 0.8
SAME_PLACE = 0.5
"""Overlap of a face's boxes in two frames, from which its place alone tells it: a third of its width a frame."""
FOUND_AGAIN = SAME_PERSON - 0.1
"""Distance of identity vectors up to which a face that place alone does not tell is the one followed; stricter than
dlib's threshold (our choice: better a frame left as it is than a stranger's face changed)."""
CUT = 0.9
"""Correlation of two frames in a row, both 32 x 32 and grey, below which they are two shots (our choice: a fast pan is
taken for a cut now and then, which costs no more than a look at the identity)."""

MOST_STRANGERS = 16
"""Looks of other people that are kept in mind."""

StageCallback = Callable[[str, int, int], None]
"""(what is done, frames done, frames in all)."""


@dataclass(frozen=True, eq=False)
class Track:
    """One face through F frames. found: (F,) bool; what a frame without it has is that of the frame before.

    crop: (F, 2, 3), frame → aligned 256 x 256 picture. mesh: (F, 468, 3), irises: (F, 2, 2), pixels of the frame.
    others: (F, K, 468, 2), meshes of other people's faces, not a number where there are fewer. regions: (F, 256, 256).
    expression, pose, gaze, light: as in `Motion` and `Face`. seconds: (F,), when each is shown.
    stretch: (F,) int, alike in frames without a cut or a gap between them.
    """

    found: np.ndarray
    crop: np.ndarray
    mesh: np.ndarray
    irises: np.ndarray
    regions: np.ndarray
    expression: np.ndarray
    pose: np.ndarray
    gaze: np.ndarray
    light: np.ndarray
    others: np.ndarray
    seconds: np.ndarray
    stretch: np.ndarray

    def smoothed(self) -> Track:
        """The same without jitter: places averaged over SMOOTH_CROP frames, motion over SMOOTH_MOTION, never across a
        cut or a gap. Regions are brought along into the new crops.
        """
        crop = smooth(self.crop.reshape(len(self.crop), 6), SMOOTH_CROP, self.stretch).reshape(-1, 2, 3)
        regions = [
            warp(regions, compose(new, invert(old)), SIZE, nearest=True, border=0)
            for regions, old, new in zip(self.regions, self.crop, crop)
        ]
        measured = {name: getattr(self, name) for name in ("mesh", "irises", "expression", "pose", "gaze", "light")}
        motion = {
            name: smooth(values.reshape(len(values), -1), SMOOTH_MOTION, self.stretch).reshape(values.shape)
            for name, values in measured.items()
        }
        return replace(self, crop=crop, regions=np.stack(regions), **motion)

    def other_faces(self, frame: int, shape: tuple[int, ...], triangles: np.ndarray) -> np.ndarray | None:
        """Where other people's faces are in a frame (H, W, …): (H, W) bool; None where there is none."""
        meshes = [mesh for mesh in self.others[frame] if np.isfinite(mesh).all()]
        return face_area(meshes, shape, triangles) if meshes else None

    def motion(self, frame: int) -> Motion:
        """What the face does in a frame."""
        return Motion(*(getattr(self, name)[frame].astype(np.float32) for name in ("expression", "pose", "gaze")))

    def portrait(self, frame: int, picture: np.ndarray, size: int, name: str) -> Portrait:
        """The face of a frame (H, W, 3) as a portrait of side ``size``."""
        crop = self.crop[frame] * (size / SIZE)
        scaled = np.array([[size / SIZE, 0, 0], [0, size / SIZE, 0]])
        regions = warp(self.regions[frame], scaled, size, nearest=True)
        light = self.light[frame].astype(np.float32)
        mesh, irises = (
            transform_points(points[frame], self.crop[frame]) * (size / SIZE) for points in (self.mesh, self.irises)
        )
        cut = warp(picture, crop, size, border="edge")
        return Portrait(cut, regions, self.motion(frame), light, crop, name, mesh, irises)


def smooth(values: np.ndarray, deviation: float, stretch: np.ndarray | None = None) -> np.ndarray:
    """Gaussian average over the first axis, (F, K), within each stretch (F,); at its ends over what is there. A
    constant stays one."""
    reach = max(int(np.ceil(3 * deviation)), 1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    frames = np.arange(len(values))
    index = frames[:, None] + np.arange(-reach, reach + 1)[None]
    there = (index >= 0) & (index < len(values))
    index = index.clip(0, len(values) - 1)
    if stretch is not None:
        there &= stretch[index] == stretch[:, None]
    share = weights[None] * there
    share /= share.sum(1, keepdims=True)
    return np.einsum("fr,frk->fk", share, values[index])


def follow(clip: Clip, reader: Any, number: int | None = None, progress: StageCallback | None = None) -> Track:
    """Track a face through a video: the one chosen in the first frame that shows any, and from then on the same person.

    In the next frame it is the face in its place; after a cut or a gap, and where nobody is in its place, the one whose
    identity is that of the frames before. Where it is too small, too far turned or cut off (`check_face`) it is
    followed but not found. reader: a ``FaceReader``. ``InputError`` if no frame shows a face that serves.
    """
    name = clip.path.name
    person: _TrackedFace | None = None
    rows: list[dict[str, np.ndarray]] = []
    others: list[list[np.ndarray]] = []
    found, seconds, stretch = list[bool](), list[float](), list[int]()
    refusal, glance = f"no face was found in any frame of {name}", None
    for done, (when, frame) in enumerate(clip.timed(), 1):
        before, glance = glance, _glance(frame)
        cut = before is not None and float((before * glance).mean()) < CUT
        faces = reader.read(frame, recognise=False)
        refusals = [_refusal(frame, face, name) for face in faces]
        serving = [face for face, reason in zip(faces, refusals) if reason is None]
        face, kept = None, False
        if person is not None:
            face, kept = person.find(faces, frame, cut)
        elif serving:
            face = choose_face(serving, number, name)
            person = _TrackedFace(reader, frame, face)
            person.remember(faces, face, frame)
        elif faces:
            refusal = f"no frame of {name} shows a face that can be used: {refusals[0]}"
        here = any(face is each for each in serving)
        stretch.append(stretch[-1] + int(cut or here != found[-1] or (here and not kept)) if stretch else 0)
        found.append(here)
        seconds.append(when)
        others.append([np.asarray(each.landmarks[:, :2], np.float32) for each in faces if each is not face])
        rows.append(_measured(face, reader.topology) if here and face is not None else rows[-1] if rows else {})
        if progress is not None:
            progress("following the face", done, max(clip.frames, done))
    if person is None:
        raise InputError(refusal)
    first = next(row for row in rows if row)
    columns = {name: np.stack([(row or first)[name] for row in rows]) for name in first}
    columns["others"] = _padded(through_gaps(others))
    return Track(found=np.array(found), seconds=np.array(seconds), stretch=np.array(stretch), **columns)


def _padded(frames: list[list[np.ndarray]]) -> np.ndarray:
    """Meshes of F frames, as many as the fullest has: (F, K, 468, 2) float32, not a number where there are fewer."""
    most = max(map(len, frames))
    padded = np.full((len(frames), most, 468, 2), np.nan, np.float32)
    for number, meshes in enumerate(frames):
        for place, mesh in enumerate(meshes):
            padded[number, place] = mesh
    return padded


class _TrackedFace:
    """Whom a track follows: where they were in the frame before, what they look like, and what the others look like."""

    def __init__(self, reader: Any, frame: np.ndarray, face: Face) -> None:
        self.reader = reader
        self.place: np.ndarray | None = face.box
        self.looks, self.seen = self._look(frame, face), 1
        self.strangers: list[np.ndarray] = []

    def find(self, faces: list[Face], frame: np.ndarray, cut: bool) -> tuple[Face | None, bool]:
        """Their face among those of the next frame, and whether it is known by its place."""
        near = []
        if self.place is not None and not cut:
            near = [face for face in faces if float(overlap(face.box, self.place)) >= SAME_PLACE]
        self.place = None
        looks = [(face, self._look(frame, face)) for face in near or faces]
        if not looks:
            return None, False
        far = [float(np.linalg.norm(look - self.looks / self.seen)) for _, look in looks]
        best = int(np.argmin(far))
        if far[best] < FOUND_AGAIN:
            self.looks, self.seen = self.looks + looks[best][1], self.seen + 1
        elif not near or self._is_stranger(looks[best][1], far[best]):
            return None, False
        face = looks[best][0]
        self.place = face.box
        self.remember(faces, face, frame)
        return face, bool(near)

    def remember(self, faces: list[Face], face: Face, frame: np.ndarray) -> None:
        """Note what the others in a frame look like: where people cross, one stands in the other's place."""
        for other in faces:
            if other is face:
                continue
            look = self._look(frame, other)
            if all(np.linalg.norm(look - known) >= FOUND_AGAIN for known in self.strangers):
                self.strangers = [*self.strangers, look][-MOST_STRANGERS:]

    def _is_stranger(self, look: np.ndarray, far: float) -> bool:
        """Whether a look is another person's rather than the followed one's, from whose it is this far."""
        return any(float(np.linalg.norm(look - known)) < far for known in self.strangers)

    def _look(self, frame: np.ndarray, face: Face) -> np.ndarray:
        """The identity vector (128,) of a face in a frame."""
        aligned = warp(frame, np.asarray(face.crop, np.float64), SIZE, border="edge")
        with torch.inference_mode():
            return self.reader.identity(to_model(aligned[None]))[0].numpy()


def _refusal(frame: np.ndarray, face: Face, name: str) -> str | None:
    """Why a face cannot be used; None if it can."""
    try:
        check_face(frame, face, name)
    except InputError as error:
        return str(error)
    return None


def _glance(frame: np.ndarray) -> np.ndarray:
    """A frame as 32 x 32 brightnesses of mean 0 and spread 1; a blank one as zeros, which is like no other."""
    grey = resize(frame, (32, 32)).mean(-1)
    grey -= grey.mean()
    return grey / max(float(grey.std()), 1e-6) if grey.std() > 1 else np.zeros_like(grey)


def _measured(face: Face, topology: Any) -> dict[str, np.ndarray]:
    mesh = transform_points(face.landmarks, face.crop)
    motion = motion_of(mesh, face.expression, face.gaze, topology)
    regions = warp(face.regions, face.crop, SIZE, nearest=True, border=0)
    crop = np.asarray(face.crop, np.float64)
    return {
        "crop": crop,
        "mesh": np.asarray(face.landmarks, np.float32),
        "irises": np.asarray(face.irises[:, 0], np.float32),
        "regions": regions,
        "light": np.asarray(face.light, np.float64),
        **vars(motion),
    }
