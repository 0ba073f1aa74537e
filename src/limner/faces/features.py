"""What the face is shaped and coloured like: skin, face, brows, eyes, nose, lips, ears.

Shapes come from the mesh seen from the front, in centimetres at an eye distance of 6.3; their borders are quantiles
over 5,000 synthetic, generated and photographed faces, so "wide" means wider than most. They are measured on heads
that are not turned.
"""

from __future__ import annotations

import numpy as np

from limner.faces.evidence import Evidence, graded, yes_or_no
from limner.faces.record import Attribute
from limner.faces.regions import Region

MESH = "face-mesh geometry"
COLOUR = "colour statistics"


def features(face: Evidence) -> dict[str, Attribute]:
    """Attributes of skin and features that this face allows."""
    found = {**_visible(face), **_skin(face), **_lips(face), **_eye_colour(face)}
    if face.frontal:
        found |= {**_outline(face), **_brows(face), **_eye_shape(face), **_nose(face)}
    return found


def _visible(face: Evidence) -> dict[str, Attribute]:
    ears = 256**2 * face.share(Region.LEFT_EAR, Region.RIGHT_EAR)
    neck = 256**2 * face.share(Region.NECK)
    return {
        "ears_visible": yes_or_no(ears, 150, 70, "region map"),
        "neck_visible": yes_or_no(neck, 400, 200, "region map"),
    }


def _skin(face: Evidence) -> dict[str, Attribute]:
    skin = face.skin
    if skin is None or np.hypot(skin[1], skin[2]) < 4:  # no colour, no tone
        return {}
    tone = float(np.degrees(np.arctan2(skin[0] - 50, skin[2])))  # individual typology angle (Chardon et al. 1991)
    names = ("dark", "brown", "tan", "medium", "light", "very light")
    found = {"skin_tone": graded(tone, (-30, 10, 28, 41, 55), names, 7, COLOUR)}
    cheeks = np.concatenate([face.patch(p, 8, Region.SKIN) for p in (205, 425, 50, 280)])
    rest = np.concatenate([face.patch(p, 8, Region.SKIN) for p in (151, 9, 108, 337)])
    if len(cheeks) > 150 and len(rest) > 100:
        rosier = float(np.median(cheeks[:, 1]) - np.median(rest[:, 1]))
        found["rosy_cheeks"] = yes_or_no(rosier, 8.5, 1.5, COLOUR)
    return found


def _lips(face: Evidence) -> dict[str, Attribute]:
    skin, area = face.skin, face.area(Region.UPPER_LIP, Region.LOWER_LIP)
    found: dict[str, Attribute] = {}
    if face.frontal:
        thickness = face.head[13][1] - face.head[0][1] + face.head[17][1] - face.head[14][1]
        found["lip_fullness"] = graded(float(thickness), (1.27, 1.60), ("thin", "medium", "full"), 0.09, MESH)
    if skin is None or area.sum() < 120 or np.hypot(skin[1], skin[2]) < 4:
        return found
    lips = np.median(face.colours(area), 0)
    redder, darker = float(lips[1] - skin[1]), float(skin[0] - lips[0])
    # 95 % of men and children, who mostly wear none, stay below 17.
    found["lipstick"] = yes_or_no(redder, 17.5, 3.5, COLOUR)
    if redder < 15:
        found["lip_colour"] = Attribute("natural", yes_or_no(15 - redder, 0, 3.5, "").confidence, COLOUR)
    elif lips[0] < 34 and darker > 18:
        found["lip_colour"] = Attribute("dark", yes_or_no(34 - float(lips[0]), 0, 4, "").confidence, COLOUR)
    else:
        red = float(lips[1] - 28) - 0.8 * float(lips[0] - 48)
        found["lip_colour"] = Attribute("red" if red > 0 else "pink", yes_or_no(red, 0, 6, "").confidence, COLOUR)
    return found


def _eye_colour(face: Evidence) -> dict[str, Attribute]:
    """Median colour of the iris between pupil and rim, where the eye shows it and the photo has the pixels for it."""
    if face.enlarged > 2 or face.hidden_eyes:
        return {}
    rows, columns = np.mgrid[:256, :256] + 0.5
    eyes = face.area(Region.LEFT_EYE, Region.RIGHT_EYE, Region.EYE_GLASSES)
    pixels = []
    for iris in face.irises:
        radius = float(np.linalg.norm(iris[1:] - iris[0], axis=1).mean())
        distance = np.hypot(columns - iris[0, 0], rows - iris[0, 1])
        ring = (distance > 0.45 * radius) & (distance < 0.85 * radius) & eyes & face.inside
        pixels.append(face.lab[ring & (rows > iris[0, 1] - 0.5 * radius)])  # the upper lid shades the rest
    lab = np.concatenate(pixels)
    skin = face.skin
    if len(lab) < 24 or skin is None or np.hypot(skin[1], skin[2]) < 4:
        return {}
    darker = lab[lab[:, 0] < np.percentile(lab[:, 0], 85)]
    if not len(darker):  # one flat colour is no iris
        return {}
    lightness, a, b = (float(v) for v in np.median(darker, 0))
    warm = b - 0.35 * float(skin[2])  # eyes take on the colour of the light, as skin does
    if lightness < 24 or warm > 3.5:
        value, margin = "brown", max(warm - 3.5, (24 - lightness) / 2)
    elif warm < -5.5:
        value, margin = "blue", -5.5 - warm
    elif a < -2.5 and warm > -3:
        value, margin = "green", -2.5 - a
    else:
        value, margin = "grey", 1.0
    return {"eye_colour": Attribute(value, yes_or_no(margin, 0, 3.0, "").confidence, COLOUR)}


def _outline(face: Evidence) -> dict[str, Attribute]:
    head = face.head
    across = lambda a, b: abs(float(head[a][0] - head[b][0]))  # noqa: E731
    cheeks, jaw, chin = across(234, 454), across(172, 397), across(150, 379)
    temples, height = across(54, 284), float(head[152][1] - head[10][1])
    long, angular, tapering = height / cheeks, jaw / cheeks, temples / jaw
    # How far each shape's own ratio stands out from the population, in standard deviations.
    standing_out = {
        "long": (long - 1.20) / 0.058,
        "round": (1.20 - long) / 0.058,
        "square": (angular - 0.80) / 0.021 - 0.3,
        "heart": (tapering - 1.083) / 0.052 - 0.3,
    }
    shape, most = max(standing_out.items(), key=lambda item: item[1])
    found = {"jaw": graded(angular, (0.781, 0.820), ("narrow", "medium", "wide"), 0.008, MESH)}
    if most < 0.9:
        found["face_shape"] = Attribute("oval", yes_or_no(0.9 - most, 0, 0.4, "").confidence, MESH)
    else:
        found["face_shape"] = Attribute(shape, yes_or_no(most - 0.9, 0, 0.4, "").confidence, MESH)
    del chin
    return found


def _brows(face: Evidence) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {}
    thickness, colours = [], []
    for region, inner, outer in ((Region.RIGHT_BROW, 55, 46), (Region.LEFT_BROW, 285, 276)):
        area = face.area(region)
        length = float(np.linalg.norm(face.mesh[inner, :2] - face.mesh[outer, :2]))
        if area.sum() > 40 and length > 10:
            thickness.append(float(area.sum()) / length / face.pose.scale)  # centimetres
            colours.append(face.colours(area))
    if len(thickness) == 2:
        found["brow_thickness"] = graded(
            float(np.mean(thickness)), (0.62, 0.86), ("thin", "medium", "thick"), 0.07, "region map"
        )
    head = face.head
    rise = [(head[a][1] + head[c][1]) / 2 - head[b][1] for a, b, c in ((107, 105, 70), (336, 334, 300))]
    found["brow_shape"] = yes_arched(float(np.mean(rise)))
    return found


def yes_arched(rise: float) -> Attribute:
    """Whether a brow whose middle stands this far above its ends (centimetres) is arched."""
    graded_rise = yes_or_no(rise, 0.53, 0.03, MESH)
    return Attribute("arched" if graded_rise.value else "straight", graded_rise.confidence, MESH)


def _eye_shape(face: Evidence) -> dict[str, Attribute]:
    head = face.head
    found: dict[str, Attribute] = {}
    widths, heights = [], []
    for outer, inner, lids in ((33, 133, (158, 160, 144, 153)), (263, 362, (385, 387, 373, 380))):
        widths.append(float(np.linalg.norm(head[outer] - head[inner])))
        heights.append(float(head[list(lids[2:]), 1].mean() - head[list(lids[:2]), 1].mean()))
    width, height = float(np.mean(widths)), float(np.mean(heights))
    distance = abs(float(head[362][0] - head[133][0]))
    found["eye_spacing"] = graded(distance / width, (1.225, 1.295), ("close", "average", "wide"), 0.015, MESH)
    if height / width > 0.2:  # open enough to tell
        found["eye_shape"] = graded(height / width, (0.25, 0.325), ("narrow", "almond", "round"), 0.02, MESH)
        found["eye_size"] = graded(width * height, (1.85, 2.35), ("small", "medium", "large"), 0.12, MESH)
    return found


def _nose(face: Evidence) -> dict[str, Attribute]:
    head = face.head
    width = abs(float(head[358][0] - head[129][0]))
    length = float(head[2][1] - head[168][1])
    return {
        "nose_width": graded(width, (3.95, 4.47), ("narrow", "medium", "wide"), 0.10, MESH),
        "nose_length": graded(length, (4.76, 5.14), ("short", "medium", "long"), 0.08, MESH),
    }
