"""What of a face cannot be seen, and the attributes that are not stated for it."""

from __future__ import annotations

import numpy as np

from limner.faces.evidence import Evidence
from limner.faces.regions import Region

LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""Mesh points along the outer rim of the lips."""
EYES = ((33, 133, 159, 145), (263, 362, 386, 374))
"""Corners and lids of each eye."""
LIPS_SHOWN = 0.3
"""Share of the mesh's lips that the region map has to call lips or mouth, for the mouth to be seen."""
FLAT = 1.5
"""Interquartile range of the lightness (CIELAB) in and around an eye, below which something flat covers it: eyes have
whites, a pupil, lids and lashes (16 to 32 in the demo's portraits)."""
CROWN = 2.0
"""Centimetres above the forehead that the photo has to show, for hair to be missed there."""
CROWN_SHOWN = 0.6
COLOURLESS = 3.0
"""Chroma (CIELAB) that nearly all of a black-and-white picture stays below."""

OF_MOUTH = ("smile", "laugh", "mouth_open", "teeth_visible", "pout", "lip_fullness", "lip_colour", "lipstick", "beard",
            "moustache", "goatee", "five_o_clock_shadow")  # fmt: skip
OF_EYES = ("eye_colour", "eye_size", "eye_shape", "eye_spacing", "eyes", "wink", "gaze", "eye_bags")
OF_CROWN = ("bald", "hair_length", "hairline", "bangs")
OF_COLOUR = ("hair_colour", "brow_colour", "eye_colour", "skin_tone", "lip_colour", "lipstick", "rosy_cheeks",
             "background_colour", "clothing_colour")  # fmt: skip


def hidden_attributes(face: Evidence) -> frozenset[str]:
    """Names of the attributes of parts that are covered, beyond the photo's edge, or without their colour."""
    names: set[str] = set()
    if not mouth_shown(face):
        names.update(OF_MOUTH)
    if eyes_covered(face):
        names.update(OF_EYES)
    if not crown_shown(face):
        names.update(OF_CROWN)
    if colourless(face):
        names.update(OF_COLOUR)
    return frozenset(names)


def mouth_shown(face: Evidence) -> bool:
    """Whether the region map has lips or mouth where the mesh puts them, within the photo."""
    low, high = (np.floor(f(face.mesh[list(LIPS), :2], 0)).astype(int) for f in (np.min, np.max))
    low, high = low.clip(0, 254), np.maximum(high.clip(1, 255), low.clip(0, 254) + 1)
    box = np.s_[low[1] : high[1], low[0] : high[0]]
    lips = np.isin(face.regions[box], (Region.UPPER_LIP, Region.LOWER_LIP, Region.MOUTH)) & face.inside[box]
    # an ellipse fills pi/4 of its box
    return bool(lips.mean() >= LIPS_SHOWN * np.pi / 4)


def eyes_covered(face: Evidence) -> bool:
    """Whether something flat, such as a bar, covers both eyes."""
    spreads = []
    for points in EYES:
        places = face.mesh[list(points), :2]
        middle, half = places.mean(0), max(float(np.ptp(places[:, 0])) / 2, 4.0)
        top, bottom = (int(v) for v in np.clip([middle[1] - half / 2, middle[1] + half / 2 + 1], 0, 256))
        left, right = (int(v) for v in np.clip([middle[0] - half, middle[0] + half + 1], 0, 256))
        patch = face.lab[top:bottom, left:right, 0]
        spreads.append(float(np.subtract(*np.percentile(patch, [75, 25]))) if patch.size else 0.0)
    return max(spreads) < FLAT


def crown_shown(face: Evidence) -> bool:
    """Whether the photo shows enough above the forehead to tell whether there is hair."""
    top = float(face.mesh[10, 1])
    left, right = sorted((float(face.mesh[103, 0]), float(face.mesh[332, 0])))
    rows = slice(max(int(top - CROWN * face.pose.scale), 0), max(int(top), 1))
    seen = face.inside[rows, max(int(left), 0) : max(int(right), 1)]
    return bool(seen.size and seen.mean() >= CROWN_SHOWN)


def colourless(face: Evidence) -> bool:
    """Whether the picture is black and white."""
    chroma = np.hypot(face.lab[..., 1], face.lab[..., 2])[face.inside]
    return bool(chroma.size and np.percentile(chroma, 98) < COLOURLESS)
