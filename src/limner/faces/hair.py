"""Hair: its colour, length and texture, where it begins, and whether there is any.

Read off the hair region of the aligned picture, which ends a little below the chin: what hangs lower counts as long.
"""

from __future__ import annotations

import numpy as np

from limner.faces.evidence import SIZE, Evidence, eroded, graded, yes_or_no
from limner.faces.record import Attribute
from limner.faces.regions import Region

COLOUR = "colour statistics"
MAP = "region map"
FEWEST = 400  # pixels of hair whose colour can be told

# Softmax regression on `hair_statistics`: a bias, then one weight a statistic. Fitted by `tools/convert/faces_hair.py`.
COLOURS: dict[str, tuple[float, ...]] = {
    "black": (5.7351, -0.0275, -0.0386, -0.0314, -0.0183, -0.0072, -0.0571, -0.0971, -0.0330, -0.0019, -0.0366),
    "brown": (3.5372, -0.0170, -0.0221, -0.0177, -0.0113, -0.0140, 0.1394, 0.0419, -0.0068, 0.0068, -0.0070),
    "blond": (-3.4647, -0.0147, 0.0225, 0.0238, 0.0137, 0.0139, -0.0890, 0.0886, 0.0634, -0.1032, 0.0653),
    "red": (-2.0951, -0.0163, -0.0284, -0.0281, -0.0119, 0.0010, 0.1325, 0.0678, 0.0727, 0.1397, 0.0416),
    "grey": (1.0827, -0.0153, 0.0391, 0.0373, 0.0039, -0.0123, -0.0603, -0.0681, -0.0364, -0.0099, -0.0161),
    "white": (-4.7953, 0.0908, 0.0275, 0.0161, 0.0239, 0.0186, -0.0655, -0.0330, -0.0599, -0.0316, -0.0473),
}


def hair(face: Evidence) -> dict[str, Attribute]:
    """Attributes of the hair that this face allows."""
    covered = face.scores["hat"]["yes"] > 0.5
    found: dict[str, Attribute] = {}
    if not covered:
        found |= _amount(face)
    if found.get("bald") is None or not found["bald"].value:
        found |= _colour(face)
    return found


def _amount(face: Evidence) -> dict[str, Attribute]:
    """Baldness and length. Areas are in square centimetres, so that they mean the same on every face."""
    hair = face.area(Region.HAIR)
    unit = face.pose.scale**2
    rows = np.arange(SIZE)[:, None] + 0.5
    chin, mouth = float(face.mesh[152, 1]), float(face.mesh[[61, 291], 1].mean())
    low, middle = float((hair & (rows > chin)).sum()) / unit, float((hair & (rows > mouth)).sum()) / unit
    found = {"bald": yes_or_no(0.8 - _crown(face), 0.0, 0.4, MAP)}
    if found["bald"].value and middle < 3:
        found["hair_length"] = Attribute("bald", found["bald"].confidence, MAP)
    elif low > 11:
        found["hair_length"] = Attribute("long", yes_or_no(low, 11, 6, "").confidence, MAP)
    elif middle > 4:
        found["hair_length"] = Attribute("medium", yes_or_no(middle, 4, 4, "").confidence, MAP)
    else:
        found["hair_length"] = Attribute("short", yes_or_no(4 - middle, 0, 2.5, "").confidence, MAP)
    if not found["bald"].value and face.frontal:
        found |= _forehead(face)
    return found


def _crown(face: Evidence) -> float:
    """Mean height of the hair over the forehead, centimetres."""
    left, right = sorted((float(face.mesh[103, 0]), float(face.mesh[332, 0])))
    brows = max(int(face.mesh[[105, 334], 1].mean()), 1)
    above = face.area(Region.HAIR)[:brows, max(int(left), 0) : max(int(right), 0) + 1]
    return float(above.sum(0).mean()) / face.pose.scale if above.size else 0.0


def _forehead(face: Evidence) -> dict[str, Attribute]:
    """Fringe, and the height of the hairline over the brows."""
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    top, brow = float(face.mesh[10, 1]), float(face.mesh[[9, 66, 296], 1].mean())
    left, right = sorted((float(face.mesh[104, 0]), float(face.mesh[333, 0])))
    fore = (rows > top + 0.25 * (brow - top)) & (rows < brow) & (columns > left) & (columns < right) & face.inside
    shown = face.regions[fore]
    if len(shown) < 200:
        return {}
    fringe = float((shown == Region.HAIR).mean())
    found = {"bangs": yes_or_no(fringe, 0.09, 0.05, MAP)}
    if not found["bangs"].value:
        middle = slice(int((left * 2 + right) / 3), int((left + right * 2) / 3) + 1)
        skin = face.regions[: int(brow), middle] != Region.HAIR
        run = skin[::-1].cumprod(0).sum(0)  # rows of no hair above the brows, in each column
        height = float(np.median(run)) / face.pose.scale
        if height < 0.98 * brow / face.pose.scale:  # otherwise the hairline lies outside the picture
            found["hairline"] = graded(height, (4.6, 6.1), ("low", "medium", "high"), 0.4, MAP)
    return found


def _colour(face: Evidence) -> dict[str, Attribute]:
    area = eroded(face.area(Region.HAIR), 2)
    if area.sum() < FEWEST:
        return {}
    statistics = hair_statistics(face.colours(area))
    if _dyed(statistics):
        return {}
    value, confidence = hair_colour(statistics)
    return {"hair_colour": Attribute(value, confidence, COLOUR)}


def hair_statistics(lab: np.ndarray) -> np.ndarray:
    """What the colour of hair is judged by, from its pixels (N, 3) CIELAB.

    Returns (10,): the 10th, 25th, 50th, 75th and 90th percentile of the lightness, median a* and b*, median chroma, and
    median a* and b* of the lightest quarter.
    """
    lightness = np.percentile(lab[:, 0], [10, 25, 50, 75, 90])
    a, b = np.median(lab[:, 1]), np.median(lab[:, 2])
    chroma = np.median(np.hypot(lab[:, 1], lab[:, 2]))
    shine = lab[lab[:, 0] >= lightness[3]]
    return np.array([*lightness, a, b, chroma, np.median(shine[:, 1]), np.median(shine[:, 2])])


def _dyed(statistics: np.ndarray) -> bool:
    """Whether hair has a colour that the vocabulary has no word for: green, blue, purple, pink."""
    a, b = statistics[5:7]
    hue = float(np.degrees(np.arctan2(b, a))) % 360
    return bool(np.hypot(a, b) > 12 and not (hue < 102 or hue > 352))


def hair_colour(statistics: np.ndarray) -> tuple[str, float]:
    """Colour name for `hair_statistics`, and its probability."""
    table = np.array(list(COLOURS.values()))  # (6, 11)
    scores = table[:, 0] + table[:, 1:] @ statistics
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    return list(COLOURS)[int(shares.argmax())], float(shares.max())
