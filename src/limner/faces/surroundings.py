"""What the picture is like around the face: background, light, clothes, sharpness, colour or not."""

from __future__ import annotations

import numpy as np

from limner.faces.colour import dominant_name
from limner.faces.evidence import SIZE, Evidence, eroded, graded, yes_or_no
from limner.faces.light import light_direction
from limner.faces.record import Attribute
from limner.faces.regions import Region

COLOUR = "colour statistics"
FEWEST = 600  # pixels of the aligned picture below which a background or a garment is not judged


def surroundings(face: Evidence) -> dict[str, Attribute]:
    """Attributes of the family "picture" that this face allows."""
    return {**_background(face), **_light(face), **_clothes(face), **_picture(face)}


def _background(face: Evidence) -> dict[str, Attribute]:
    area = eroded(face.area(Region.BACKGROUND), 2)
    if area.sum() < FEWEST:
        return {}
    lab = face.colours(area)
    mean = float(lab[:, 0].mean())
    name, share = dominant_name(lab)
    spread = float(np.sqrt(lab.var(0).sum()))
    return {
        "background_brightness": graded(mean, (37, 69), ("dark", "medium", "bright"), 6, COLOUR),
        "background_colour": Attribute(name, share, COLOUR),
        "background_plain": yes_or_no(-spread, -12, 4, COLOUR),
    }


def _light(face: Evidence) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {}
    lightness = float(face.lab[face.inside][:, 0].mean())
    found["lighting"] = graded(lightness, (30, 66), ("dim", "normal", "bright"), 6, COLOUR)
    right, up, _ = light_direction(face.light)
    if abs(face.pose.yaw) < 35 and face.area(Region.SKIN).sum() > FEWEST:
        strength = 0.26
        if max(abs(right), up) < strength:
            borders = min(strength - abs(right), strength - up)
            found["light_direction"] = Attribute(
                "front", yes_or_no(borders, 0, 0.08, "").confidence, "light on the mesh"
            )
        else:
            name = "above" if up >= abs(right) else "left" if right > 0 else "right"
            margin = max(abs(right), up) - strength
            found["light_direction"] = Attribute(name, yes_or_no(margin, 0, 0.08, "").confidence, "light on the mesh")
    return found


def _clothes(face: Evidence) -> dict[str, Attribute]:
    area = eroded(face.area(Region.CLOTH), 2)
    if area.sum() < FEWEST:
        return {}
    name, share = dominant_name(face.colours(area))
    return {"clothing_colour": Attribute(name, share, COLOUR)} if share > 0.35 else {}


def _picture(face: Evidence) -> dict[str, Attribute]:
    lab = face.lab[face.inside]
    spread = float(np.sqrt(lab[:, 1:].var(0).sum()))
    return {
        "picture_colour": Attribute(
            "colour" if spread > 2.2 else "black and white",
            yes_or_no(spread, 2.2, 0.6, "").confidence,
            COLOUR,
        ),
        "sharpness": graded(sharpness(face), (0.013, 0.030), ("blurred", "soft", "sharp"), 0.004, "detail statistics"),
    }


def sharpness(face: Evidence) -> float:
    """Strength of the finest detail around the eyes, in shares of the contrast there: about 0.05 for a crisp face, 0.03
    after a Gaussian blur of 0.7 pixels, 0.017 after 1.2, 0.009 after 2.

    The Laplacian of the lightness, its 90th percentile, in the square around eyes and nose, over the lightness's
    spread; divided by how much the photo was enlarged, because invented pixels hold no detail.
    """
    left, right = face.mesh[[127, 356], 0]
    top, bottom = face.mesh[105, 1], face.mesh[2, 1]
    rows = slice(max(int(top), 1), min(int(bottom), SIZE - 1))
    columns = slice(max(int(min(left, right)), 1), min(int(max(left, right)), SIZE - 1))
    light = face.lab[..., 0]
    laplacian = 4 * light[1:-1, 1:-1] - light[:-2, 1:-1] - light[2:, 1:-1] - light[1:-1, :-2] - light[1:-1, 2:]
    patch, detail = light[rows, columns], np.abs(laplacian[rows, columns])
    if patch.size < 100 or detail.size < 100:
        return 0.0
    contrast = max(float(np.percentile(patch, 95) - np.percentile(patch, 5)), 5.0)
    return float(np.percentile(detail, 90)) / contrast / max(face.enlarged, 1.0) / 4
