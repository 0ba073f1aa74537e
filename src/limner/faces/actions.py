"""What the face is doing: mouth, eyes, brows, head. All from the mesh, but for the teeth, which are looked at.

Directions are the subject's: "left" is to the right of the picture.
"""

from __future__ import annotations

import numpy as np

from limner.faces.emotion import EMOTIONS
from limner.faces.evidence import Evidence, graded, yes_or_no
from limner.faces.record import Attribute
from limner.faces.regions import Region

MESH = "face-mesh geometry"


def actions(face: Evidence) -> dict[str, Attribute]:
    """Attributes of the family "action" and "emotion" that this face allows."""
    found = {**_head(face), **_eyes(face), **_mouth(face)}
    best = int(face.emotion.argmax())
    found["emotion"] = Attribute(EMOTIONS[best], float(face.emotion[best]), "face-expression network")
    return found


def _head(face: Evidence) -> dict[str, Attribute]:
    turn = graded(
        face.pose.yaw, (-40, -15, 15, 40), ("profile right", "right", "frontal", "left", "profile left"), 4, MESH
    )
    nod = graded(face.pose.pitch, (-14, 14), ("down", "level", "up"), 4, MESH)
    tilt = graded(face.photo_roll, (-8, 8), ("right", "upright", "left"), 2, MESH)
    return {"head_turn": turn, "head_nod": nod, "head_tilt": tilt}


def _eyes(face: Evidence) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {}
    if face.hidden_eyes:
        return found
    opening = np.array(
        [_opening(face, side) for side in ((33, 133, 158, 160, 144, 153), (263, 362, 385, 387, 373, 380))]
    )
    if abs(face.pose.yaw) < 35:
        found["eyes"] = graded(float(opening.mean()), (0.155, 0.225), ("closed", "narrowed", "open"), 0.025, MESH)
        difference = abs(float(opening[0] - opening[1]))
        found["wink"] = yes_or_no(min(difference - 0.12, 0.17 - float(opening.min())), 0.0, 0.03, MESH)
        look = face.gaze if found["eyes"].value != "closed" else None
        if look is not None:
            found["gaze"] = _gaze(look)
    if face.frontal:
        names = ("brow_inner_up", "brow_outer_up_left", "brow_outer_up_right")
        raised = float(np.mean([face.expression[name] for name in names]))
        found["brows_raised"] = yes_or_no(raised, 0.45, 0.15, MESH)
        lowered = (face.expression["brow_down_left"] + face.expression["brow_down_right"]) / 2
        found["frown"] = yes_or_no(lowered + 0.4 * float(face.emotion[EMOTIONS.index("angry")]), 0.45, 0.15, MESH)
    return found


def _opening(face: Evidence, points: tuple[int, ...]) -> float:
    """Height of an eye over its width."""
    outer, inner, *lids = (face.head[point] for point in points)
    return float((lids[2][1] + lids[3][1] - lids[0][1] - lids[1][1]) / 2 / np.linalg.norm(outer - inner))


def _gaze(look: np.ndarray) -> Attribute:
    yaw, pitch = float(look[0]), float(look[1])
    sideways = graded(yaw, (-14, 14), ("right", "at the camera", "left"), 5, "iris network")
    upright = graded(pitch, (-13, 13), ("down", "at the camera", "up"), 5, "iris network")
    if sideways.value == upright.value:
        return Attribute("at the camera", sideways.confidence * upright.confidence, "iris network")
    if upright.value == "at the camera" or (sideways.value != "at the camera" and abs(yaw) >= abs(pitch)):
        return sideways
    return upright


def _mouth(face: Evidence) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {}
    if abs(face.pose.yaw) > 40:
        return found
    smile = smile_strength(face)
    found["smile"] = graded(
        smile, (0.25, 0.68), ("none", "slight", "broad"), 0.10, "face-mesh geometry, emotion network"
    )
    gap = float(np.linalg.norm(face.head[13] - face.head[14]))
    width = float(np.linalg.norm(face.head[61] - face.head[291]))
    found["mouth_open"] = yes_or_no(gap, 0.65, 0.15, MESH)
    teeth = _teeth(face)
    if teeth is not None:
        found["teeth_visible"] = teeth
        laughing = min(smile - 0.68, (gap - 1.3) / 2)
        found["laugh"] = yes_or_no(laughing if teeth.value else min(laughing, -0.1), 0.0, 0.1, MESH)
    if face.frontal:
        pucker = max(face.expression["mouth_pucker"], face.expression["mouth_funnel"] * (width < 4.4))
        found["pout"] = yes_or_no(pucker, 0.5, 0.15, MESH)
    return found


def smile_strength(face: Evidence) -> float:
    """0..1: corners drawn up and out, as the mesh shows them, and the emotion network's "happy", equally weighted."""
    drawn = (face.expression["mouth_smile_left"] + face.expression["mouth_smile_right"]) / 2
    return float(0.5 * drawn + 0.5 * face.emotion[EMOTIONS.index("happy")])


def _teeth(face: Evidence) -> Attribute | None:
    """Teeth are light and almost colourless between the lips."""
    skin = face.skin
    inner = face.area(Region.MOUTH)
    if skin is None:
        return None
    if inner.sum() < 25:
        return Attribute(False, 0.9, "region map")
    lab = face.colours(inner)
    light = (lab[:, 0] > skin[0] - 12) & (np.hypot(lab[:, 1], lab[:, 2]) < np.hypot(skin[1], skin[2]) + 4)
    return yes_or_no(float(light.sum()), 30.0, 20.0, "colour inside the mouth")
