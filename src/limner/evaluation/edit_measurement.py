"""One edit, measured: made as `limner edit` makes it, read again, and held against what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from limner.errors import InputError
from limner.faces.geometry import overlap, paste_back, transform_points, warp
from limner.faces.motion import eye_corners, gaze_direction, head_pose
from limner.faces.picture import Source, read_picture
from limner.faces.reader import FaceReader
from limner.faces.record import Face, choose_face
from limner.models.facex.edit_inputs import Subject
from limner.models.facex.engine import FaceX
from limner.models.facex.plan import CANVAS, EditPlan

SAME_PLACE = 0.3
"""Overlap of boxes from which on a face of the result is the one that was edited."""


@dataclass(frozen=True)
class EditSampling:
    """How edits are sampled. Scales that are None are the defaults of the weights. Edit k of a suite has seed + k."""

    steps: int = 20
    guidance: float | None = None
    identity_guidance: float | None = None
    warp_strength: float | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class AnalysedPhoto:
    """A photo that was read: its largest face, as measured and as taken apart."""

    face: Face
    subject: Subject

    @property
    def photo(self) -> np.ndarray:
        """(H, W, 3) uint8."""
        return self.subject.photo

    @property
    def picture(self) -> np.ndarray:
        """The face cut out aligned, (S, S, 3) uint8."""
        return self.subject.portrait.picture


@dataclass(frozen=True, eq=False)
class Edited:
    """photo: (H, W, 3) uint8. painted: the aligned crop (S, S, 3) before it was blended in. shown: the same crop of the
    photo after. kept: whether every pixel outside the painted region is exactly the photo's. face: the edited face,
    read again; None where none was found."""

    photo: np.ndarray
    painted: np.ndarray
    shown: np.ndarray
    kept: bool
    face: Face | None


def analyse_photo(editor: FaceX, source: Source, name: str) -> AnalysedPhoto | None:
    """A photo, read and taken apart; None for one that the editor refuses (no face, cut off, turned away)."""
    try:
        photo = read_picture(source, name)
        face = choose_face(editor.reader.read(photo), None, name)
        return AnalysedPhoto(face, editor.taken_apart(photo, face, name))
    except InputError:
        return None


def edit(
    editor: FaceX, plan: EditPlan, looks: Mapping[str, AnalysedPhoto], sampling: EditSampling, number: int = 0
) -> Edited:
    """Edit number ``number`` of a suite. looks: the photos that the plan names, the edited one under ``CANVAS``."""
    canvas = looks[CANVAS]
    subjects = {name: look.subject for name, look in looks.items()}
    prepared = editor.prepare(plan, subjects, sampling.seed + number)
    strength = editor.components.strength.replaced(
        sampling.guidance, sampling.identity_guidance, sampling.warp_strength
    )
    painted = editor.paint([prepared], sampling.steps, strength, "euler")[0]
    crop = canvas.subject.portrait.crop
    photo = prepared.blend(painted)
    nothing = np.zeros(photo.shape[:2], np.uint8)
    outside = paste_back(prepared.mask.astype(np.uint8), crop, nothing, nearest=True) == 0
    kept = bool(np.array_equal(photo[outside], canvas.photo[outside]))
    found = [face for face in editor.reader.read(photo) if overlap(face.box, canvas.face.box) >= SAME_PLACE]
    shown = warp(photo, crop, len(painted))
    return Edited(photo, painted, shown, kept, found[0] if found else None)


def motion_distances(one: Face, other: Face) -> dict[str, float]:
    """pose: length of the difference of yaw, pitch and roll, degrees. expression: mean difference of its 44 measures,
    0..1. gaze: length of the difference of its two angles, degrees."""
    angles = [np.array([face.pose.yaw, face.pose.pitch, face.pose.roll]) for face in (one, other)]
    return {
        "pose": float(np.linalg.norm(angles[0] - angles[1])),
        "expression": float(np.abs(one.expression - other.expression).mean()),
        "gaze": float(np.linalg.norm(one.gaze - other.gaze)),
    }


def gaze_of(reader: FaceReader, photo: np.ndarray, face: Face) -> np.ndarray:
    """Where a face looks, (2,) degrees as `Face.gaze`, from eye corners that are the mean of what two networks say.

    The mesh's corners alone go along with irises that look up or down, though they stand still in the picture; those
    of the iris network err otherwise. Our choice: because of drafts of known gaze the mean tells most.
    """
    irises, seen = reader.irises.find_eyes(photo, face.landmarks)
    corners = (eye_corners(face.landmarks) + seen) / 2
    mesh, irises, corners = (transform_points(each, face.crop) for each in (face.landmarks, irises, corners))
    return gaze_direction(mesh, irises, head_pose(mesh, reader.topology), corners)
