"""The 19 regions of a face: their numbers, their colours, and the way in from other people's numbers and colours.

Inside Limner a region map is `(H, W) uint8` in the official CelebAMask-HQ order. Left and right are the subject's:
`LEFT_EYE` lies on the right of a picture of a face that looks at the camera. Anything else comes in by `from_order`
or `from_palette`.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from limner.errors import InputError


class Region(IntEnum):
    """Region numbers of CelebAMask-HQ (Lee et al. 2020), in the order of its published label list."""

    BACKGROUND = 0
    SKIN = 1
    NOSE = 2
    EYE_GLASSES = 3
    LEFT_EYE = 4
    RIGHT_EYE = 5
    LEFT_BROW = 6
    RIGHT_BROW = 7
    LEFT_EAR = 8
    RIGHT_EAR = 9
    MOUTH = 10
    UPPER_LIP = 11
    LOWER_LIP = 12
    HAIR = 13
    HAT = 14
    EAR_RING = 15
    NECKLACE = 16
    NECK = 17
    CLOTH = 18


REGION_NAMES: tuple[str, ...] = tuple(region.name.lower() for region in Region)
SIDES: tuple[tuple[Region, Region], ...] = (
    (Region.LEFT_EYE, Region.RIGHT_EYE),
    (Region.LEFT_BROW, Region.RIGHT_BROW),
    (Region.LEFT_EAR, Region.RIGHT_EAR),
)

# Other label orders in circulation. Entry k is the region that the order calls k.
# "bisenet": the order of the face-parsing.PyTorch (BiSeNet) networks, which many pipelines copied.
ORDERS: dict[str, tuple[Region, ...]] = {
    "celebamask": tuple(Region),
    "bisenet": (
        Region.BACKGROUND,
        Region.SKIN,
        Region.LEFT_BROW,
        Region.RIGHT_BROW,
        Region.LEFT_EYE,
        Region.RIGHT_EYE,
        Region.EYE_GLASSES,
        Region.LEFT_EAR,
        Region.RIGHT_EAR,
        Region.EAR_RING,
        Region.NOSE,
        Region.MOUTH,
        Region.UPPER_LIP,
        Region.LOWER_LIP,
        Region.NECK,
        Region.NECKLACE,
        Region.CLOTH,
        Region.HAIR,
        Region.HAT,
    ),
}


def _table(text: str) -> np.ndarray:
    table = np.array([[int(channel) for channel in colour.split(",")] for colour in text.split()], np.uint8)
    table.setflags(write=False)
    return table


# The colours published with CelebAMask-HQ, entry k for region k.
PALETTE: np.ndarray = _table(
    "0,0,0 204,0,0 76,153,0 204,204,0 51,51,255 204,0,204 0,255,255 255,204,204 102,51,0 255,0,0 "
    "102,204,0 255,255,0 0,0,153 0,0,204 255,51,153 0,204,204 0,51,0 255,153,51 0,204,0"
)  # (19, 3)

# The colours of the BiSeNet demonstration, in its own order and on its white ground.
_BISENET_COLOURS = _table(
    "255,255,255 255,85,0 255,170,0 255,0,85 255,0,170 0,255,0 85,255,0 170,255,0 0,255,85 0,255,170 "
    "0,0,255 85,0,255 170,0,255 0,85,255 0,170,255 255,255,0 255,255,85 255,255,170 255,0,255"
)
BISENET_PALETTE: np.ndarray = _BISENET_COLOURS[[ORDERS["bisenet"].index(region) for region in Region]]  # (19, 3)
BISENET_PALETTE.setflags(write=False)

# Each palette as it is met in files. The BiSeNet script writes its colours through a BGR writer, copies of it do not.
PALETTES: dict[str, np.ndarray] = {
    "celebamask": PALETTE,
    "bisenet": BISENET_PALETTE,
    "bisenet, channels reversed": BISENET_PALETTE[:, ::-1],
}
_NEAR = 40.0  # a colour this close (Euclidean, 0..255 a channel) to a palette entry is that entry: survives JPEG
_STRAYS = 0.02  # share of pixels that may be farther off: smoothed edges
_BLOCK = 1 << 16  # colours looked at together, so that memory stays flat


def colourise(regions: np.ndarray, palette: np.ndarray = PALETTE) -> np.ndarray:
    """Paint a region map in palette colours.

    regions: (..., H, W) integers in 0..18. Returns (..., H, W, 3) uint8 RGB. Raises InputError on other numbers.
    """
    return palette[_checked(np.asarray(regions))]


def flip(regions: np.ndarray) -> np.ndarray:
    """Mirror a region map left to right and swap the left and right regions, so that sides stay the subject's.

    regions: (..., H, W) integers in 0..18. Returns a new array of the same shape and dtype.
    """
    swap = np.arange(len(Region), dtype=np.asarray(regions).dtype)
    for left, right in SIDES:
        swap[[left, right]] = right, left
    return swap[_checked(np.asarray(regions))[..., ::-1]]


def from_order(regions: np.ndarray, order: str) -> np.ndarray:
    """Translate a region map in another label order (a key of ORDERS) to Limner's.

    regions: integers in 0..18. Returns uint8, same shape. Raises InputError for an unknown order or other numbers.
    """
    return np.array(_order(order), np.uint8)[_checked(np.asarray(regions))]


def to_order(regions: np.ndarray, order: str) -> np.ndarray:
    """Translate Limner's region map into another label order: the inverse of `from_order`."""
    table = _order(order)
    return np.array([table.index(region) for region in Region], np.uint8)[_checked(np.asarray(regions))]


def from_palette(picture: np.ndarray) -> np.ndarray:
    """Read a region map from a picture of one: region numbers as grey, or colours of a known palette.

    picture: (H, W) or (H, W, 1) numbers in 0..18, or (H, W, 3) uint8 RGB: the same in all channels, or a palette
    of PALETTES with a black or a white ground. Returns (H, W) uint8. Small deviations (JPEG, smoothed edges) go to the
    nearest colour that the picture truly uses. Raises InputError when the picture is none of these.
    """
    picture = np.asarray(picture)
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[..., 0]
    if picture.ndim == 2:
        return _checked(picture).astype(np.uint8)
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        shown = f"{picture.shape} {picture.dtype}"
        raise InputError(f"a region map is (H, W) numbers or (H, W, 3) uint8 colours, not {shown}")
    if picture.max(initial=0) < len(Region) and (picture == picture[..., :1]).all():
        return picture[..., 0].copy()
    packed = picture[..., 0].astype(np.uint32)  # a colour as one number
    for channel in (1, 2):
        packed <<= 8
        packed |= picture[..., channel]
    colours, counts = np.unique(packed, return_counts=True)
    readings = [_read_colours(packed, colours, counts, palette) for palette in PALETTES.values()]
    fitting = [reading for reading in readings if reading is not None]
    if not fitting:
        raise InputError(
            "this picture is no region map: its colours fit neither the CelebAMask-HQ nor the BiSeNet palette, "
            "and it is not a grey picture of region numbers 0 to 18"
        )
    # Some BiSeNet colours read backwards are other BiSeNet colours; a face has more skin than anything they turn into.
    return max(fitting, key=lambda regions: int(np.count_nonzero(regions == Region.SKIN)))


def _read_colours(
    packed: np.ndarray, colours: np.ndarray, counts: np.ndarray, palette: np.ndarray
) -> np.ndarray | None:
    """Region numbers (H, W) uint8 of a picture in this palette, or None if it is not in this palette.

    packed: (H, W) uint32 colours, 8 bits a channel; colours: (U,) those there are; counts: (U,) pixels of each.
    """
    table = np.concatenate([palette, [[0, 0, 0], [255, 255, 255]]]).astype(np.float32)  # (21, 3), the grounds last
    parts = len(colours) // _BLOCK + 1
    blocks = [slice(part, None, parts) for part in range(parts)]  # from all over, so a photograph is soon refused
    strays, used = 0, np.zeros(len(table), bool)
    for block in blocks:
        distance = _distances(colours[block], table)
        sure = distance.min(1) <= _NEAR
        strays += int(counts[block][~sure].sum())
        if strays > _STRAYS * packed.size:
            return None
        used[distance[sure].argmin(1)] = True
    regions = np.where(np.arange(len(table)) < len(Region), np.arange(len(table)), Region.BACKGROUND)[used]
    readings = np.zeros(2**24, np.uint8)
    for block in blocks:
        readings[colours[block]] = regions[_distances(colours[block], table[used]).argmin(1)]
    return readings[packed]


def _distances(colours: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Euclidean distances (U, T) of packed colours (U,) to the colours (T, 3) of a table."""
    rgb = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], -1).astype(np.float32)
    return np.linalg.norm(rgb[:, None] - table[None], axis=-1)


def _order(name: str) -> tuple[Region, ...]:
    if name not in ORDERS:
        raise InputError(f"unknown region order {name!r}: choose one of {', '.join(ORDERS)}")
    return ORDERS[name]


def _checked(regions: np.ndarray) -> np.ndarray:
    if regions.dtype.kind not in "iu":
        raise InputError(f"region numbers are integers, not {regions.dtype}")
    if regions.size and (regions.min() < 0 or regions.max() >= len(Region)):
        found = f"{int(regions.min())} to {int(regions.max())}"
        raise InputError(f"region numbers run from 0 to {len(Region) - 1}; found {found}")
    return regions
