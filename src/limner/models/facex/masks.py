"""The twelve regions whose texture is a factor of its own, and the parts of a picture that can be painted anew.

Maps are (H, W) uint8 in Limner's region order; masks are (H, W) bool, True where something is painted.
"""

from __future__ import annotations

import base64

import numpy as np
import torch
from torch.nn import functional as F

from limner.errors import InputError
from limner.faces.geometry import paste_back
from limner.faces.picture import encode_png, read_picture
from limner.faces.regions import Region

GROUPS: dict[str, tuple[Region, ...]] = {
    "brows": (Region.LEFT_BROW, Region.RIGHT_BROW),
    "eyes": (Region.LEFT_EYE, Region.RIGHT_EYE),
    "nose": (Region.NOSE,),
    "lips": (Region.UPPER_LIP, Region.LOWER_LIP),
    "mouth": (Region.MOUTH,),
    "skin": (Region.SKIN,),
    "hair": (Region.HAIR,),
    "ears": (Region.LEFT_EAR, Region.RIGHT_EAR),
    "neck": (Region.NECK,),
    "cloth": (Region.CLOTH,),
    "worn": (Region.EYE_GLASSES, Region.HAT, Region.EAR_RING, Region.NECKLACE),
    "background": (Region.BACKGROUND,),
}
"""The twelve regions of FaceX: every one of the 19 in exactly one of them."""

GROUP_OF = np.zeros(len(Region), np.uint8)
for _number, _members in enumerate(GROUPS.values()):
    GROUP_OF[list(_members)] = _number
GROUP_OF.setflags(write=False)

_FACE = tuple(r for name in ("brows", "eyes", "nose", "lips", "mouth", "skin") for r in GROUPS[name])
_HEAD = (*_FACE, *GROUPS["hair"], *GROUPS["ears"], Region.EYE_GLASSES, Region.HAT, Region.EAR_RING)
PARTS: dict[str, tuple[Region, ...]] = {
    **{name: members for name, members in GROUPS.items() if name != "background"},
    "lips": (*GROUPS["lips"], *GROUPS["mouth"]),  # and what lies between them
    "glasses": (Region.EYE_GLASSES,),
    "hat": (Region.HAT,),
    "jewellery": (Region.EAR_RING, Region.NECKLACE),
    "beard": (Region.SKIN, Region.UPPER_LIP, Region.LOWER_LIP, Region.MOUTH),  # below the nose, see `part_mask`
    "face": (*_FACE, Region.EYE_GLASSES),
    "head": _HEAD,
    "person": tuple(r for r in Region if r != Region.BACKGROUND),
}
"""What can be named for painting anew."""

FACTORS_OF_PART: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in GROUPS if name != "background"},
    "lips": ("lips", "mouth"),
    "glasses": ("worn",),
    "hat": ("worn",),
    "jewellery": ("worn",),
    "beard": ("skin",),
}
"""Whose texture a part shows: what `--from OTHER:part` takes from the other photo."""


def groups_of(regions: np.ndarray) -> np.ndarray:
    """A region map (..., H, W) as group numbers (..., H, W) uint8, in the order of ``GROUPS``."""
    return GROUP_OF[regions]


def part_mask(regions: np.ndarray, part: str) -> np.ndarray:
    """Where a part is, (H, W) bool. A beard is what lies below the nose (our choice: the 19 regions have none)."""
    mask = np.isin(regions, PARTS[part])
    if part == "beard":
        rows = np.flatnonzero((regions == Region.NOSE).any(1))
        mask[: rows.max() + 1 if len(rows) else regions.shape[0] // 2] = False
    return mask


def dilate(mask: np.ndarray, pixels: int) -> np.ndarray:
    """Grow a mask (H, W) by so many pixels in every direction (a square, as fast as it can be)."""
    if pixels <= 0:
        return mask
    x = torch.from_numpy(mask)[None, None].float()
    for kernel, padding in (((2 * pixels + 1, 1), (pixels, 0)), ((1, 2 * pixels + 1), (0, pixels))):
        x = F.max_pool2d(x, kernel, stride=1, padding=padding)
    return x[0, 0].numpy() > 0


def check_hole(hole: np.ndarray, crop: np.ndarray, size: int, photo: np.ndarray, name: str) -> None:
    """Raise ``InputError``, one line, for a hole (H, W) bool that is not the photo's (H, W, 3), or is partly beyond
    what is painted: the crop (2, 3) of side ``size``."""
    if hole.shape != photo.shape[:2]:
        given, wanted = ("{1} x {0}".format(*each.shape) for each in (hole, photo))
        raise InputError(f"the mask has {given} pixels and {name} {wanted}: draw the mask at the photo's size")
    within = paste_back(np.ones((size, size), np.uint8), crop, np.zeros(hole.shape, np.uint8), nearest=True)
    beyond = (hole & (within == 0)).sum() / hole.sum()
    if beyond > 0:
        raise InputError(
            f"{max(100 * beyond, 1):.0f} % of the mask lies too far from the face in {name} to be painted: draw all of "
            "it on the head, or close by"
        )


def pack_mask(mask: np.ndarray) -> str:
    """A mask (H, W) as text: a black-and-white PNG in base64."""
    return base64.b64encode(encode_png(mask.astype(np.uint8) * 255)).decode("ascii")


def unpack_mask(text: str) -> np.ndarray:
    """Inverse of ``pack_mask``."""
    return read_picture(base64.b64decode(text))[..., 0] > 127
