"""Plans on videos: a face swapped into every frame, or a photo that does what a video's face does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.groups import groups
from limner.errors import InputError
from limner.faces.video import Clip
from limner.provenance import manifest as c2pa_manifest
from limner.provenance.consent import Statement, stating
from limner.provenance.picture import message_of
from limner.provenance.watermark import embed
from limner.settings import BATCH
from limner.weights.registry import hash_file

from .edit_inputs import EditInputs, Subject, ingredients
from .engine import FaceX, check_settings
from .face_track import StageCallback, Track, follow
from .plan import CANVAS, EditPlan
from .video_writer import FrameStore, ingredient_of, sign_video, write_video


def edit_video(
    editor: FaceX,
    plan: EditPlan,
    video: Path,
    role: str,
    stills: Mapping[str, Subject],
    out: Path,
    face: int | None = None,
    seed: int = 0,
    steps: int = 25,
    guidance: float | None = None,
    identity_guidance: float | None = None,
    warp_strength: float | None = None,
    sampler: str = "euler",
    watermark: bool = True,
    manifest: bool | None = None,
    consent: Statement | None = None,
    progress: StageCallback | None = None,
) -> dict[str, Any]:
    """Edit a video, or a photo by a video, and write an MP4 with the video's sound; returns its recipe.

    role: which of the plan's photos the video is: ``photo`` edits every frame; any other gives its motion to a still.
    stills: the other photos. face: which face of the video, in the first frame that shows one. consent: how it was
    stated, for the recipe. The same noise in every frame, and one smoothed track, keep it steady; ``BATCH`` frames are
    painted at once. What is done survives an interruption. ``recipe["video"]`` says how many ``frames`` there are, in
    how many the face is ``unseen`` (see `follow`), and whether the file was ``cut_off`` before its end. Frames of an
    edited video without the face stay as they are, a photo that is moved stays as in the frame before. Raises
    ``InputError``.
    """
    if out.suffix.lower() != ".mp4":
        raise InputError(f"{out.name}: the output video must be an .mp4 file")
    strength = editor.components.strength.replaced(guidance, identity_guidance, warp_strength)
    check_settings(seed, steps, strength, sampler)
    signed = c2pa_manifest.available() if manifest is None else manifest
    clip = Clip.open(video)
    recipe = editor.recipe(plan, stills, seed, steps, strength, sampler)
    about = {"file": video.name, "as": role, "face": face or 1, "sha256": hash_file(video)[:16]}
    recipe = stating(recipe | {"video": about}, consent) | {"watermark": watermark, "manifest": signed}
    workshop = FrameStore(out, recipe)
    track = workshop.track(lambda: follow(clip, editor.reader, face, progress)).smoothed()
    about |= {"frames": len(track.found), "unseen": int((~track.found).sum())}
    if not clip.whole:
        about["cut_off"] = True
    message = message_of(recipe)

    def make(group: list[tuple[int, np.ndarray]]) -> Iterator[np.ndarray]:
        """Edited frames; those of a video in which the face is not to be seen stay as they are."""
        edited = [(number, frame) for number, frame in group if role != CANVAS or track.found[number]]
        prepared: list[EditInputs] = []
        for number, frame in edited:
            subject = _subject(editor, track, number, frame, role, stills, video.name)
            prepared.append(editor.prepare(plan, {**stills, role: subject}, seed))
        painted = iter(editor.paint(prepared, steps, strength, sampler) if prepared else ())
        pictures = {}
        for (number, _), each in zip(edited, prepared):
            picture = each.blend(next(painted))
            pictures[number] = embed(picture, message, each.photo) if watermark else picture
        for number, frame in group:
            yield pictures.get(number, frame)

    def frames() -> Iterator[np.ndarray]:
        for group in groups(enumerate(clip), BATCH):
            missing = [(number, frame) for number, frame in group if not workshop.has(number)]
            for (number, _), picture in zip(missing, make(missing)):
                workshop.keep(number, picture)
            for number, _ in group:
                yield workshop.frame(number)
                if progress is not None:
                    progress("painting", number + 1, len(track.found))

    pixel = clip.pixel if role == CANVAS else Fraction(1)
    write_video(out, frames(), clip.rate, video, recipe, track.seconds.tolist(), pixel)
    if signed:
        sign_video(out, recipe, (*ingredients(stills), ingredient_of(video, role == CANVAS)))
    workshop.close()
    return recipe


def _subject(
    editor: FaceX,
    track: Track,
    number: int,
    frame: np.ndarray,
    role: str,
    stills: Mapping[str, Subject],
    name: str,
) -> Subject:
    """The video's face in one frame. As a driver it gives its motion alone, so nothing else of it is taken apart."""
    portrait = track.portrait(number, frame, editor.components.base.size, name)
    if role == CANVAS:
        others = track.other_faces(number, frame.shape, editor.reader.topology.triangles)
        portrait = portrait.without(others)
        return Subject(frame, portrait, editor.components.decomposer.decompose([portrait]), name, 1, others)
    factors = stills[CANVAS].factors.with_motion(*portrait.motion.normalised())
    return Subject(frame, portrait, factors, name, 1)
