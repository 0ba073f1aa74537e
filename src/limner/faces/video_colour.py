"""Frames of video as 8-bit RGB for a standard display: the right YCbCr matrix, and HDR mapped to BT.709.

HLG and PQ: ITU-R BT.2100; gamuts: BT.2087; display gamma: BT.1886.
"""

from __future__ import annotations

from typing import Any

import numpy as np

PQ, HLG = 16, 18  # transfer characteristics of ITU-T H.273
EXACT = 0x2 | 0x2000 | 0x40000
"""Flags of swscale: bilinear, chroma at full resolution, accurate rounding."""
BT2020 = (9, 10)  # matrix coefficients, and 9 the primaries, likewise
BT601, BT709 = 5, 1
HIGH_DEFINITION = 720
"""Rows from which an untagged film is taken for BT.709, as players do; below for BT.601."""
GAMMA = 2.4
SYSTEM_GAMMA = 1.2
"""Of HLG on a display of 1,000 cd/m²."""
REFERENCE_WHITE = 203.0
"""cd/m² of PQ that become white (BT.2408)."""
KNEE = 0.75
"""Share of white above which PQ's highlights are compressed."""
_FROM_2020 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)


def is_hdr(frame: Any) -> bool:
    """Whether a decoded frame's values are HLG's or PQ's."""
    return int(frame.color_trc or 0) in (PQ, HLG)


def matrix_of(frame: Any) -> int:
    """The frame's YCbCr matrix (number of H.273); for an untagged frame, what players assume."""
    tagged = int(frame.colorspace or 0)
    if tagged in (0, 2, 3):
        return BT709 if frame.height >= HIGH_DEFINITION else BT601
    return tagged


def to_rgb(frame: Any) -> np.ndarray:
    """A decoded frame as (H, W, 3) uint8 RGB for a BT.709 display. HDR is mapped, see ``hlg_to_display`` and
    ``pq_to_display``."""
    if not is_hdr(frame):
        matrix = matrix_of(frame)
        other = BT601 if matrix == BT709 else BT709  # PyAV looks at matrices only where the two differ
        exact = frame.reformat(format="rgb24", src_colorspace=matrix, dst_colorspace=other, interpolation=EXACT)
        return exact.to_ndarray()
    codes = frame.reformat(format="yuv444p16le").to_ndarray().astype(np.float32) / 256  # (H, W, 3), as of 8 bits
    if int(frame.color_range or 0) == 2:  # full range
        luma, blue, red = codes[..., 0] / 255, (codes[..., 1] - 128) / 255, (codes[..., 2] - 128) / 255
    else:
        luma, blue, red = (codes[..., 0] - 16) / 219, (codes[..., 1] - 128) / 224, (codes[..., 2] - 128) / 224
    wide = matrix_of(frame) in BT2020
    kr, kb = (0.2627, 0.0593) if wide else (0.2126, 0.0722)
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    g = (luma - kr * r - kb * b) / (1 - kr - kb)
    signal = np.stack([r, g, b], -1).clip(0, 1)
    light = hlg_to_display(signal) if int(frame.color_trc) == HLG else pq_to_display(signal)
    if int(frame.color_primaries or 0) in (0, 2, 9):
        light = light @ _FROM_2020.T
    return np.rint(light.clip(0, 1) ** (1 / GAMMA) * 255).astype(np.uint8)


def hlg_to_display(signal: np.ndarray) -> np.ndarray:
    """HLG R'G'B' (..., 3) in 0..1 as light of a display, 1 at its peak.

    Our choice: HLG's peak becomes white, without a knee, because HLG is relative to the display; nothing clips, and a
    standard picture that was converted to HLG comes back as it was.
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593], np.float32)
    return scene * luminance[..., None].clip(1e-6) ** (SYSTEM_GAMMA - 1)


def pq_to_display(signal: np.ndarray) -> np.ndarray:
    """PQ R'G'B' (..., 3) in 0..1 as light of a display, 1 at white: linear up to ``KNEE``, highlights compressed."""
    m1, m2, c1, c2, c3 = 1305 / 8192, 2523 / 32, 107 / 128, 2413 / 128, 2392 / 128
    power = signal ** (1 / m2)
    nits = 10000 * ((power - c1).clip(0) / (c2 - c3 * power)) ** (1 / m1)
    light = nits / REFERENCE_WHITE
    over = (light - KNEE).clip(0) / (1 - KNEE)
    return np.where(light <= KNEE, light, KNEE + (1 - KNEE) * (1 - np.exp(-over)))
